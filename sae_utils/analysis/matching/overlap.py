"""What a stack of dictionaries that differ only in their seed has in common: every pair compared, then summarised."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from sae_utils.analysis.matching.matching import DEFINITIONS, Rows, SeedOverlap, compare, seen_from_second
from sae_utils.analysis.statistics import Interval, mean_over_pairs

Pairs = Mapping[tuple[int, int], SeedOverlap]  # the overlap of dictionaries i and j, seen from i
LOOSE = 0.55  # a cosine at which paper A's curves of one to one and many to one have parted
CURVES = ("strict", "notebook", "max_cosine")  # of ``DEFINITIONS``, in paper A's figure


def _many_to_one_gain(overlap: SeedOverlap) -> Float[np.ndarray, " n"]:
    """What several latents to one partner add at ``LOOSE``, as a share of what is shared one to one.

    Where nothing is shared one to one, as if one latent were: the gain is then large, not undefined.
    """
    loose = replace(overlap, threshold=LOOSE)
    many, one = loose.shared("max_cosine").astype(float), loose.shared("notebook")
    return (many - one) / max(loose.fraction(one), 1 / max(1, int(loose.counted.sum())))


STATISTICS: dict[str, Callable[[SeedOverlap], Float[np.ndarray, " n"]]] = {
    **{f"shared_{name}": shared for name, shared in DEFINITIONS.items()},
    "agree": lambda o: o.agree,
    "decoder_cosine": lambda o: o.decoder.cosine,
    "encoder_cosine": lambda o: o.encoder.cosine,
    "max_cosine_gain": _many_to_one_gain,
}


def latent_values(overlap: SeedOverlap, name: str) -> Float[np.ndarray, " counted"]:
    """One of ``STATISTICS`` for each counted latent that has a value."""
    values = STATISTICS[name](overlap)[overlap.counted].astype(float)
    return values[~np.isnan(values)]


def overlap_of_pairs(
    encoders: Float[Tensor, "S n d"], decoders: Float[Tensor, "S n d"], alive: Bool[Tensor, "S n"] | None = None
) -> dict[tuple[int, int], SeedOverlap]:
    """Compare every pair (i, j), i < j, of a stack; rows are latents: ``sae.encoder`` and ``sae.W_dec``."""
    rows = _rows(encoders, decoders, alive)
    return {(i, j): compare(rows[i], rows[j]) for i, j in combinations(range(len(rows)), 2)}


def from_both_sides(
    encoders: Float[Tensor, "S n d"], decoders: Float[Tensor, "S n d"], alive: Bool[Tensor, "S n"] | None = None
) -> dict[tuple[int, int], SeedOverlap]:
    """``overlap_of_pairs`` and, beside each (i, j), the same pair seen from j as (j, i)."""
    rows = _rows(encoders, decoders, alive)
    both = {}
    for (i, j), overlap in overlap_of_pairs(encoders, decoders, alive).items():
        both[i, j], both[j, i] = overlap, seen_from_second(overlap, rows[i], rows[j])
    return dict(sorted(both.items()))


def _rows(encoders, decoders, alive) -> list[Rows]:
    alive = [None] * len(decoders) if alive is None else alive
    return [Rows(*one) for one in zip(encoders, decoders, alive, strict=True)]


def summarise(pairs: Pairs) -> dict[str, Interval]:
    """Each of ``STATISTICS``: mean over the counted latents that have a value, then over pairs, with its interval."""
    return {name: mean_over_pairs(_latent_values(pairs, name), _bounds(name)) for name in STATISTICS}


def curves(pairs: Pairs, thresholds: Sequence[float]) -> dict[str, Float[np.ndarray, "pairs t"]]:
    """The shared fraction of each pair at each threshold: paper A's three curves, by criterion."""
    found = {criterion: np.empty((len(pairs), len(thresholds))) for criterion in CURVES}
    for pair, overlap in enumerate(pairs.values()):
        for t, threshold in enumerate(thresholds):
            at = replace(overlap, threshold=float(threshold))
            for criterion in CURVES:
                found[criterion][pair, t] = at.fraction(at.shared(criterion))
    return found


def pairwise(pairs: Pairs, name: str) -> Float[np.ndarray, "S S"]:
    """One of ``STATISTICS`` of each pair as a matrix, row i as seen from dictionary i; the diagonal is NaN."""
    n = 1 + max(max(pair) for pair in pairs)
    matrix = np.full((n, n), np.nan)
    for pair, values in _latent_values(pairs, name).items():
        matrix[pair] = values.mean()
    return matrix


def figure_arrays(
    pairs: Pairs, nulls: Mapping[str, Pairs], thresholds: Float[np.ndarray, " t"]
) -> dict[str, np.ndarray]:
    """What Figures A1 and A2 draw: the matched cosines of the first pair, and the curves of every pair.

    Of a null, the curve of the criterion that is largest at each threshold, a mean over pairs.
    """
    first = next(iter(pairs.values()))
    arrays = {
        "decoder_cosine": first.decoder.cosine,
        "encoder_cosine": first.encoder.cosine,
        "agree": first.agree,
        "thresholds": thresholds,
    }
    arrays |= {f"curve_{c}": values for c, values in curves(pairs, thresholds).items()}
    for kind, null in nulls.items():
        arrays[f"null_{kind}"] = np.max([values.mean(axis=0) for values in curves(null, thresholds).values()], axis=0)
    return arrays


def _latent_values(pairs: Pairs, name: str) -> dict[tuple[int, int], Float[np.ndarray, " n"]]:
    return {pair: latent_values(overlap, name) for pair, overlap in pairs.items()}


def _bounds(name: str) -> tuple[float, float]:
    if name in ("decoder_cosine", "encoder_cosine"):
        return -1.0, 1.0
    return (0.0, np.inf) if name == "max_cosine_gain" else (0.0, 1.0)
