import numpy as np
import pytest
from scipy import stats

from sae_utils.analysis.paired import CROSSED, difference, lead, mean_over_tasks_and_seeds
from sae_utils.errors import InputError


def test_tasks_that_differ_alone_give_student_s_interval_over_tasks():
    # Without any difference between seeds the other part is zero, and so are its degrees of freedom.
    tasks = np.random.default_rng(0).normal(0.1, 0.05, 7)
    found = mean_over_tasks_and_seeds(np.tile(tasks, (4, 1)))
    low, high = stats.t.interval(0.95, 6, loc=tasks.mean(), scale=stats.sem(tasks))
    assert (found.estimate, found.low, found.high) == pytest.approx((tasks.mean(), low, high), rel=1e-10)
    assert found.method == CROSSED


def test_seeds_that_differ_alone_give_student_s_interval_over_seeds():
    seeds = np.random.default_rng(1).normal(0.1, 0.05, 5)
    found = mean_over_tasks_and_seeds(np.tile(seeds[:, None], (1, 8)))
    low, high = stats.t.interval(0.95, 4, loc=seeds.mean(), scale=stats.sem(seeds))
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-10)


def test_it_covers_other_tasks_and_other_seeds():
    rng = np.random.default_rng(2)
    hits = []
    for _ in range(600):
        values = rng.normal(0, 0.05, (1, 8)) + rng.normal(0, 0.03, (4, 1)) + rng.normal(0, 0.02, (4, 8))
        found = mean_over_tasks_and_seeds(values)
        hits.append(found.low <= 0 <= found.high)
    assert np.mean(hits) > 0.92  # 0.95, less 3 standard errors of 0.009; too wide is allowed


def test_a_difference_is_paired_by_task_and_seed():
    rng = np.random.default_rng(3)
    base = rng.normal(0.7, 0.1, (3, 6))
    scores = {"one": base + 0.02, "other": base, "without seeds": base[:1]}
    found = difference(scores, "one", "other")
    assert (found.estimate, found.low, found.high) == pytest.approx((0.02, 0.02, 0.02))
    assert difference(scores, "one", "without seeds").estimate == pytest.approx(0.02 + base.mean() - base[0].mean())


def test_lead_is_over_the_best_of_the_others():
    base = np.random.default_rng(4).normal(0.7, 0.1, (3, 6))
    scores = {"a": base, "b": base + 0.05, "c": base - 0.1}
    assert lead(scores, "b", ("a", "c")).estimate == pytest.approx(0.05)
    assert lead(scores, "a", ("b", "c")).estimate == pytest.approx(-0.05)


@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (5,)])
def test_one_task_or_one_seed_gives_no_interval(shape):
    with pytest.raises(InputError, match="at least two of each"):
        mean_over_tasks_and_seeds(np.zeros(shape))
