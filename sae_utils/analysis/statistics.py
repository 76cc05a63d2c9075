"""Confidence intervals for statistics of pairs of seeds.

Pairs share seeds, so they are not independent: the jackknife leaves out one seed, with all its pairs, at a
time. Two seeds make one pair and tell nothing about other seeds: then the latents of that pair are resampled,
and the interval says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import stats

from sae_utils.errors import InputError

CONFIDENCE = 0.95
JACKKNIFE = "jackknife over seeds"
BOOTSTRAP = "bootstrap over latents of one pair of seeds"


@dataclass(frozen=True)
class Interval:
    """An estimate, the ends of its confidence interval, and how they were found; all three NaN where there is none."""

    estimate: float
    low: float
    high: float
    method: str

    def __post_init__(self):
        if not self.low <= self.estimate <= self.high and not np.isnan(self.ends).all():
            raise InputError(f"interval {self.low} to {self.high} does not hold its estimate {self.estimate}")

    @property
    def ends(self) -> tuple[float, float, float]:
        """Estimate, low, high: what a figure draws."""
        return self.estimate, self.low, self.high

    def __str__(self) -> str:
        return f"{self.estimate:.3f} ({self.low:.3f} to {self.high:.3f})"


def mean_over_pairs(
    values: Mapping[tuple[int, int], Float[np.ndarray, " n"]], bounds: tuple[float, float] = (0.0, 1.0)
) -> Interval:
    """The mean over latents, then over pairs of seeds, with the interval that the number of seeds allows.

    ``values`` maps a pair of seeds to one number (or truth value) per latent; ``bounds`` are the least and the
    largest value that the mean can have.
    """
    if len(values) == 1:
        return bootstrap_over_latents(next(iter(values.values())))
    return jackknife_over_seeds({pair: float(np.mean(v)) for pair, v in values.items()}, bounds)


def jackknife_over_seeds(
    values: Mapping[tuple[int, int], float], bounds: tuple[float, float] = (-np.inf, np.inf)
) -> Interval:
    """Mean over pairs, and Student's interval from the jackknife (Arvesen 1969, for U-statistics of order two).

    Raises InputError with fewer than three seeds, or if a pair is missing.
    """
    seeds = sorted({seed for pair in values for seed in pair})
    n = len(seeds)
    if n < 3 or len({frozenset(pair) for pair in values}) != n * (n - 1) // 2:
        raise InputError(f"the jackknife needs every pair of at least 3 seeds, not {len(values)} pairs of {n} seeds")
    estimate = float(np.mean(list(values.values())))
    without = [float(np.mean([v for pair, v in values.items() if seed not in pair])) for seed in seeds]
    return jackknife(estimate, without, bounds)


def jackknife(estimate: float, without: Sequence[float], bounds: tuple[float, float] = (-np.inf, np.inf)) -> Interval:
    """Student's interval about ``estimate`` from the same statistic with each seed left out in turn.

    Its variance is, on average, no smaller than that of the statistic of one seed fewer (Efron & Stein 1981), whatever
    the statistic, so the interval is rather too wide than too narrow. Raises InputError with fewer than three seeds.
    """
    n, without = len(without), np.asarray(without, dtype=np.float64)
    if n < 3:
        raise InputError(f"the jackknife needs at least 3 seeds, not {n}")
    error = np.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum())
    half = stats.t.ppf((1 + CONFIDENCE) / 2, n - 1) * error
    estimate = min(max(estimate, bounds[0]), bounds[1])  # a sum may end in a last bit beyond its bound
    low, high = max(estimate - half, bounds[0]), min(estimate + half, bounds[1])
    return Interval(estimate, float(low), float(high), JACKKNIFE)


def bootstrap_over_latents(values: Float[np.ndarray, " n"], n_resamples: int = 2000, seed: int = 0) -> Interval:
    """Mean over latents with the percentile bootstrap; what it covers is this pair of dictionaries only."""
    values = np.asarray(values, dtype=np.float64)
    if not len(values):
        raise InputError("no latents to resample")
    rng = np.random.default_rng(seed)
    means = [rng.choice(values, len(values)).mean() for _ in range(n_resamples)]
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    estimate = float(values.mean())
    # A sum in another order may differ in the last bit, so that a constant's interval would miss its own mean.
    return Interval(estimate, min(float(low), estimate), max(float(high), estimate), BOOTSTRAP)
