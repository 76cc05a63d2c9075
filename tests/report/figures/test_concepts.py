"""What the figures of probing and of spurious correlations draw is what they are given."""

import numpy as np
import pytest
from helpers.drawn import assert_rows, band_edges, by_label, places, tick_words

from sae_utils.report.figures import concepts


def rows(*middles, half=0.02):
    return np.array([[m, m - half, m + half] for m in middles])


@pytest.fixture
def two(ax):
    """Two axes of one figure."""
    return ax, ax.figure.add_subplot()


def test_accuracy_by_k_draws_estimates_intervals_floors_and_ceiling(two):
    intervals = {"single": rows(0.6, 0.7), "bagging": rows(0.65, 0.72)}
    floors = {"random_latents": np.array([0.52, 0.55]), "untrained": np.array([0.57, 0.6])}
    concepts.accuracy_by_k(two, [1, 5], intervals, floors, 0.9, 0.5)
    for i, ax in enumerate(two):
        assert_rows(ax.containers, [values[i] for values in intervals.values()], across=True)
        assert any(np.array_equal(line.get_xdata(), [values[i] for values in floors.values()]) for line in ax.lines)
        assert tick_words(ax.yaxis) == ["single SAE", "naive bagging", "random latents", "untrained SAE"]
        assert {name: x for name, (x, _) in places(ax).items()} == {"all activations": 0.9, "majority": 0.5}


def test_by_row_has_a_bar_from_start_to_end_and_the_first_method_for_comparison(two):
    methods = {"single": rows(0.6, 0.7), "boosting": np.array([0.65, 0.75])}
    concepts.by_row(two, ["a", "b"], methods, np.array([0.5, 0.4]), np.array([0.9, 0.8]))
    for ax in two:
        ends = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in ax.containers[0]]
        np.testing.assert_allclose(ends, [(0.5, 0.9), (0.4, 0.8)])
    assert_rows(two[0].containers[1:], [methods["single"]], across=True)
    assert [line.get_xdata().tolist() for line in two[1].lines[:2]] == [[0.6, 0.7], [0.65, 0.75]]


def test_differences_have_a_line_per_entry_and_a_colour_per_k(ax):
    gains = {"bagging": rows(0.02, 0.03), "boosting": rows(-0.01, 0.04)}
    concepts.differences(ax, gains, [1, 2])
    assert_rows(ax.containers, np.stack(list(gains.values()), axis=1), across=True)
    assert tick_words(ax.yaxis) == ["bagging", "boosting"]


def test_score_curves_draw_one_method_null_and_reference(ax):
    curves = {"as many": rows(0.1, 0.2, 0.3), "as large a share": rows(0.2, 0.3, 0.4)}
    concepts.score_curves(ax, [2, 5, 10], "expanded", curves, rows(0.0, 0.01, 0.02), 0.6)
    assert_rows(ax.containers, curves.values())
    assert set(by_label(ax)["LEACE, no dictionary"].get_ydata()) == {0.6}
    assert band_edges(ax.collections[0])[10] == pytest.approx((0.0, 0.04))
