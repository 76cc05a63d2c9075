"""Are meta-latents the latents of a smaller SAE, and do latents that were split share them? (PAPERS.md B.5)

Rows are latents, at any length. ``active`` [n, n_meta] says which meta-latents each of n latents is written with.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from sklearn.linear_model import orthogonal_mp_gram
from torch import Tensor

from sae_utils.analysis.matching.matching import nearest
from sae_utils.analysis.meta.meta_sae import explained_variance, unit_rows
from sae_utils.errors import InputError

MOST_ROWS = 4096  # of a graph: pairs are held at once
MOST_ATOMS = 8192  # of a Gram matrix, 0.5 GB, of which scikit-learn makes a copy for each row


def closest(
    meta_rows: Float[Tensor, "m d"], dictionaries: Mapping[str, Float[Tensor, "n d"]]
) -> dict[str, Float[np.ndarray, " m"]]:
    """The largest cosine of each meta-latent to any latent, by dictionary."""
    return {name: nearest(meta_rows, rows).cosine for name, rows in dictionaries.items()}


def nearness_through(rows: Float[Tensor, "n d"], small: Float[Tensor, "m d"]) -> Float[Tensor, "n n"]:
    """The cosine at which two latents have a latent of ``small`` in common: the largest minimum of the two cosines.

    Two latents are joined in the graph of threshold t if some small latent has a cosine above t to both.
    """
    cosines = unit_rows(rows) @ unit_rows(small).T
    found = torch.full((len(rows), len(rows)), -1.0)
    for column in cosines.T:
        torch.maximum(found, torch.minimum(column[:, None], column), out=found)
    return found


def shared_edges(joined: Bool[Tensor, "n n"], nearness: Float[Tensor, "n n"]) -> float:
    """The share of the edges of one graph that are in another with as many edges: the pairs of largest ``nearness``.

    Leask et al. compare the graph of shared meta-latents with that of a smaller SAE so. Not a number without edges.
    """
    above = torch.ones_like(joined).triu(1)
    edges = joined[above]
    n_edges = int(edges.sum())
    if not n_edges:
        return float("nan")
    nearest_pairs = nearness[above].topk(n_edges).indices
    return float(edges[nearest_pairs].float().mean())


def edge_shares(
    rows: Float[Tensor, "n d"], active: Bool[Tensor, "n m"], others: Mapping[str, Float[Tensor, "o d"]], seed: int = 0
) -> dict[str, float]:
    """``shared_edges`` of the graph of latents that share a meta-latent with the graph of each of ``others``.

    Beside them ``own cosines``, the pairs of latents with the largest cosine, and ``chance``: the share of all pairs
    that are edges. Of more than ``MOST_ROWS`` latents, so many are drawn.
    """
    chosen = _some(torch.ones(len(rows), dtype=torch.bool), seed)
    rows, active = rows[chosen], active[chosen]
    joined = active.float() @ active.float().T > 0
    unit = unit_rows(rows)
    shares = {name: shared_edges(joined, nearness_through(rows, other)) for name, other in others.items()}
    density = float(joined[torch.ones_like(joined).triu(1)].float().mean())
    return shares | {"own cosines": shared_edges(joined, unit @ unit.T), "chance": density}


def _some(candidates: Bool[Tensor, " n"], seed: int) -> Int[Tensor, " at_most"]:
    """Where ``candidates`` are true, in order, or ``MOST_ROWS`` of these places."""
    found = candidates.nonzero()[:, 0]
    if len(found) <= MOST_ROWS:
        return found
    return found[torch.randperm(len(found), generator=torch.Generator().manual_seed(seed))[:MOST_ROWS]]


def split_from(wide: Float[Tensor, "n d"], small: Float[Tensor, "m d"], threshold: float) -> Int[Tensor, " n"]:
    """The small latent that each wide latent is a part of: the nearest, if its cosine is above ``threshold``; or -1."""
    found = nearest(wide, small)
    return torch.from_numpy(np.where(found.cosine > threshold, found.partner, -1))


@dataclass(frozen=True)
class SplitSharing:
    """How alike the meta-latents of two latents are (Jaccard index), mean over pairs; NaN where there is no pair."""

    n_pairs: int  # of latents that split from one small latent
    siblings: float = float("nan")  # these pairs
    permuted: tuple[float, ...] = ()  # as many pairs, with the latents' origins shuffled, in each of several draws
    equal_cosine: float = float("nan")  # for each pair, another of the nearest cosine, not split from one latent
    cosine: float = float("nan")  # of the pairs, and of those in the comparison: one may serve twice, or be further off
    matched_cosine: float = float("nan")


def jaccard(active: Bool[Tensor, "n m"]) -> Float[Tensor, "n n"]:
    """Meta-latents in common over meta-latents in either; 0 for two latents without any."""
    code = active.float()
    common = code @ code.T
    either = code.sum(1)[:, None] + code.sum(1) - common
    return common / either.clamp_min(1)


def split_sharing(
    wide: Float[Tensor, "n d"],
    active: Bool[Tensor, "n m"],
    origin: Int[Tensor, " n"],
    n_permutations: int = 20,
) -> SplitSharing:
    """Whether latents with one ``origin`` (from ``split_from``) are written with the same meta-latents.

    Of more than ``MOST_ROWS`` latents that have an origin, so many are drawn. Raises InputError where ``active`` or
    ``origin`` is of other latents.
    """
    if not len(wide) == len(active) == len(origin):
        raise InputError(f"{len(wide)} latents, {len(active)} codes and {len(origin)} origins do not fit together")
    kept = _some(origin >= 0, 0)
    alike, labels, unit = jaccard(active[kept]), origin[kept], unit_rows(wide)[kept]
    first, second = torch.ones(len(labels), len(labels), dtype=torch.bool).triu(1).nonzero().T
    alike, cosine = alike[first, second], (unit @ unit.T)[first, second]
    together = labels[first] == labels[second]
    if not together.any() or together.all():
        return SplitSharing(int(together.sum()))
    generator = torch.Generator().manual_seed(0)
    permuted = []
    for _ in range(n_permutations):
        order = labels[torch.randperm(len(labels), generator=generator)]
        permuted.append(float(alike[order[first] == order[second]].mean()))
    by_cosine, position = cosine[~together].sort()
    at = torch.searchsorted(by_cosine, cosine[together]).clamp_max(len(by_cosine) - 1)
    below = (at - 1).clamp_min(0)
    nearer = (by_cosine[below] - cosine[together]).abs() < (by_cosine[at] - cosine[together]).abs()
    chosen = torch.where(nearer, below, at)
    return SplitSharing(
        int(together.sum()),
        float(alike[together].mean()),
        tuple(permuted),
        float(alike[~together][position[chosen]].mean()),
        float(cosine[together].mean()),
        float(by_cosine[chosen].mean()),
    )


def pooled_sharing(each: Sequence[SplitSharing]) -> SplitSharing:
    """Several comparisons as one: means over the pairs of all; NaN where there are none at all."""
    there = [sharing for sharing in each if sharing.permuted]
    if not there:
        return SplitSharing(0)
    weights = np.array([sharing.n_pairs for sharing in there], dtype=float)
    weights /= weights.sum()

    def mean(name: str) -> float:
        return float(weights @ [getattr(sharing, name) for sharing in there])

    return SplitSharing(
        sum(sharing.n_pairs for sharing in there),
        mean("siblings"),
        tuple((weights @ np.array([sharing.permuted for sharing in there])).tolist()),
        *(mean(name) for name in ("equal_cosine", "cosine", "matched_cosine")),
    )


def slope_per_doubling(widths: Float[np.ndarray, " w"], values: Float[np.ndarray, " w"]) -> float:
    """By how much ``values`` grow each time the width doubles: least squares on log2 of the width."""
    return float(np.polyfit(np.log2(np.asarray(widths, dtype=float)), np.asarray(values, dtype=float), 1)[0])


def matching_pursuit(rows: Float[Tensor, "n d"], atoms: Float[Tensor, "m d"], n_terms: int) -> float:
    """Variance of the rows explained by sparse regression on ``atoms``: ``n_terms`` each, orthogonal matching pursuit.

    About the mean row, which every row may use, as a meta-SAE may its decoder bias.
    """
    centred = unit_rows(rows).double()
    mean = centred.mean(0)
    centred = (centred - mean).numpy()
    dictionary = unit_rows(atoms).double().numpy()
    n_terms = min(n_terms, *dictionary.shape)
    if len(dictionary) > MOST_ATOMS:
        return explained_variance(rows, _pursued(centred, dictionary, n_terms) + mean)
    weights = orthogonal_mp_gram(dictionary @ dictionary.T, dictionary @ centred.T, n_nonzero_coefs=n_terms)
    approximation = torch.from_numpy(weights.reshape(len(dictionary), -1).T @ dictionary)
    return explained_variance(rows, approximation + mean)


def _pursued(rows: Float[np.ndarray, "n d"], atoms: Float[np.ndarray, "m d"], n_terms: int) -> Float[Tensor, "n d"]:
    """What orthogonal matching pursuit makes of the rows, some at a time."""
    atoms, found = torch.from_numpy(atoms), []
    for part in torch.from_numpy(rows).split(1024):
        left, chosen = part, torch.empty(len(part), 0, dtype=torch.int64)
        for _ in range(n_terms):
            chosen = torch.cat([chosen, (left @ atoms.T).abs().argmax(1, keepdim=True)], dim=1)
            terms = atoms[chosen].mT
            left = part - (terms @ torch.linalg.lstsq(terms, part[..., None]).solution)[..., 0]
        found.append(part - left)
    return torch.cat(found)
