"""ROC, AUC and best threshold against plain counting; odds ratios and intervals by hand."""

from math import log, sqrt

import numpy as np
import pytest
from scipy import stats

from sae_utils.analysis.statistics import over_pairs
from sae_utils.analysis.stitching.novelty import (
    accuracy_at,
    associate,
    over_chains,
    over_latents,
    over_ordered_pairs,
    over_seeds,
    over_widths,
    separation,
)
from sae_utils.errors import InputError


def latents(n=60, seed=0):
    """Cosines (some tied) and changes that go along with them, not exactly."""
    rng = np.random.default_rng(seed)
    cosine = rng.random(n).round(1 if seed else 6)
    return cosine, cosine - 0.5 + 0.3 * rng.standard_normal(n)


@pytest.mark.parametrize("seed", [0, 1])
def test_auc_and_threshold_are_what_counting_gives(seed):
    cosine, change = latents(seed=seed)
    found = separation(cosine, change)
    novel, known = cosine[change < 0], cosine[change >= 0]
    wins = [(a < b) + 0.5 * (a == b) for a in novel for b in known]
    assert found.auc == pytest.approx(np.mean(wins))
    balanced = {t: ((novel <= t).mean() + (known > t).mean()) / 2 for t in np.unique(cosine)}
    assert found.balanced_accuracy == pytest.approx(max(balanced.values()))
    assert accuracy_at(found.threshold, cosine, change) == pytest.approx(found.balanced_accuracy)
    assert accuracy_at(0.3, cosine, change) == pytest.approx(((novel <= 0.3).mean() + (known > 0.3).mean()) / 2)


def test_a_perfect_proxy_is_found_midway():
    found = separation(np.array([0.1, 0.3, 0.6, 0.9]), np.array([-1.0, -2.0, 0.0, 1.0]))
    assert (found.auc, found.balanced_accuracy) == (1.0, 1.0)
    assert found.threshold == pytest.approx(0.45)
    assert separation(np.array([0.9, 0.1]), np.array([-1.0, 1.0])).auc == 0.0


def test_one_kind_alone_has_no_separation():
    for change in (np.ones(5), -np.ones(5)):
        found = separation(np.linspace(0, 1, 5), change)
        assert np.isnan([found.auc, found.threshold, found.balanced_accuracy]).all()
        assert np.isnan(accuracy_at(0.7, np.linspace(0, 1, 5), change))


def test_odds_ratio_is_haldane_s_and_its_interval_woolf_s():
    first, second = (
        np.repeat([True, True, False, False], [8, 2, 3, 0]),
        np.repeat([True, False, True, False], [8, 2, 3, 0]),
    )
    found = associate(first, second)
    assert found.table == ((8, 2), (3, 0))
    assert found.log_odds_ratio == pytest.approx(log(8.5 * 0.5 / (2.5 * 3.5)))
    error = sqrt(1 / 8.5 + 1 / 2.5 + 1 / 3.5 + 1 / 0.5)
    assert found.woolf().high == pytest.approx(found.log_odds_ratio + stats.norm.ppf(0.975) * error)
    assert associate(second, first).log_odds_ratio == pytest.approx(found.log_odds_ratio)
    with pytest.raises(InputError, match="cannot be compared$"):
        associate(first, second[:-1])


def test_intervals_over_chains_or_of_one_chain_over_widths():
    chains = [[0.1, 0.3], [0.2, 0.6], [0.0, 0.2]]
    assert over_chains(chains) == over_seeds([0.2, 0.4, 0.1])
    alone = over_chains(chains[:1], (0, 1))
    assert alone.ends == over_seeds([0.1, 0.3], (0, 1)).ends and alone.method.endswith("not over seeds")
    assert over_chains([]) is over_chains([[0.1]]) is over_widths([0.1]) is None


def test_intervals_over_seeds():
    values = [0.2, 0.3, 0.7]
    found = over_seeds(values)
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert (found.estimate, found.low, found.high) == pytest.approx((0.4, low, high))
    assert over_seeds(values, (0.0, 1.0)).low == 0.0
    with pytest.raises(InputError, match="^an interval over seeds needs at least 2, not 1$"):
        over_seeds([1.0])


def test_pairs_of_three_seeds_are_jackknifed_and_of_two_are_two_values():
    three = {(i, j): float(i + 10 * j) for i in range(3) for j in range(3) if i != j}
    assert over_ordered_pairs(three) == over_pairs(three)
    assert over_ordered_pairs({(0, 1): 1.0, (1, 0): 2.0}) == over_seeds([1.0, 2.0])


def test_bootstrap_over_latents_is_of_the_mean_over_groups():
    a, b = np.arange(100.0), np.arange(100.0) + 50
    found = over_latents(lambda x, y: float(np.mean(y - x)), [(a, a + 1), (a, a + 3)])
    assert (found.estimate, found.low, found.high) == pytest.approx((2.0, 2.0, 2.0))
    found = over_latents(lambda x: float(np.mean(x)), [(a,), (b,)], n_resamples=2000)
    error = sqrt(2 * a.var() / 100) / 2
    assert found.estimate == pytest.approx(74.5)
    assert (found.low, found.high) == pytest.approx((74.5 - 1.96 * error, 74.5 + 1.96 * error), abs=0.4)
