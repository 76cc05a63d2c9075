from itertools import combinations
from math import sqrt

import numpy as np
import pytest
from scipy import stats

from sae_utils.analysis.statistics import (
    BOOTSTRAP,
    CROSSED,
    JACKKNIFE,
    Interval,
    bootstrap_of_mean,
    independent_difference,
    lead,
    mean_over_pairs,
    over_chains,
    over_defined_seeds,
    over_groups,
    over_latents,
    over_ordered_pairs,
    over_pairs,
    over_seeds,
    over_tasks_and_seeds,
    paired_difference,
)
from sae_utils.errors import InputError


def test_intervals_over_seeds():
    values = [0.2, 0.3, 0.7]
    found = over_seeds(values)
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert (found.estimate, found.low, found.high) == pytest.approx((0.4, low, high))
    assert over_seeds(values, (0.0, 1.0)).low == 0.0
    assert over_defined_seeds([0.2, float("nan"), 0.3, 0.7]) == found
    assert np.isnan(over_defined_seeds([1.0, float("nan")]).ends).all()


def test_p_values_are_one_sided_and_of_the_standard_error():
    values = [0.2, 0.3, 0.7]
    above, below = (stats.ttest_1samp(values, 0.1, alternative=side).pvalue for side in ("greater", "less"))
    assert over_seeds(values).p_value(0.1) == over_seeds(values, (0.0, 1.0)).p_value(0.1) == pytest.approx(above)
    assert over_seeds([-v for v in values]).p_value(-0.1) == pytest.approx(above) == pytest.approx(1 - below)
    pairs = over_pairs({(i, j): (values[i] + values[j]) / 2 for i, j in combinations(range(3), 2)})
    assert pairs.p_value(0.1) == pytest.approx(above)
    table = np.tile(values, (4, 1))
    assert over_tasks_and_seeds(table).p_value(0.1) == pytest.approx(above)
    assert over_seeds([1.0, 1.0]).p_value(0) == 0 and over_seeds([1.0, 1.0]).p_value(1) == 0.5


def test_p_values_without_a_standard_error_are_of_the_side_that_faces_the_bound():
    skew = Interval(0.5, 0.3, 0.9, BOOTSTRAP)  # errors of 0.2 / 1.96 below and of 0.4 / 1.96 above
    assert skew.p_value(0.3) == pytest.approx(0.025) == pytest.approx(skew.p_value(0.9))
    assert skew.p_value(0.1) == pytest.approx(stats.norm.sf(2 * 1.959964), rel=1e-5)
    difference = independent_difference(over_seeds([1.0, 2.0, 4.0]), over_seeds([0.5, 0.6, 0.8, 0.9]))
    assert difference.p_value(difference.low) == pytest.approx(0.025)
    assert difference.freedom == 2


def test_intervals_over_chains_or_of_one_chain_over_widths():
    chains = [[0.1, 0.3], [0.2, 0.6], [0.0, 0.2]]
    assert over_chains(chains) == over_seeds([0.2, 0.4, 0.1])
    alone = over_chains(chains[:1], (0, 1))
    assert alone.ends == over_seeds([0.1, 0.3], (0, 1)).ends and alone.method.endswith("not over seeds")
    assert over_chains([]) is over_chains([[0.1]]) is None


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


def test_ends_of_a_difference_of_independent_intervals():
    found = independent_difference(Interval(3, 2, 5, "m"), Interval(1, 0.5, 1.25, "n"))
    assert found.ends == pytest.approx((2, 2 - sqrt(1 + 0.25**2), 2 + sqrt(4 + 0.5**2)))


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
    assert mean_over_pairs({(0, 1): np.array([True, False, True])}).method == BOOTSTRAP  # two seeds


def test_bootstrap_of_a_share_is_binomial_and_repeatable():
    values = np.arange(400) < 120
    found = bootstrap_of_mean(values)
    low, high = stats.binom.ppf([0.025, 0.975], 400, 0.3) / 400
    assert found.estimate == 0.3
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.006)
    assert found == bootstrap_of_mean(values)
    constant = bootstrap_of_mean(np.full(7, 0.1))
    assert constant.low == pytest.approx(0.1) and constant.high == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("message", "made"),
    [
        ("^an interval over seeds needs at least 2, not 1$", lambda: over_seeds([1.0])),
        ("at least 3 seeds", lambda: over_pairs({(0, 1): 0.5})),
        ("every pair", lambda: over_pairs({(0, 1): 0.5, (1, 2): 0.5})),
        ("no latents", lambda: bootstrap_of_mean(np.array([]))),
        ("no windows", lambda: over_groups(np.array([]), np.array([]))),
        ("does not hold its estimate", lambda: Interval(0.5, 0.6, 0.7, JACKKNIFE)),
        *(("at least two of each", lambda n=n: over_tasks_and_seeds(np.zeros(n))) for n in ((1, 5), (5, 1), (5,))),
    ],
)
def test_what_no_interval_can_be_made_of_is_refused(message, made):
    with pytest.raises(InputError, match=message):
        made()


@pytest.mark.parametrize("of_tasks", [True, False])
def test_tasks_or_seeds_that_differ_alone_give_student_s_interval_over_them(of_tasks):
    # Without any difference between the others their part is zero, and so are its degrees of freedom.
    values = np.random.default_rng(0).normal(0.1, 0.05, 7)
    table = np.tile(values, (4, 1))
    found = over_tasks_and_seeds(table if of_tasks else table.T)
    low, high = stats.t.interval(0.95, 6, loc=values.mean(), scale=stats.sem(values))
    assert found.ends == pytest.approx((values.mean(), low, high), rel=1e-10) and found.method == CROSSED


def test_it_covers_other_tasks_and_other_seeds():
    rng = np.random.default_rng(2)
    hits = []
    for _ in range(600):
        values = rng.normal(0, 0.05, (1, 8)) + rng.normal(0, 0.03, (4, 1)) + rng.normal(0, 0.02, (4, 8))
        found = over_tasks_and_seeds(values)
        hits.append(found.low <= 0 <= found.high)
    assert np.mean(hits) > 0.92  # 0.95, less 3 standard errors of 0.009; too wide is allowed


def test_a_difference_is_paired_by_task_and_seed():
    rng = np.random.default_rng(3)
    base = rng.normal(0.7, 0.1, (3, 6))
    scores = {"one": base + 0.02, "other": base, "without seeds": base[:1]}
    found = paired_difference(scores, "one", "other")
    assert (found.estimate, found.low, found.high) == pytest.approx((0.02, 0.02, 0.02))
    assert paired_difference(scores, "one", "without seeds").estimate == pytest.approx(
        0.02 + base.mean() - base[0].mean()
    )


def test_lead_is_over_the_best_of_the_others():
    base = np.random.default_rng(4).normal(0.7, 0.1, (3, 6))
    scores = {"a": base, "b": base + 0.05, "c": base - 0.1}
    assert lead(scores, "b", ("a", "c")).estimate == pytest.approx(0.05)
    assert lead(scores, "a", ("b", "c")).estimate == pytest.approx(-0.05)


def test_lead_is_fair_to_a_method_as_good_as_its_rivals():
    """Of four equal methods the best in a sample leads the others by luck; its rival's luck does not last."""
    rng = np.random.default_rng(5)
    ahead, naive = [], []
    for _ in range(400):
        scores = {name: rng.normal(0.7, 0.1, (3, 20)) for name in "abcd"}
        ahead.append(lead(scores, "a", "bcd").estimate)
        naive.append(min(paired_difference(scores, "a", other).estimate for other in "bcd"))
    assert abs(np.mean(ahead)) < 3 * np.std(ahead) / 20
    assert np.mean(naive) < -0.008


def test_lead_takes_each_half_s_rival_from_the_other():
    scores = {"a": np.zeros((2, 4)), "b": np.array([[1.0, 0, 1, 0]] * 2), "c": np.array([[0, 0.5, 0, 0.5]] * 2)}
    # On the even tasks b is the best, which is nothing on the odd ones; there c is, which is nothing on the even ones.
    assert lead(scores, "a", ("b", "c")).estimate == 0


def test_bootstrap_over_groups_of_one_is_over_windows_and_copies_do_not_count():
    correct = (np.random.default_rng(0).random(100) < 0.7).astype(float)
    alone = over_groups(correct, np.arange(100))
    assert alone.estimate == correct.mean()
    assert alone.high - alone.low == pytest.approx(2 * 1.96 * sqrt(correct.var() / 100), rel=0.1)
    copied = over_groups(np.repeat(correct, 5), np.repeat(np.arange(100), 5))
    assert copied.ends == pytest.approx(alone.ends, abs=1e-9)
    assert over_groups(np.array([1.0, 1, 1, 0]), np.array([5, 5, 5, 9])).estimate == 0.75
