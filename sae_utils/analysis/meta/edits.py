"""Does editing a latent by one of its meta-latents change what it stands for? The analogue of paper B's Tokyo edit.

Leask et al. take meta-latents out of the decoder row of a latent, or put others in, and read off the model's
predictions. Here: where a latent fires, its row d is replaced by d - w m (``remove``: the meta-latent m with its weight
w), by d + w o (``add other``: a meta-latent that it does not have), by both (``exchange``), or by the whole row of
another latent that has o (``swap``). Controls change d as much by a meta-latent that has nothing to do with the tokens
that are looked at, by a random direction, by one that is as close to d as m is (``remove alike``: taking out what is
close to d makes d itself smaller), or step towards the other latent no further than the exchange (``swap, same size``).
One position of a row of text is edited, and the model's next-token distribution there is read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize, pad

from sae_utils.analysis.meta.meta_sae import unit_rows
from sae_utils.analysis.meta.nulls import OFFSET
from sae_utils.data.activations import kept_positions
from sae_utils.data.models.language_model import LanguageModel
from sae_utils.errors import InputError
from sae_utils.saes import SAE

FAMILY = 4  # latents with the largest weights of one meta-latent
N_TOKENS = 20  # that a family promotes
ROWS_AT_ONCE = 16


@dataclass(frozen=True)
class CodedRows:
    """Rows of text with the code of one dictionary at each position."""

    tokens: Int[np.ndarray, "n_rows context"]
    latents: Int[Tensor, "n_rows context k"]
    strengths: Float[Tensor, "n_rows context k"]  # activations in normalised units; 0 where a slot holds no latent


@dataclass(frozen=True)
class Places:
    """One position in each of some rows, where a latent fires most strongly."""

    tokens: Int[Tensor, "n context"]
    positions: Int[Tensor, " n"]
    strengths: Float[Tensor, " n"]


# What edits of one latent did, by what is measured and by edit (``changes_of``), mean over places. ``kl``: from the
# unedited to the edited next-token distribution, nats. ``own`` and ``other``: change of the log probability of the
# tokens that the families of its meta-latent and of the other one promote, together.
Measured = dict[str, dict[str, float]]


@torch.no_grad()
def code_rows(model: LanguageModel, sae: SAE, rows: Int[np.ndarray, "n_rows context"]) -> CodedRows:
    """Encode rows of token ids with one dictionary; nothing fires at the first position and at ends of texts."""
    keep = torch.from_numpy(kept_positions(rows, model.tokenizer.eos_token_id))
    latents, strengths = [], []
    for start in range(0, len(rows), ROWS_AT_ONCE):
        tokens = torch.from_numpy(rows[start : start + ROWS_AT_ONCE].astype(np.int64))
        x = model.activations(tokens, [sae.hook_point])[sae.hook_point]
        code = sae.encode(x.flatten(0, 1).float())
        shape = (*tokens.shape, -1)
        latents.append(code.indices[:, 0].cpu().view(shape))
        strengths.append(code.values[:, 0].cpu().view(shape) * keep[start : start + ROWS_AT_ONCE, :, None])
    k = max(part.shape[-1] for part in latents)  # it differs between batches where it is not fixed
    latents, strengths = (torch.cat([pad(x, (0, k - x.shape[-1])) for x in parts]) for parts in (latents, strengths))
    return CodedRows(rows, latents, strengths)


def strongest(coded: CodedRows, latent: int, n: int) -> Places:
    """The ``n`` rows in which ``latent`` fires most strongly, and where; fewer where it fires in fewer."""
    per_position = torch.where(coded.latents == latent, coded.strengths, 0.0).amax(-1)
    best, positions = per_position.max(1)
    order = best.argsort(descending=True, stable=True)[:n]
    order = order[best[order] > 0]
    tokens = torch.from_numpy(coded.tokens[order.numpy()].astype(np.int64))
    return Places(tokens, positions[order], best[order])


def rows_fired_in(coded: CodedRows, n_latents: int) -> Int[Tensor, " n_latents"]:
    """In how many rows of text each latent fires."""
    counts = torch.zeros(n_latents, dtype=torch.int64)
    for strengths, latents in zip(coded.strengths, coded.latents, strict=True):
        counts[latents[strengths > 0].unique()] += 1
    return counts


@torch.no_grad()
def log_probabilities(
    model: LanguageModel, hook_point: str, places: Places, shift: Float[Tensor, "n d"] | None = None
) -> Float[Tensor, "n vocab"]:
    """Next-token log probabilities at the places, with ``shift`` added to the activations there."""
    order = places.positions.argsort(stable=True)
    out = []
    for part in order.split(ROWS_AT_ONCE):
        positions = places.positions[part]
        tokens = places.tokens[part, : int(positions.max()) + 1]  # what comes later changes nothing
        change = {} if shift is None else {hook_point: partial(_shifted, positions=positions, shift=shift[part])}
        logits = model.logits(tokens, change)[torch.arange(len(part)), positions]
        out.append(logits.log_softmax(-1).cpu())
    return torch.cat(out)[order.argsort()]


def _shifted(
    activation: Float[Tensor, "n pos d"], positions: Int[Tensor, " n"], shift: Float[Tensor, "n d"]
) -> Float[Tensor, "n pos d"]:
    activation = activation.clone()
    activation[torch.arange(len(shift)), positions] += shift.to(activation)
    return activation


def choose(
    codes: Float[Tensor, "n_latents n_meta"], n_rows: Int[Tensor, " n_latents"], n: int, n_places: int, seed: int
) -> list[tuple[int, int, int, int]]:
    """Latents to edit: (latent, its largest meta-latent, another that it lacks, a latent whose largest is that other).

    ``n_rows``: rows of text in which each latent fires; it must fire in ``n_places``. Meta-latents must be the largest
    of at least three such latents. Drawn by ``seed``; fewer than ``n`` where there are fewer.
    """
    rng = np.random.default_rng(seed)
    fires = (n_rows >= n_places) & (codes > 0).any(1)
    largest = torch.where(fires, codes.argmax(1), -1)
    counts = torch.bincount(largest[fires], minlength=codes.shape[1])
    metas = (counts >= 3).nonzero()[:, 0].tolist()
    chosen = []
    for latent in rng.permutation(fires.nonzero()[:, 0].numpy()).tolist():
        meta = int(largest[latent])
        others = [m for m in metas if codes[latent, m] == 0]
        if meta in metas and others:
            other = int(rng.choice(others))
            chosen.append((latent, meta, other, int(rng.choice((largest == other).nonzero()[:, 0].numpy()))))
        if len(chosen) == n:
            break
    return chosen


def promoted(
    model: LanguageModel, sae: SAE, coded: CodedRows, family: list[int], n_places: int
) -> Int[Tensor, " tokens"]:
    """The tokens whose probability falls most when latents of a family are taken out where they fire."""
    rows = unit_rows(sae.W_dec[0])
    drops = []
    for latent in family:
        places = strongest(coded, latent, n_places)
        shift = -places.strengths[:, None] * rows[latent] / sae.scale
        clean = log_probabilities(model, sae.hook_point, places).exp()
        without = log_probabilities(model, sae.hook_point, places, shift).exp()
        drops.append((clean - without).mean(0))
    return torch.stack(drops).mean(0).topk(N_TOKENS).indices


def edit_latents(
    model: LanguageModel,
    sae: SAE,
    meta_rows: Float[Tensor, "n_meta d"],
    codes: Float[Tensor, "n_latents n_meta"],
    coded: CodedRows,
    n_edited: int,
    n_places: int = 8,
    seed: int = 0,
) -> list[Measured]:
    """Edit ``n_edited`` latents of one dictionary (a stack of one) in every way of ``changes_of``.

    ``codes`` are the meta-latents' weights, 0 for latents that were left out. Raises InputError where no latent can be
    edited.
    """
    n_rows = rows_fired_in(coded, len(codes))
    chosen = choose(codes, n_rows, n_edited, n_places, seed)
    if not chosen:
        raise InputError(f"no latent fires in {n_places} rows of text and shares its meta-latent with two others")
    rows, meta_rows = unit_rows(sae.W_dec[0]), unit_rows(meta_rows)
    strong = torch.where((n_rows >= n_places)[:, None], codes, 0.0)
    generator = torch.Generator().manual_seed(OFFSET + seed)
    results = []
    for latent, meta, other, substitute in chosen:
        tokens = {}
        for name, m in (("own", meta), ("other", other)):
            # The latent itself and its substitute are left out: what they promote must not be known beforehand.
            weights = strong[:, m].clone()
            weights[[latent, substitute]] = 0
            family = weights.topk(FAMILY)
            tokens[name] = promoted(model, sae, coded, family.indices[family.values > 0].tolist(), n_places)
        of_meta, of_other = meta_rows[meta], meta_rows[other]
        changes = changes_of(rows[latent], rows[substitute], of_meta, of_other, codes[latent, meta], generator)
        results.append(_measure(model, sae, strongest(coded, latent, n_places), changes, tokens))
    return results


def changes_of(
    row: Float[Tensor, " d"],
    substitute: Float[Tensor, " d"],
    meta: Float[Tensor, " d"],
    other: Float[Tensor, " d"],
    weight: Float[Tensor, ""],
    generator: torch.Generator,
) -> dict[str, Float[Tensor, " d"]]:
    """What each edit adds to the decoder row of a latent; rows at unit length, ``weight`` is that of ``meta`` in it."""
    direction = normalize(torch.randn(len(row), generator=generator), dim=0)
    alike = as_alike(row[None], meta[None], generator)[0]
    exchange, swap = weight * (other - meta), substitute - row
    return {
        "remove": -weight * meta,
        "remove other": -weight * other,
        "remove alike": -weight * alike,
        "add other": weight * other,
        "add again": weight * meta,
        "exchange": exchange,
        "swap": swap,
        "swap, same size": swap * exchange.norm() / swap.norm(),
        "random direction": weight * direction,
    }


def _measure(
    model: LanguageModel, sae: SAE, places: Places, changes: Mapping[str, Tensor], tokens: Mapping[str, Tensor]
) -> Measured:
    clean = log_probabilities(model, sae.hook_point, places)
    found: Measured = {name: {} for name in ("kl", *tokens)}
    for edit, change in changes.items():
        shift = places.strengths[:, None] * change / sae.scale
        edited = log_probabilities(model, sae.hook_point, places, shift)
        found["kl"][edit] = float((clean.exp() * (clean - edited)).sum(-1).mean())
        for name, ids in tokens.items():
            gain = edited[:, ids].logsumexp(-1) - clean[:, ids].logsumexp(-1)
            found[name][edit] = float(gain.mean())
    return found


def summarise_edits(results: Sequence[Measured]) -> dict[str, float]:
    """Means over the edited latents of one dictionary: what each edit did, and what the claims ask for.

    ``removal_specificity``: by how much more the tokens of a meta-latent's family lose when it is taken out than when
    a direction that is as close to the latent is. ``addition_specificity``: by how much more the tokens of a
    meta-latent's family gain when it is put in than when another is. ``exchange_cost``: the divergence of an exchange
    as a share of that of an equally large step towards another latent.
    """

    def mean(what: str, edit: str) -> float:
        return float(np.mean([result[what][edit] for result in results]))

    found = {f"{what} {edit}": mean(what, edit) for what, edits in results[0].items() for edit in edits}
    return found | {
        "removal_specificity": mean("own", "remove alike") - mean("own", "remove"),
        "addition_specificity": mean("other", "add other") - mean("other", "add again"),
        "exchange_cost": mean("kl", "exchange") / mean("kl", "swap, same size"),
        "kl_above_direction": mean("kl", "remove") - mean("kl", "random direction"),
    }


def with_rows(sae: SAE, kept: Bool[Tensor, " n_latents"], rows: Float[Tensor, "n d"]) -> SAE:
    """A copy of one dictionary that decodes with ``rows`` in place of the ``kept`` latents'; its encoder stays."""
    W_dec = sae.W_dec.detach().clone()
    W_dec[0, kept] = rows.to(W_dec)
    return sae.copy(W_dec=W_dec)


def as_alike(
    rows: Float[Tensor, "n d"], others: Float[Tensor, "n d"], generator: torch.Generator
) -> Float[Tensor, "n d"]:
    """Directions as long as ``others`` and with the same cosine to ``rows``, otherwise random: their null.

    So each is also as far from its row as the other is, and keeps as much of it.
    """
    rows = unit_rows(rows)
    noise = torch.randn(rows.shape, generator=generator)
    kept, off = (((x * rows).sum(-1, keepdim=True) * rows) for x in (others, noise))
    return kept + (others - kept).norm(dim=-1, keepdim=True) * normalize(noise - off, dim=-1)
