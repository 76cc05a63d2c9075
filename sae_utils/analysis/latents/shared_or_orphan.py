"""What tells a latent that other seeds find from one that no other seed finds.

Both groups are read off a ``Membership``: **shared** latents are found in at least half of the other dictionaries,
**orphans** in none. Intervals leave out one dictionary at a time, both as a place to be found in and as latents.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Shaped
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from sae_utils.analysis.matching.membership import Membership
from sae_utils.analysis.statistics import UNBOUNDED, Bounds, Interval, jackknife
from sae_utils.errors import InputError

AUC_DRAWS = 20  # of the null, for which the AUC is found too: a regression for each dictionary in each draw
MIN_SEEDS = 4  # to leave one out twice, for the interval and for the test, and still have two to compare


@dataclass(frozen=True)
class Groups:
    """Which latents are shared and which are orphans; dead latents, and those found in a few others, are neither."""

    shared: Bool[np.ndarray, "S n"]
    orphan: Bool[np.ndarray, "S n"]


def groups(m: Membership) -> Groups:
    """Shared: found in at least half of the other dictionaries. Orphans: alive and found in none."""
    found = m.found.sum(axis=1)
    return Groups(m.alive & (2 * found >= m.n_seeds - 1), m.alive & (found == 0))


def with_interval(
    statistic: Callable[[Membership, Shaped[np.ndarray, "S ..."]], float],
    m: Membership,
    values: Shaped[np.ndarray, "S ..."],
    bounds: Bounds = UNBOUNDED,
) -> Interval:
    """A statistic of a membership and of values per latent, with the jackknife over seeds.

    Raises InputError with fewer than ``MIN_SEEDS`` dictionaries, and where they have no shared latent or no orphan.
    """
    if m.n_seeds < MIN_SEEDS:
        raise InputError(f"what tells shared latents from orphans needs at least {MIN_SEEDS} seeds, not {m.n_seeds}")

    without = [statistic(*_without(m, values, seed)) for seed in range(m.n_seeds)]
    return jackknife(statistic(m, values), without, bounds)


def _without(m: Membership, values: Shaped[np.ndarray, "S ..."], seed: int) -> tuple[Membership, np.ndarray]:
    """Membership and values without one dictionary, as a place to be found in and as latents."""
    return m.without(seed), np.delete(values, seed, axis=0)


def difference(m: Membership, values: Float[np.ndarray, "S n"], of: Callable = np.median) -> float:
    """``of`` the shared latents less ``of`` the orphans, mean over dictionaries; no latent without a value."""
    return _over_dictionaries(lambda shared, orphan: float(of(shared) - of(orphan)), m, values)


def of_orphans(m: Membership, values: Float[np.ndarray, "S n"], of: Callable = np.median) -> float:
    """``of`` the orphans, mean over dictionaries."""
    return _over_dictionaries(lambda shared, orphan: float(of(orphan)), m, values)


def superiority(m: Membership, values: Float[np.ndarray, "S n"]) -> float:
    """The chance that a shared latent has a larger value than an orphan of its dictionary: 0.5 where they are alike."""

    def auc(shared, orphan):
        return roc_auc_score(np.repeat([1, 0], [len(shared), len(orphan)]), np.append(shared, orphan))

    return _over_dictionaries(auc, m, values)


def _over_dictionaries(statistic: Callable, m: Membership, values: Float[np.ndarray, "S n"]) -> float:
    """The mean of a statistic of both groups over the dictionaries that have both."""
    g, has = groups(m), ~np.isnan(values)
    found = []
    for row, shared, orphan in zip(values, g.shared & has, g.orphan & has, strict=True):
        if shared.any() and orphan.any():
            found.append(statistic(row[shared], row[orphan]))
    if not found:
        raise InputError("no dictionary has both a shared latent and an orphan: nothing to tell apart")
    return float(np.mean(found))


def normal_scores(values: Float[np.ndarray, "S n P"], alive: Bool[np.ndarray, "S n"]) -> Float[np.ndarray, "S n P"]:
    """Each property's rank among the alive latents of a dictionary, as a quantile of the normal distribution.

    Mean 0 and spread 1 whatever the property's units and however skewed it is (van der Waerden 1952). NaN for latents
    that are dead or lack a property. A property that does not vary is 0.
    """
    scores = np.full(values.shape, np.nan)
    for s, usable in enumerate(alive & ~np.isnan(values).any(axis=2)):
        ranks = stats.rankdata(values[s, usable], axis=0)
        score = stats.norm.ppf((ranks - 0.5) / max(1, usable.sum()))
        spread = score.std(axis=0)
        scores[s, usable] = score / np.where(spread > 1e-9, spread, 1)
    return scores


@dataclass(frozen=True)
class Regression:
    """A logistic regression of being shared, not an orphan, on all properties at once, and each property by itself.

    A coefficient is the change of the log odds by one standard deviation of the property (see ``normal_scores``) with
    the others held still. ``auc`` is of dictionaries that the regression has not seen, 0.5 by chance. The null ones
    come from properties that were dealt anew to the latents of each dictionary.
    """

    names: tuple[str, ...]
    coefficients: tuple[Interval, ...]
    alone: tuple[Interval, ...]  # of each property, see ``superiority``
    auc: Interval
    null_coefficients: Float[np.ndarray, "draws P"]
    null_auc: Float[np.ndarray, " first_draws"]
    n_shared: int  # latents of either group that have every property
    n_orphans: int


def regress(
    names: Sequence[str], values: Float[np.ndarray, "S n P"], m: Membership, n_draws: int = 100, seed: int = 0
) -> Regression:
    """Which of the properties ``names`` predict that a latent is shared. Raises InputError as ``with_interval``."""
    scores = normal_scores(values, m.alive)
    auc = with_interval(held_out_auc, m, scores, (0.0, 1.0))
    whole = _fit(m, scores).coef_[0]
    without = np.stack([_fit(*_without(m, scores, s)).coef_[0] for s in range(m.n_seeds)])
    alone = [with_interval(superiority, m, scores[..., i], (0.0, 1.0)) for i in range(len(names))]
    dealt = [_dealt_anew(scores, seed + draw) for draw in range(n_draws)]
    y = _examples(m, scores)[1]
    return Regression(
        tuple(names),
        tuple(jackknife(estimate, others) for estimate, others in zip(whole, without.T, strict=True)),
        tuple(alone),
        auc,
        np.stack([_fit(m, null).coef_[0] for null in dealt]),
        np.array([held_out_auc(m, null) for null in dealt[:AUC_DRAWS]]),
        int(y.sum()),
        int((~y).sum()),
    )


def held_out_auc(m: Membership, scores: Float[np.ndarray, "S n P"]) -> float:
    """Fitted without a dictionary, how well are its shared latents told from its orphans? Mean over dictionaries.

    For the fit the dictionary is never there, neither as latents nor as a place to be found in.
    """
    predicted = np.full(scores.shape[:2], np.nan)
    for s in range(m.n_seeds):
        has = ~np.isnan(scores[s]).any(axis=1)
        predicted[s, has] = _fit(*_without(m, scores, s)).decision_function(scores[s, has])
    return superiority(m, predicted)


def _fit(m: Membership, scores: Float[np.ndarray, "S n P"]) -> LogisticRegression:
    """Over all dictionaries; scikit-learn's ridge of C = 1 keeps coefficients finite where groups are separable."""
    x, y = _examples(m, scores)
    if y.all() or not y.any():
        which = "shared" if y.any() else "orphans"
        raise InputError(f"{len(y)} latents are all {which}: nothing to tell apart")
    return LogisticRegression(C=1.0).fit(x, y)


def _examples(m: Membership, scores: Float[np.ndarray, "S n P"]) -> tuple[np.ndarray, np.ndarray]:
    """Scores and truth of the latents of either group that have every property."""
    g = groups(m)
    chosen = (g.shared | g.orphan) & ~np.isnan(scores).any(axis=2)
    return scores[chosen], g.shared[chosen]


def _dealt_anew(scores: Float[np.ndarray, "S n P"], seed: int) -> Float[np.ndarray, "S n P"]:
    """All properties of a latent given to another one of its dictionary."""
    rng, out = np.random.default_rng(seed), scores.copy()
    for row in out:
        has = np.flatnonzero(~np.isnan(row).any(axis=1))
        row[has] = row[rng.permutation(has)]
    return out
