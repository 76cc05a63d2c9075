"""Differences between methods that were tried on the same tasks with several seeds, with intervals over both."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from scipy import stats

from sae_utils.analysis.statistics import CONFIDENCE, Interval
from sae_utils.errors import InputError

CROSSED = "Student's t over tasks and seeds"

Scores = Mapping[str, Float[np.ndarray, "seeds tasks"]]


def mean_over_tasks_and_seeds(values: Float[np.ndarray, "seeds tasks"]) -> Interval:
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
        return Interval(estimate, estimate, estimate, CROSSED)
    freedom = variance**2 / sum(part**2 / df for part, df in parts)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom) * np.sqrt(variance))
    return Interval(estimate, estimate - half, estimate + half, CROSSED)


def difference(scores: Scores, one: str, other: str) -> Interval:
    """Mean of ``one`` less ``other``, task by task and seed by seed. Methods that have no seeds have one row."""
    return mean_over_tasks_and_seeds(scores[one] - scores[other])


def lead(scores: Scores, method: str, others: Sequence[str]) -> Interval:
    """By how much ``method`` is better than the best of ``others``: negative where it is not the best."""
    rival = max(others, key=lambda name: float(scores[name].mean()))
    return difference(scores, method, rival)
