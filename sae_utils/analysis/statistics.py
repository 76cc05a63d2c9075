"""Confidence intervals, the same for every analysis: which values are independent decides which one is used.

===========================  ==================================================================================
``over_seeds``               one independent value for each seed: Student's t
``leave_one_out``            any statistic of all seeds: jackknife, one seed left out at a time
``over_pairs``               one value for each pair of seeds: jackknife, a seed left out with all its pairs
``over_latents``             a statistic of latents: bootstrap; it covers these dictionaries alone
``over_groups``              a mean over windows that come in groups: bootstrap over the groups
``over_tasks_and_seeds``     one value for each task and seed: t with the variance over both
===========================  ==================================================================================
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import hypot

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from sae_utils.errors import InputError

CONFIDENCE = 0.95
RESAMPLES = 2000  # of a bootstrap
TAILS = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)
UNBOUNDED = (-np.inf, np.inf)
STUDENT = "Student's t over seeds"
JACKKNIFE = "jackknife over seeds"
BOOTSTRAP = "bootstrap over latents of one pair of seeds"
GROUPS = "bootstrap over groups of test windows"
OVER_WIDTHS = "Student's t over pairs of widths that share dictionaries; not over seeds"
CROSSED = "Student's t over tasks and seeds"

Bounds = tuple[float, float]  # the least and the largest value that a statistic can have
Pair = tuple[int, int]  # of seeds
Scores = Mapping[str, Float[np.ndarray, "seeds tasks"]]


@dataclass(frozen=True)
class Interval:
    """An estimate, the ends of its confidence interval, and how they were found; all three NaN where there is none.

    ``error`` is the standard error and ``freedom`` its degrees of freedom, for a p value. Where no error is known (a
    bootstrap, a difference), the distance to an end stands for it, as if that side were normal, or t with ``freedom``.
    """

    estimate: float
    low: float
    high: float
    method: str
    error: float | None = field(default=None, repr=False)
    freedom: float = field(default=float("inf"), repr=False)

    def __post_init__(self):
        holds = self.low <= self.estimate <= self.high and np.isfinite(self.estimate)
        if not holds and not np.isnan(self.ends).all():
            raise InputError(f"interval {self.low} to {self.high} does not hold its estimate {self.estimate}")

    @property
    def ends(self) -> tuple[float, float, float]:
        """Estimate, low, high: what a figure draws."""
        return self.estimate, self.low, self.high

    def p_value(self, bound: float) -> float:
        """The one-sided p value of the estimate's lying on its own side of ``bound``; 0.5 on it, NaN without estimate.

        Below half of 1 - CONFIDENCE where the interval, unless cut off at the statistic's own bounds, excludes it.
        """
        beyond = abs(self.estimate - bound)
        error = self.error
        if error is None:
            end = self.low if self.estimate > bound else self.high
            error = abs(self.estimate - end) / stats.t.ppf(TAILS[1], self.freedom)
        if beyond == 0:
            return 0.5
        return float(stats.t.sf(beyond / error, self.freedom)) if error != 0 else 0.0

    def __str__(self) -> str:
        return f"{self.estimate:z.3f} ({self.low:z.3f} to {self.high:z.3f})"


def mean_defined(values: Iterable[float]) -> float:
    """The mean of the values that are not NaN; NaN where all are."""
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else float("nan")


def over_seeds(values: Sequence[float], bounds: Bounds = UNBOUNDED) -> Interval:
    """The mean of one independent value for each seed, with Student's interval.

    Raises InputError with fewer than two values.
    """
    if len(values) < 2:
        raise InputError(f"an interval over seeds needs at least 2, not {len(values)}")
    values = np.asarray(values, dtype=np.float64)
    return _student(values.mean(), values.std(ddof=1) / np.sqrt(len(values)), len(values) - 1, bounds, STUDENT)


def _student(estimate: float, error: float, freedom: float, bounds: Bounds, method: str) -> Interval:
    """Student's interval within the bounds, of an estimate that a sum may have put a last bit beyond them."""
    half = stats.t.ppf(TAILS[1], freedom) * error
    estimate = min(max(float(estimate), bounds[0]), bounds[1])
    low, high = max(float(estimate - half), bounds[0]), min(float(estimate + half), bounds[1])
    return Interval(estimate, low, high, method, float(error), float(freedom))


def over_seeds_by_name(each: Sequence[Mapping[str, float]], bounds: Bounds = UNBOUNDED) -> dict[str, Interval]:
    """``over_seeds`` of numbers that every seed has under the same names."""
    return {name: over_seeds([values[name] for values in each], bounds) for name in each[0]}


def over_defined_seeds(values: Sequence[float], bounds: Bounds = UNBOUNDED) -> Interval:
    """``over_seeds`` of the values that are not NaN; an interval of NaN where fewer than two are left."""
    defined = [value for value in values if not np.isnan(value)]
    return over_seeds(defined, bounds) if len(defined) > 1 else Interval(*3 * (float("nan"),), STUDENT)


def over_chains(values: Sequence[Sequence[float]], bounds: Bounds = UNBOUNDED) -> Interval | None:
    """The mean over chains of seeds of each one's mean over pairs of widths.

    Of one chain alone, over its pairs of widths as if they were independent. None where there are fewer than two
    values to average.
    """
    if len(values) == 1 and len(values[0]) > 1:
        return replace(over_seeds(values[0], bounds), method=OVER_WIDTHS)
    return over_seeds([np.mean(chain) for chain in values], bounds) if len(values) > 1 else None


def jackknife(
    estimate: float, without: Sequence[float], bounds: Bounds = UNBOUNDED, method: str = JACKKNIFE
) -> Interval:
    """Student's interval about ``estimate`` from the same statistic with each seed left out in turn.

    Its variance is, on average, no smaller than that of the statistic of one seed fewer (Efron & Stein 1981), whatever
    the statistic, so the interval is rather too wide than too narrow. Raises InputError with fewer than three seeds.
    """
    n, without = len(without), np.asarray(without, dtype=np.float64)
    if n < 3:
        raise InputError(f"the jackknife needs at least 3 seeds, not {n}")
    error = np.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum())
    return _student(estimate, error, n - 1, bounds, method)


def leave_one_out(statistic: Callable[[int | None], float], n_seeds: int, bounds: Bounds = UNBOUNDED) -> Interval:
    """``statistic(None)``, of all seeds, with the jackknife's interval from ``statistic(s)``, without seed s."""
    return jackknife(statistic(None), [statistic(seed) for seed in range(n_seeds)], bounds)


def over_pairs(values: Mapping[Pair, float], bounds: Bounds = UNBOUNDED) -> Interval:
    """The mean over pairs of seeds, with the jackknife's interval (Arvesen 1969, for U-statistics of order two).

    Pairs share seeds, so they are not independent: each seed is left out with all its pairs. Raises InputError with
    fewer than three seeds, or if a pair is missing.
    """
    seeds = sorted({seed for pair in values for seed in pair})
    n = len(seeds)
    if n < 3 or len({frozenset(pair) for pair in values}) != n * (n - 1) // 2:
        raise InputError(f"the jackknife needs every pair of at least 3 seeds, not {len(values)} pairs of {n} seeds")
    estimate = float(np.mean(list(values.values())))
    without = [float(np.mean([v for pair, v in values.items() if seed not in pair])) for seed in seeds]
    return jackknife(estimate, without, bounds)


def over_ordered_pairs(values: Mapping[Pair, float], bounds: Bounds = UNBOUNDED) -> Interval:
    """The mean over pairs (small dictionary's seed, large one's): ``over_pairs``; of two seeds, both orders."""
    if len({seed for pair in values for seed in pair}) < 3:
        return over_seeds(list(values.values()), bounds)
    return over_pairs(values, bounds)


def mean_over_pairs(values: Mapping[Pair, Float[np.ndarray, " n"]], bounds: Bounds = (0.0, 1.0)) -> Interval:
    """The mean over latents, then over pairs of seeds, with the interval that the number of seeds allows.

    ``values`` maps a pair of seeds to one number (or truth value) for each latent. Two seeds make one pair and tell
    nothing about other seeds: then the latents of that pair are resampled, and the interval says so.
    """
    if len(values) == 1:
        return bootstrap_of_mean(next(iter(values.values())))
    return over_pairs({pair: float(np.mean(v)) for pair, v in values.items()}, bounds)


def percentiles(estimate: float, draws: Sequence[float], method: str = BOOTSTRAP) -> Interval:
    """The percentile bootstrap's interval from resampled statistics; NaN draws are left out."""
    if np.isnan(draws).all():
        return Interval(*3 * (float("nan"),), method)
    low, high = np.nanquantile(draws, TAILS)
    # A sum in another order may differ in the last bit, so that a constant's interval would miss its own mean.
    return Interval(estimate, min(float(low), estimate), max(float(high), estimate), method)


def bootstrap_of_mean(values: Float[np.ndarray, " n"]) -> Interval:
    """The mean over latents with the percentile bootstrap; it covers this pair of dictionaries alone."""
    values = np.asarray(values, dtype=np.float64)
    if not len(values):
        raise InputError("no latents to resample")
    rng = np.random.default_rng(0)
    means = [rng.choice(values, len(values)).mean() for _ in range(RESAMPLES)]
    return percentiles(float(values.mean()), means)


def over_latents(
    statistic: Callable[..., float], groups: Sequence[tuple[np.ndarray, ...]], n_resamples: int = 500
) -> Interval:
    """The mean over ``groups`` of a statistic of their latents (NaN left out), percentile bootstrap over latents.

    Each group holds arrays with an entry for each latent, which are resampled together. It covers these dictionaries
    alone.
    """
    rng = np.random.default_rng(0)

    def resampled(arrays: tuple[np.ndarray, ...]) -> float:
        chosen = rng.integers(len(arrays[0]), size=len(arrays[0]))
        return statistic(*(a[chosen] for a in arrays))

    estimate = mean_defined(statistic(*arrays) for arrays in groups)
    draws = [mean_defined([resampled(arrays) for arrays in groups]) for _ in range(n_resamples)]
    return percentiles(estimate, draws)


def over_groups(correct: Float[np.ndarray, " n"], groups: Int[np.ndarray, " n"]) -> Interval:
    """The mean over windows, with the percentile bootstrap over their groups: windows of one file are alike.

    For dictionaries of several seeds, pass the mean over them for each window.
    """
    if not len(correct):
        raise InputError("no windows to resample")
    _, which = np.unique(groups, return_inverse=True)
    sums, counts = np.bincount(which, weights=correct), np.bincount(which)
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=RESAMPLES)
    return percentiles(float(sums.sum() / counts.sum()), (drawn @ sums) / (drawn @ counts), GROUPS)


def over_tasks_and_seeds(values: Float[np.ndarray, "seeds tasks"]) -> Interval:
    """The mean with an interval for other tasks and other seeds.

    Its variance is that of the mean over tasks (of means over seeds) plus that over seeds (of means over tasks), as
    for crossed random effects; what is neither is counted in both, so the interval is rather too wide. Degrees of
    freedom by Satterthwaite (1946). Raises InputError with fewer than two of either.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or min(values.shape) < 2:
        raise InputError(f"an interval over tasks and seeds needs at least two of each, not values {values.shape}")
    estimate = float(values.mean())
    parts = [(values.mean(axis).var(ddof=1) / n, n - 1) for axis, n in ((1, len(values)), (0, values.shape[1]))]
    variance = sum(part for part, _ in parts)
    if not variance > 0:
        return Interval(estimate, estimate, estimate, CROSSED, error=0.0)
    freedom = variance**2 / sum(part**2 / df for part, df in parts)
    return _student(estimate, np.sqrt(variance), freedom, UNBOUNDED, CROSSED)


def paired_difference(scores: Scores, one: str, other: str) -> Interval:
    """The mean of method ``one`` less ``other``, task by task and seed by seed; one without seeds has one row."""
    return over_tasks_and_seeds(scores[one] - scores[other])


def lead(scores: Scores, method: str, others: Sequence[str]) -> Interval:
    """By how much ``method`` is better than the best of ``others``, cross-fitted: negative where it is not the best.

    The best in a sample is so by luck, too, and what it leads by shrinks elsewhere. So every other task's rival is the
    one that is best on the remaining tasks, and the other way round. Where a wrong rival is chosen for lack of tasks,
    the method has a weaker one. Raises InputError with fewer than two tasks or seeds.
    """
    ahead = np.stack(np.broadcast_arrays(*(scores[method] - scores[other] for other in others)))
    if ahead.ndim == 3 and min(ahead.shape[1:]) > 1:
        ahead = _of_rivals_from_the_other_half(ahead)
    return over_tasks_and_seeds(ahead)


def _of_rivals_from_the_other_half(ahead: Float[np.ndarray, "others seeds tasks"]) -> Float[np.ndarray, "seeds tasks"]:
    """The rows of the rival that the method is least ahead of on the even tasks, for the odd ones, and vice versa."""
    found = np.empty(ahead.shape[1:])
    for half in (0, 1):
        rival = ahead[:, :, 1 - half :: 2].mean((1, 2)).argmin()
        found[:, half::2] = ahead[rival, :, half::2]
    return found


def independent_difference(one: Interval, other: Interval) -> Interval:
    """``one`` less ``other``, taken as independent: the distances to the ends add up as squares (Zou & Donner 2008)."""
    estimate = one.estimate - other.estimate
    low = estimate - hypot(one.estimate - one.low, other.high - other.estimate)
    high = estimate + hypot(one.high - one.estimate, other.estimate - other.low)
    return Interval(estimate, low, high, f"{one.method}, both sides", freedom=min(one.freedom, other.freedom))
