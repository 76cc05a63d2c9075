"""What a stack of dictionaries that differ only in their seed has in common: every pair compared, then summarised."""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from sae_utils.analysis.intervals import Interval, mean_over_pairs
from sae_utils.analysis.matching import (
    CRITERIA,
    THRESHOLD,
    SeedOverlap,
    compare,
    random_overlap,
    threshold_curve,
)

Pairs = Mapping[tuple[int, int], SeedOverlap]


def _relative_gain(many, one, counted) -> Float[np.ndarray, " n"]:
    """What allowing several latents to name one partner adds, as a share of what is shared one to one.

    Where nothing is shared one to one, as if one latent were: the gain is then large, not undefined.
    """
    share = max(float(one[counted].mean()), 1 / max(1, int(counted.sum())))
    return (many.astype(float) - one) / share


STATISTICS: dict[str, Callable[[SeedOverlap], Float[np.ndarray, " n"]]] = {
    **{f"shared_{name}": CRITERIA[name] for name in CRITERIA},
    "agree": lambda o: o.agree,
    "decoder_cosine": lambda o: o.decoder.cosine,
    "encoder_cosine": lambda o: o.encoder.cosine,
    "max_cosine_gain": lambda o: _relative_gain(o.shared("max_cosine"), o.shared("notebook"), o.counted),
}


def overlap_of_pairs(
    encoders: Float[Tensor, "S n d"],
    decoders: Float[Tensor, "S n d"],
    alive: Bool[Tensor, "S n"] | None = None,
    threshold: float = THRESHOLD,
) -> dict[tuple[int, int], SeedOverlap]:
    """Compare every pair (i, j), i < j, of a stack; rows are latents: ``sae.W_enc.mT`` and ``sae.W_dec``."""
    alive = [None] * len(decoders) if alive is None else alive
    return {
        (i, j): compare(encoders[i], decoders[i], encoders[j], decoders[j], alive[i], alive[j], threshold)
        for i, j in combinations(range(len(decoders)), 2)
    }


def random_pairs(n: int, d: int, tied: bool, n_draws: int = 5, threshold: float = THRESHOLD) -> Pairs:
    """The null: ``n_draws`` independent pairs of dictionaries of ``n`` random directions (see ``random_overlap``)."""
    return {(2 * i, 2 * i + 1): random_overlap(n, n, d, i, tied, threshold) for i in range(n_draws)}


def summarise(pairs: Pairs) -> dict[str, Interval]:
    """Each of ``STATISTICS``: mean over the counted latents that have a value, then over pairs, with its interval."""
    return {name: mean_over_pairs(_latent_values(pairs, name), _bounds(name)) for name in STATISTICS}


def largest(pairs: Pairs) -> dict[str, float]:
    """Each of ``STATISTICS`` in the pair where it is largest: of a null, the value that a result must exceed."""
    return {name: max(float(v.mean()) for v in _latent_values(pairs, name).values()) for name in STATISTICS}


def curves(pairs: Pairs, thresholds: Sequence[float]) -> dict[str, Float[np.ndarray, "pairs t"]]:
    """The shared fraction of each pair at each threshold, by criterion."""
    each = [threshold_curve(overlap, thresholds) for overlap in pairs.values()]
    return {criterion: np.stack([curve[criterion] for curve in each]) for criterion in each[0]}


def figure_arrays(
    pairs: Pairs,
    summaries: Sequence[Mapping[str, Interval]],
    nulls: Mapping[str, Pairs],
    thresholds: Float[np.ndarray, " t"],
) -> dict[str, np.ndarray]:
    """What the seed figures draw: matched cosines of the first pair, curves of every pair, ``shared`` by criterion.

    ``shared`` [summaries, criteria, 3] holds estimate, low and high in the order of ``CRITERIA``, and
    ``shared_null`` [criteria] the largest share in any pair of any null.
    """
    first, names = next(iter(pairs.values())), [f"shared_{criterion}" for criterion in CRITERIA]
    arrays = {
        "decoder_cosine": first.decoder.cosine,
        "encoder_cosine": first.encoder.cosine,
        "agree": first.agree,
        "thresholds": thresholds,
        "shared": np.array([[(s[n].estimate, s[n].low, s[n].high) for n in names] for s in summaries]),
        "shared_null": np.array([[largest(null)[n] for n in names] for null in nulls.values()]).max(axis=0),
    }
    arrays |= {f"curve_{c}": values for c, values in curves(pairs, thresholds).items()}
    for kind, null in nulls.items():
        arrays |= {f"null_{kind}_{c}": values for c, values in curves(null, thresholds).items()}
    return arrays


def _latent_values(pairs: Pairs, name: str) -> dict[tuple[int, int], Float[np.ndarray, " n"]]:
    values = {pair: STATISTICS[name](o)[o.counted].astype(float) for pair, o in pairs.items()}
    return {pair: v[~np.isnan(v)] for pair, v in values.items()}


def _bounds(name: str) -> tuple[float, float]:
    return (-1.0, 1.0) if name.endswith("_cosine") and not name.startswith("shared") else (0.0, 1.0)
