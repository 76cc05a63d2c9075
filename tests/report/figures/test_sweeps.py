"""What the figures of sweeps draw is what they are given."""

import matplotlib.pyplot as plt
import numpy as np
from helpers.drawn import interval_ends, tick_words

from sae_utils.report.figures.sweeps import (
    MEASURES,
    both_ways,
    causes,
    doublings,
    of_sweep,
    overlap_bars,
    overlap_lines,
    quality_lines,
)

X = np.array([64, 128, 256])


def arrays(values=X):
    n = len(values)
    made = {"values": np.array(values), "l0": np.full((n, 3), 15.96), "dead": np.linspace(0, 0.3, 3 * n).reshape(n, 3)}
    made["explained_variance"] = np.full((n, 3), [0.7, 0.8, 0.9])
    for i, name in enumerate(MEASURES):
        middle = 0.2 * i + 0.1 * np.arange(n)
        made |= {name: np.stack([middle, middle - 0.05, middle + 0.1], 1), f"null_{name}": np.full(n, 0.01 * i)}
    return made


def test_of_sweep_takes_its_arrays_alone():
    assert of_sweep({"k_values": X, "k_null_agree": X, "width_values": X}, "k").keys() == {"values", "null_agree"}


def test_lines_pass_through_the_points_with_intervals_and_nulls(ax):
    overlap_lines(ax, arrays(), X, ["shared_strict", "agree"])
    nulls = [line for line in ax.lines if line.get_linestyle() == ":"]
    for name, container, null in zip(("shared_strict", "agree"), ax.containers, nulls, strict=True):
        np.testing.assert_allclose(container.lines[0].get_ydata(), arrays()[name][:, 0])
        np.testing.assert_allclose(interval_ends(container), arrays()[name][:, 1:])
        np.testing.assert_allclose(null.get_ydata(), arrays()[f"null_{name}"])


def test_quality_has_a_point_for_each_seed(ax):
    quality_lines(ax, arrays(), X)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), 0.8)
    seeds = [line.get_ydata() for line in ax.lines if line.get_linestyle() == "None"]
    np.testing.assert_array_equal(seeds, [*arrays()["explained_variance"].T, *arrays()["dead"].T])


def test_a_tick_at_each_doubling(ax):
    doublings(ax, np.array([93_750, 1_500_000, 2_000_000]), "tokens")
    assert tick_words(ax.xaxis) == ["93.8k", "1.5M", "2M"]


def test_bars_say_l0_and_explained_variance_and_mark_a_wrong_l0(ax):
    overlap_bars(ax, arrays(["relu", "topk", "gated"]), ["shared_strict", "agree"], wrong_l0=["topk"])
    under = "\nL0 16.0\nEV 0.80"
    assert tick_words(ax.xaxis) == [f"relu{under}", f"topk*{under}", f"gated{under}"]
    expected = [*arrays()["shared_strict"][:, 0], *arrays()["agree"][:, 0]]
    np.testing.assert_allclose([patch.get_height() for patch in ax.patches], expected)


def test_every_pair_of_seeds_is_drawn_raw_and_in_the_metric_of_the_data(ax):
    raw, here = np.array([[0.0, 0.1, 0.7], [0.6, 0.5, 0.4]]), np.full((2, 3), 0.8)
    both_ways(ax, {"values": np.array(["relu", "topk"]), "pairs_raw_close": raw, "pairs_close": here}, "close", "close")
    np.testing.assert_array_equal([line.get_ydata() for line in ax.lines], [*raw.T, *here.T])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["raw", "metric of the data"]
    assert tick_words(ax.xaxis) == ["relu", "topk"]


def test_causes_have_a_row_each_the_first_on_top(ax):
    rows, pairs = np.array([[0.8, 0.7, 0.9], [0.7, 0.6, 0.8]]), np.array([[0.75, 0.8, 0.85], [0.65, 0.7, 0.75]])
    causes(ax, rows, pairs, ["order", "text"])
    np.testing.assert_allclose([line.get_xdata() for line in ax.lines[:3]], pairs.T)
    (container,) = ax.containers
    np.testing.assert_allclose(container.lines[0].get_xdata(), rows[:, 0])
    np.testing.assert_allclose(container.lines[0].get_ydata(), [1, 0])
    assert tick_words(ax.yaxis) == ["order", "text"]


def test_a_legend_is_no_wider_than_its_axes(style):
    for n_axes, figwidth in ((2, 8.4), (1, 8)):
        fig, axes = plt.subplots(1, n_axes, figsize=(figwidth, 3.4), squeeze=False)
        ax = axes[0, 0]
        overlap_bars(ax, arrays(), list(MEASURES))
        fig.draw_without_rendering()
        assert ax.get_legend().get_window_extent().width <= ax.get_window_extent().width
