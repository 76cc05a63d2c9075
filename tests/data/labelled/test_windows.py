from itertools import product

import numpy as np
import pytest

from sae_utils.data.labelled.windows import (
    FEWEST,
    NEITHER,
    LabelledWindows,
    Task,
    balanced_task,
    balanced_tasks,
    quadrants,
    used_rows,
)
from sae_utils.errors import InputError


def windows(n=1200, seed=0):
    """Files of 4 windows, every third file for testing; ``label`` follows ``package`` in nine windows of ten."""
    rng = np.random.default_rng(seed)
    groups = np.arange(n) // 4
    package = rng.integers(0, 3, n)
    label = np.where(rng.random(n) < 0.9, package == 1, rng.integers(0, 2, n)).astype(int)
    label[rng.random(n) < 0.1] = NEITHER
    labels = {"label": label, "package": package, "other": rng.integers(0, 2, n)}
    return LabelledWindows(np.arange(n)[:, None] + np.zeros((1, 3), int), groups, groups % 3 == 0, labels)


def test_a_task_is_balanced_within_each_stratum_and_splits_by_file():
    w = windows()
    task = balanced_task(w, "label", 10_000, 10_000, ("package",))
    for rows, labels, side in ((task.train, task.train_labels, False), (task.test, task.test_labels, True)):
        assert (w.test[rows] == side).all()
        assert len(set(rows.tolist())) == len(rows)
        assert (w.labels["label"][rows] == labels).all()
        for package in range(3):
            of = labels[w.labels["package"][rows] == package]
            assert of.mean() == 0.5
            # As many pairs as the smaller class has windows there.
            members = w.labels["label"][(w.test == side) & (w.labels["package"] == package)]
            assert of.sum() == min((members == 1).sum(), (members == 0).sum())
    assert not set(w.groups[task.train]) & set(w.groups[task.test])


def test_a_task_takes_no_more_than_asked_and_stays_balanced():
    task = balanced_task(windows(), "label", 60, 30)
    assert (len(task.train), len(task.test)) == (60, 30)
    assert task.train_labels.mean() == task.test_labels.mean() == 0.5
    several = balanced_tasks(windows(), {"other": (), "label": ()}, 60, 30)
    assert [one.name for one in several] == ["other", "label"]
    assert (several[1].train == task.train).all(), "no matter when it is drawn"


def test_majority_is_the_accuracy_of_the_more_frequent_class_in_training():
    task = Task("x", np.arange(3), np.array([True, True, False]), np.arange(4), np.array([True, False, False, False]))
    assert task.majority == 0.25


def test_quadrants_hold_equally_many_of_each_combination():
    w = windows()
    q = quadrants(w, "label", "other", 400, 10_000)
    assert q.train.shape == (2, 2, 100)
    for rows, side in ((q.train, False), (q.test, True)):
        for i, j in product((0, 1), repeat=2):
            assert (w.labels["label"][rows[i, j]] == i).all()
            assert (w.labels["other"][rows[i, j]] == j).all()
        assert (w.test[rows] == side).all()
        assert len(np.unique(rows)) == rows.size
    there = [w.test & (w.labels["label"] == i) & (w.labels["other"] == j) for i, j in product((0, 1), repeat=2)]
    assert q.test.shape[2] == min(mask.sum() for mask in there)


def test_renumbered_parts_are_the_same_windows():
    w = windows()
    task, q = balanced_task(w, "label", 60, 30), quadrants(w, "label", "other", 60, 60)
    rows = used_rows([task, q])
    assert set(rows) == set(task.train) | set(task.test) | set(q.train.ravel()) | set(q.test.ravel())
    assert (rows[task.renumbered(rows).train] == task.train).all()
    assert (rows[task.renumbered(rows).test] == task.test).all()
    assert (rows[q.renumbered(rows).train] == q.train).all()
    with pytest.raises(InputError, match="60 windows are not among the 1 that"):
        task.renumbered(task.test[:1])


def test_swapped_quadrants_exchange_target_and_spurious():
    q = quadrants(windows(), "label", "other", 400, 400)
    turned = q.swapped()
    assert turned.attributes == ("other", "label")
    assert (turned.test[0, 1] == q.test[1, 0]).all()
    assert (turned.train[1, 1] == q.train[1, 1]).all()


@pytest.mark.parametrize(
    "act, words",
    [
        (lambda w: balanced_task(w, "loop", 9, 9), "no concept 'loop'; there are label, package, other"),
        (lambda w: balanced_tasks(w, {"other": ()}, 60, 30), "two tasks or more are needed, and there are 1: other"),
        (lambda w: balanced_task(w, "label", 10, 100), f"5 windows of each class on a side; needed: {FEWEST}"),
        (lambda w: quadrants(w, "label", "package", 20, 100), f"has 5 windows on a side; needed: {FEWEST}"),
        (
            lambda w: LabelledWindows(w.tokens, w.groups, np.arange(len(w.tokens)) % 2 == 0, w.labels),
            "300 groups have windows on both sides",
        ),
        (
            lambda w: LabelledWindows(w.tokens, w.groups, w.test, {"a": np.zeros(3)}),
            "1200 windows but 3 values of 'a'",
        ),
    ],
)
def test_refusals(act, words):
    with pytest.raises(InputError, match=words.replace("(", r"\(")):
        act(windows())
