"""What a meta-SAE makes of rows that were never a dictionary, and of one whose parts are known.

None of the literature shows these controls (PAPERS.md B.7): how much of the variance of directions a meta-SAE explains
when there is nothing to find, and whether it finds the parts when there are parts.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize

from sae_utils.analysis.directions import directions, random_directions, second_moment
from sae_utils.analysis.matching.matching import nearest
from sae_utils.analysis.meta.meta_sae import meta_codes, unit_rows, used
from sae_utils.errors import InputError
from sae_utils.saes import SAE

RANDOM, COVARIANCE, SHUFFLED = "random", "covariance", "shuffled"
KINDS = (RANDOM, COVARIANCE, SHUFFLED)
# Added to seeds: a dictionary's first rows are drawn from its own seed, and must not be the parts that it is to find.
OFFSET = 2**31


def null_rows(rows: Float[Tensor, "n d"], kind: str, seed: int) -> Float[Tensor, "n d"]:
    """As many unit rows without a dictionary's structure.

    ``random``: uniform on the sphere. ``covariance``: normal with the rows' second moment. ``shuffled``: the rows'
    own values, permuted within each dimension. Raises InputError for another kind.
    """
    rows = unit_rows(rows)
    generator = torch.Generator().manual_seed(OFFSET + seed)
    if kind == RANDOM:
        return random_directions(*rows.shape, OFFSET + seed).float()
    if kind == COVARIANCE:
        return directions(len(rows), second_moment(rows), generator).float()
    if kind == SHUFFLED:
        order = torch.rand(rows.shape, generator=generator).argsort(0)
        return normalize(rows.gather(0, order), dim=-1)
    raise InputError(f"kind={kind!r} of null rows is unknown; allowed: {', '.join(KINDS)}")


@dataclass(frozen=True)
class Planted:
    """A dictionary whose composition is known: the first rows are the parts, the others sums of some of them."""

    rows: Float[Tensor, "n d"]
    parts: Float[Tensor, "p d"]
    made_of: Bool[Tensor, "n p"]  # the parts of each row; a part is made of itself


def planted_composites(n: int, d: int, n_parts: int, seed: int, most: int = 4) -> Planted:
    """``n`` unit rows: ``n_parts`` random directions, then sums of 2 to ``most`` of them, weights between 0.5 and 1.

    Raises InputError where there is no room for sums.
    """
    if not 2 <= most <= n_parts < n:
        raise InputError(f"n_parts={n_parts} must be from most={most} (2 or more) to n - 1 = {n - 1}")
    generator = torch.Generator().manual_seed(OFFSET + seed)
    parts = normalize(torch.randn(n_parts, d, generator=generator), dim=-1)
    n_sums = n - n_parts
    rank = torch.rand(n_sums, n_parts, generator=generator).argsort(1).argsort(1)
    made_of = rank < torch.randint(2, most + 1, (n_sums, 1), generator=generator)
    weights = made_of * (0.5 + 0.5 * torch.rand(n_sums, n_parts, generator=generator))
    sums = normalize(weights @ parts, dim=-1)
    return Planted(torch.cat([parts, sums]), parts, torch.cat([torch.eye(n_parts, dtype=torch.bool), made_of]))


@dataclass(frozen=True)
class Recovery:
    """How well a meta-SAE found the parts; each a share from 0 to 1."""

    precision: float  # meta-latents in use whose nearest part is closer than the threshold
    recall: float  # parts that have such a meta-latent
    code_precision: float  # of the parts that the code of a sum names, those that are in it
    code_recall: float  # of the parts in a sum, those that its code names


def recovery(meta: SAE, planted: Planted, threshold: float, index: int = 0) -> Recovery:
    """One meta-SAE of ``planted.rows`` against the truth; a meta-latent is a part above the cosine ``threshold``.

    A meta-latent in a code that is no part counts as a wrong name.
    """
    used_here = used(meta, planted.rows, index)
    to_part = nearest(meta.W_dec[index][used_here], planted.parts)
    is_part = torch.from_numpy(to_part.cosine > threshold)
    found = torch.zeros(len(planted.parts), dtype=torch.bool)
    found[torch.from_numpy(to_part.partner)[is_part]] = True

    sums = planted.made_of.sum(1) > 1
    there, active = planted.made_of[sums], meta_codes(meta, planted.rows, index)[sums][:, used_here] > 0
    named = torch.zeros(there.shape, dtype=torch.bool)
    for column in is_part.nonzero()[:, 0].tolist():
        named[:, to_part.partner[column]] |= active[:, column]
    right = (named & there).sum()
    wrong = (named & ~there).sum() + active[:, ~is_part].sum()
    return Recovery(
        float(is_part.float().mean()),
        float(found.float().mean()),
        float(right / (right + wrong).clamp_min(1)),
        float(right / there.sum()),
    )


def random_recovery(planted: Planted, n_meta: int, threshold: float, seed: int) -> dict[str, float]:
    """Precision and recall of as many random directions in the meta-latents' place."""
    found = nearest(random_directions(n_meta, planted.parts.shape[1], seed), planted.parts)
    close = found.cosine > threshold
    return {"precision": float(close.mean()), "recall": len(set(found.partner[close])) / len(planted.parts)}
