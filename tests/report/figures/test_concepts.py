"""What the figures of probing and of spurious correlations draw is what they are given."""

import numpy as np
import pytest
from helpers.drawn import band_edges, by_label, interval_ends, tick_words

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
    assert [ax.get_title() for ax in two] == ["1 latent", "5 latents"]
    for i, ax in enumerate(two):
        assert ax.containers[1].lines[0].get_xdata() == pytest.approx([(0.65, 0.72)[i]])
        np.testing.assert_allclose(interval_ends(ax.containers[0], across=True), [[(0.58, 0.68)[i], (0.62, 0.72)[i]]])
        lines = [line.get_xdata() for line in ax.lines]
        assert any(np.array_equal(found, [values[i] for values in floors.values()]) for found in lines)
        assert tick_words(ax.yaxis) == ["single SAE", "naive bagging", "random latents", "untrained SAE"]
        assert {text.get_text(): text.xy[0] for text in ax.texts} == {"all activations": 0.9, "majority": 0.5}


def test_by_row_has_a_bar_from_start_to_end_and_the_first_method_for_comparison(two):
    methods = {"single": rows(0.6, 0.7), "boosting": np.array([0.65, 0.75])}
    concepts.by_row(two, ["a", "b"], methods, np.array([0.5, 0.4]), np.array([0.9, 0.8]))
    for ax in two:
        assert [bar.get_x() + bar.get_width() for bar in ax.containers[0]] == pytest.approx([0.9, 0.8])
        assert [bar.get_x() for bar in ax.containers[0]] == [0.5, 0.4] and tick_words(ax.yaxis) == ["a", "b"]
    np.testing.assert_allclose(interval_ends(two[0].containers[1], across=True), [[0.58, 0.62], [0.68, 0.72]])
    compared, own = two[1].lines[:2]
    assert compared.get_xdata().tolist() == [0.6, 0.7] and own.get_xdata().tolist() == [0.65, 0.75]
    assert [ax.get_title() for ax in two] == ["single SAE", "boosting"]


def test_differences_have_a_line_per_entry_and_a_colour_per_k(ax):
    concepts.differences(ax, {"bagging": rows(0.02, 0.03), "boosting": rows(-0.01, 0.04)}, [1, 2])
    assert ax.containers[0].lines[0].get_xdata() == pytest.approx([0.02, -0.01])
    np.testing.assert_allclose(interval_ends(ax.containers[1], across=True), [[0.01, 0.05], [0.02, 0.06]])
    assert tick_words(ax.yaxis) == ["bagging", "boosting"]


def test_score_curves_draw_one_method_null_and_reference(ax):
    curves = {"as many": rows(0.1, 0.2, 0.3), "as large a share": rows(0.2, 0.3, 0.4)}
    concepts.score_curves(ax, [2, 5, 10], "expanded", curves, rows(0.0, 0.01, 0.02), 0.6)
    whole, dotted = (container.lines[0] for container in ax.containers)
    assert whole.get_ydata() == pytest.approx([0.1, 0.2, 0.3]) and dotted.get_ydata() == pytest.approx([0.2, 0.3, 0.4])
    assert (whole.get_linestyle(), dotted.get_linestyle()) == ("-", ":")
    np.testing.assert_allclose(interval_ends(ax.containers[1])[0], [0.18, 0.22])
    assert set(by_label(ax)["LEACE, no dictionary"].get_ydata()) == {0.6}
    assert band_edges(ax.collections[0])[10] == pytest.approx((0.0, 0.04))
    assert tick_words(ax.xaxis) == ["2", "5", "10"] and ax.get_title() == "expanded SAE"
