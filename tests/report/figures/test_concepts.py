"""What the figures of probing and of spurious correlations draw is what they are given."""

import numpy as np
import pytest
from helpers.drawn import band_edges, by_label, interval_ends, tick_words

from sae_utils.report.figures import concepts


def rows(*middles, half=0.02):
    return np.array([[m, m - half, m + half] for m in middles])


def test_accuracy_by_k_draws_estimates_intervals_floors_and_ceiling(ax):
    intervals = {"single": rows(0.6, 0.7), "bagging": rows(0.65, 0.72)}
    floors = {"random_latents": np.array([0.52, 0.55]), "untrained": np.array([0.57, 0.6])}
    concepts.accuracy_by_k(ax, [1, 5], intervals, floors, 0.9, 0.5)
    assert ax.containers[1].lines[0].get_ydata() == pytest.approx([0.65, 0.72])
    np.testing.assert_allclose(interval_ends(ax.containers[1]), [[0.63, 0.67], [0.70, 0.74]])
    lines = by_label(ax)
    assert set(lines["all raw activations"].get_ydata()) == {0.9} and set(lines["majority class"].get_ydata()) == {0.5}
    assert [[s[0, 1] for s in c.get_segments()] for c in ax.collections[:2]] == [[0.52, 0.55], [0.57, 0.6]]
    assert tick_words(ax.xaxis) == ["1 latent", "5 latents"]


def test_accuracy_by_task_orders_tasks_by_their_ceiling(ax):
    intervals = {"single": rows(0.6, 0.7, 0.8), "boosting": rows(0.61, 0.71, 0.81)}
    concepts.accuracy_by_task(ax, ["a", "b", "c"], intervals, np.full(3, 0.5), np.array([0.9, 0.95, 0.85]))
    assert tick_words(ax.yaxis) == ["c", "a", "b"]
    assert ax.containers[2].lines[0].get_xdata() == pytest.approx([0.81, 0.61, 0.71])
    assert [round(bar.get_x() + bar.get_width(), 6) for bar in ax.patches] == [0.85, 0.9, 0.95]


def test_differences_have_a_line_per_entry_and_a_colour_per_k(ax):
    concepts.differences(ax, {"bagging": rows(0.02, 0.03), "boosting": rows(-0.01, 0.04)}, [1, 2])
    assert ax.containers[0].lines[0].get_xdata() == pytest.approx([0.02, -0.01])
    np.testing.assert_allclose(interval_ends(ax.containers[1], across=True), [[0.01, 0.05], [0.02, 0.06]])
    assert tick_words(ax.yaxis) == ["bagging", "boosting"]


def test_before_and_after_draws_balanced_and_worst_group(ax):
    concepts.before_and_after(ax, ["a", "b"], {"before": ("#000000", "o", np.array([[0.7, 0.2], [0.8, 0.5]]))})
    filled, hollow = ax.lines[:2]
    assert filled.get_xdata().tolist() == [0.7, 0.8] and hollow.get_xdata().tolist() == [0.2, 0.5]
    assert hollow.get_markerfacecolor() == "white" and tick_words(ax.yaxis) == ["a", "b"]


def test_score_curves_draw_methods_null_and_reference(ax):
    curves = {"single": rows(0.1, 0.2, 0.3), "expanded": rows(0.2, 0.3, 0.4)}
    concepts.score_curves(ax, [2, 5, 10], curves, rows(0.0, 0.01, 0.02), 0.6, "latents")
    points = ax.containers[1].lines[0].get_xydata()
    assert points[:, 1] == pytest.approx([0.2, 0.3, 0.4]) and np.diff(points[:, 0]).min() > 0
    np.testing.assert_allclose(interval_ends(ax.containers[1])[0], [0.18, 0.22])
    assert set(by_label(ax)["LEACE, no dictionary"].get_ydata()) == {0.6}
    assert band_edges(ax.collections[0])[10] == pytest.approx((0.0, 0.04))
    assert tick_words(ax.xaxis) == ["2", "5", "10"]
