"""Novel and reconstruction latents, and whether the decoder alone tells which is which (paper B, arXiv 2502.04878).

A latent of the larger SAE is *novel* if its insertion lowers the smaller SAE's MSE, a *reconstruction* latent if not:
the smaller SAE has it already. The cheap proxy asks the weights only: novel if the largest cosine of its decoder row
to a decoder row of the smaller SAE is at most a threshold (0.7 for GPT-2, 0.4 for Gemma Scope in the paper).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats
from sklearn.metrics import roc_curve

from sae_utils.analysis.statistics import BOOTSTRAP, CONFIDENCE, Interval, over_pairs
from sae_utils.errors import InputError

PAPER_THRESHOLDS = {"GPT-2": 0.7, "Gemma Scope": 0.4}
STUDENT = "Student's t over seeds"
OVER_WIDTHS = "Student's t over pairs of widths that share dictionaries; not over seeds"


@dataclass(frozen=True)
class Separation:
    """How well the proxy tells novel from reconstruction latents, over all thresholds and at the best one."""

    false_positive_rate: Float[np.ndarray, " t"]  # of reconstruction latents, the share called novel
    true_positive_rate: Float[np.ndarray, " t"]  # of novel latents, the share called novel
    auc: float  # chance that a novel latent has the smaller cosine of the two, ties counted half; 0.5 knows nothing
    threshold: float  # with the largest balanced accuracy, midway between the cosines that it parts
    balanced_accuracy: float  # at that threshold: the mean of the two shares that are called right


def separation(max_cosine: Float[np.ndarray, " n"], change: Float[np.ndarray, " n"]) -> Separation:
    """The proxy (novel: cosine at most a threshold) against the sign of the change in MSE (novel: below 0).

    Pass alive latents alone: what never fires is neither. Numbers are NaN where all latents are of one kind.
    """
    novel = change < 0
    if novel.all() or not novel.any():
        nothing = np.array([0.0, 1.0])
        return Separation(nothing, nothing, float("nan"), float("nan"), float("nan"))
    wrong, right, scores = roc_curve(novel, -max_cosine, drop_intermediate=False)
    best = int((right - wrong).argmax())
    above = max_cosine[max_cosine > -scores[best]]
    threshold = (-scores[best] + above.min()) / 2 if best and len(above) else float(max_cosine.min() - 1e-9)
    auc = float(np.trapezoid(right, wrong))
    return Separation(wrong, right, auc, float(threshold), float((1 + right[best] - wrong[best]) / 2))


def accuracy_at(threshold: float, max_cosine: Float[np.ndarray, " n"], change: Float[np.ndarray, " n"]) -> float:
    """Balanced accuracy of the proxy at a given threshold; NaN where all latents are of one kind."""
    novel, called = change < 0, max_cosine <= threshold
    if novel.all() or not novel.any():
        return float("nan")
    return float((called[novel].mean() + (~called[~novel]).mean()) / 2)


@dataclass(frozen=True)
class Association:
    """Two yes-or-no properties of the same latents."""

    table: tuple[tuple[int, int], tuple[int, int]]  # rows: first yes, no; columns: second yes, no

    @property
    def log_odds_ratio(self) -> float:
        """Natural logarithm; 0 is no association. With Haldane's 0.5 in each cell, so that it is always finite."""
        (a, b), (c, d) = np.asarray(self.table) + 0.5
        return float(np.log(a * d / (b * c)))

    def woolf(self) -> Interval:
        """Woolf's (1955) interval of the log odds ratio, over latents: it covers this pair of dictionaries alone."""
        error = float(np.sqrt((1 / (np.asarray(self.table) + 0.5)).sum()))
        half = float(stats.norm.ppf((1 + CONFIDENCE) / 2)) * error
        estimate = self.log_odds_ratio
        return Interval(estimate, estimate - half, estimate + half, "Woolf's, over latents")


def associate(first: Bool[np.ndarray, " n"], second: Bool[np.ndarray, " n"]) -> Association:
    """The contingency table of two properties. Raises InputError for arrays of different length."""
    if first.shape != second.shape:
        raise InputError(f"properties of {first.shape} and {second.shape} latents cannot be compared")
    return Association(
        (
            (int((first & second).sum()), int((first & ~second).sum())),
            (int((~first & second).sum()), int((~first & ~second).sum())),
        )
    )


def over_seeds(values: Sequence[float], bounds: tuple[float, float] = (-np.inf, np.inf)) -> Interval:
    """Mean of one independent value per seed with Student's interval. Raises InputError with fewer than two."""
    if len(values) < 2:
        raise InputError(f"an interval over seeds needs at least 2, not {len(values)}")
    values = np.asarray(values, dtype=np.float64)
    half = stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    estimate = float(np.clip(values.mean(), *bounds))
    return Interval(estimate, max(estimate - half, bounds[0]), min(estimate + half, bounds[1]), STUDENT)


def over_chains(values: Sequence[Sequence[float]], bounds: tuple[float, float] = (-np.inf, np.inf)) -> Interval | None:
    """Mean over chains of seeds of each one's mean over pairs of widths; of one chain alone, ``over_widths``."""
    if len(values) == 1:
        return over_widths(values[0], bounds)
    return over_seeds([np.mean(chain) for chain in values], bounds) if values else None


def over_widths(values: Sequence[float], bounds: tuple[float, float] = (-np.inf, np.inf)) -> Interval | None:
    """Mean of one value per pair of widths, as if independent; None for fewer than two."""
    return replace(over_seeds(values, bounds), method=OVER_WIDTHS) if len(values) > 1 else None


def over_ordered_pairs(
    values: Mapping[tuple[int, int], float], bounds: tuple[float, float] = (-np.inf, np.inf)
) -> Interval:
    """Mean over pairs (small dictionary's seed, large one's): jackknife over seeds; of two seeds, both orders."""
    if len({seed for pair in values for seed in pair}) < 3:
        return over_seeds(list(values.values()), bounds)
    return over_pairs(values, bounds)


def mean_defined(values: Sequence[float]) -> float:
    """Mean of the values that are not NaN; NaN where all are."""
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else float("nan")


def over_latents(
    statistic: Callable[..., float],
    groups: Sequence[tuple[np.ndarray, ...]],
    n_resamples: int = 500,
    seed: int = 0,
) -> Interval:
    """Mean over ``groups`` of a statistic of their latents (NaN left out), percentile bootstrap over latents.

    Each group holds arrays with an entry per latent, which are resampled together. It covers these dictionaries alone.
    """
    rng = np.random.default_rng(seed)

    def resampled(arrays):
        chosen = rng.integers(len(arrays[0]), size=len(arrays[0]))
        return statistic(*(a[chosen] for a in arrays))

    estimate = mean_defined([statistic(*arrays) for arrays in groups])
    draws = [mean_defined([resampled(arrays) for arrays in groups]) for _ in range(n_resamples)]
    low, high = np.nanquantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(estimate, min(float(low), estimate), max(float(high), estimate), BOOTSTRAP)
