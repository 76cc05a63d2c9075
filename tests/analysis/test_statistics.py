from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from sae_utils.analysis.statistics import (
    BOOTSTRAP,
    JACKKNIFE,
    Interval,
    bootstrap_of_mean,
    over_pairs,
    mean_over_pairs,
)
from sae_utils.errors import InputError


def test_jackknife_of_additive_pairs_is_the_t_interval_of_the_seeds():
    # If a pair's value is (u_i + u_j) / 2, its mean over pairs is the mean of u, and leaving out a seed moves
    # it by (u_i - mean) / (n - 1): the jackknife is then exactly Student's interval for the mean of u.
    u = np.random.default_rng(0).normal(0.4, 0.05, 6)
    found = over_pairs({(i, j): (u[i] + u[j]) / 2 for i, j in combinations(range(6), 2)})
    low, high = stats.t.interval(0.95, 5, loc=u.mean(), scale=stats.sem(u))
    assert (found.estimate, found.low, found.high) == pytest.approx((u.mean(), low, high), rel=1e-12)


def test_jackknife_covers_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(400):
        u = rng.normal(0.4, 0.05, 5)
        noise = rng.normal(0, 0.01, (5, 5))
        found = over_pairs({(i, j): (u[i] + u[j]) / 2 + noise[i, j] for i, j in combinations(range(5), 2)})
        hits += found.low <= 0.4 <= found.high
    assert 0.91 < hits / 400 < 0.99  # 0.95 with 4 standard errors of 0.011


def test_equal_pairs_give_an_interval_without_width_and_bounds_hold():
    pairs = list(combinations(range(4), 2))
    same = over_pairs(dict.fromkeys(pairs, 0.25))
    assert (same.low, same.estimate, same.high) == (0.25, 0.25, 0.25)
    values = {pair: [np.array([True, False]), np.array([False, False])][0 in pair] for pair in pairs}
    bounded = mean_over_pairs(values)
    assert (bounded.low, bounded.estimate, bounded.high) == (0, 0.25, 1) and bounded.method == JACKKNIFE


def test_bootstrap_of_a_share_is_binomial_and_repeatable():
    values = np.arange(400) < 120
    found = bootstrap_of_mean(values)
    low, high = stats.binom.ppf([0.025, 0.975], 400, 0.3) / 400
    assert found.estimate == 0.3
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.006)
    assert found == bootstrap_of_mean(values)
    constant = bootstrap_of_mean(np.full(7, 0.1))
    assert constant.low == pytest.approx(0.1) and constant.high == pytest.approx(0.1)


def test_two_seeds_resample_latents_and_say_so():
    assert mean_over_pairs({(0, 1): np.array([True, False, True])}).method == BOOTSTRAP


def test_what_no_interval_can_be_made_of_is_refused():
    with pytest.raises(InputError, match="at least 3 seeds"):
        over_pairs({(0, 1): 0.5})
    with pytest.raises(InputError, match="every pair"):
        over_pairs({(0, 1): 0.5, (1, 2): 0.5})
    with pytest.raises(InputError, match="no latents"):
        bootstrap_of_mean(np.array([]))
    with pytest.raises(InputError, match="does not hold its estimate"):
        Interval(0.5, 0.6, 0.7, JACKKNIFE)
