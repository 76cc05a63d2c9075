"""What the figures of stitching draw is what they are given."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from helpers.drawn import assert_rows, by_label, places, rows_of, tick_words, words

from sae_utils.report.figures import stitching


def test_scatter_parts_the_latents_by_what_they_do_to_the_error(ax):
    rng = np.random.default_rng(0)
    cosine, change = rng.random(50), rng.normal(size=50)
    random = rng.random(30), rng.random(30)
    stitching.cosine_and_change(ax, cosine, change, random, best=0.4, paper=0.7)
    null, novel, known = (points.get_offsets().data for points in ax.collections)
    np.testing.assert_array_equal(null, np.stack(random, 1))
    np.testing.assert_array_equal(novel, np.stack([cosine, change], 1)[change < 0])
    assert len(known) == (change >= 0).sum()
    assert [line.get_xdata()[0] for line in ax.lines[1:]] == [0.7, 0.4]
    assert words(ax.texts)[0] == f"novel: {(change < 0).mean():.0%} of latents"
    without = plt.figure().add_subplot()
    stitching.cosine_and_change(without, cosine, change, random, float("nan"), 0.7)
    assert len(without.lines) == 2


def test_roc_has_a_curve_and_the_thresholds_of_each_architecture(ax):
    curves = {"topk": np.array([[0, 0.2, 1], [0, 0.9, 1]]), "relu": np.array([[0, 0.5, 1], [0, 0.6, 1]])}
    marks = {name: {"0.7": (0.1, 0.4 + i)} for i, name in enumerate(curves)}
    stitching.roc(ax, curves, {"topk": (0.85, 0.8, 0.9), "relu": (0.55, 0.5, 0.6)}, marks)
    np.testing.assert_array_equal(by_label(ax)["TopK: AUC 0.85 (0.80 to 0.90)"].get_xydata(), curves["topk"].T)
    assert ax.lines[1].get_xydata().tolist() == [[0.1, 0.4]] and ax.lines[3].get_xydata().tolist() == [[0.1, 1.4]]
    assert places(ax) == {"TopK: cosine 0.7": (0.1, 0.4), "ReLU, L1: cosine 0.7": (0.1, 1.4)}


def test_roc_without_an_architecture_that_has_one_is_empty(ax):
    stitching.roc(ax, {}, {}, {})
    assert [line.get_linestyle() for line in ax.lines] == [":"]


def test_numbers_by_width_are_drawn_with_intervals_and_one_seed_hollow(ax):
    rows = np.array([[0.3, 0.2, 0.5], [0.4, 0.4, 0.45]])
    series = {"novel": rows, "novel, one seed": rows + 0.1, "random": rows / 2}
    stitching.by_width_pair(ax, ["a", "b"], series)
    assert_rows(ax.containers, series.values())
    first, second, _ = (container.lines[0] for container in ax.containers)
    assert second.get_markerfacecolor() == "white" and second.get_color() == first.get_color()


def test_swap_groups_are_stacked_and_their_effects_placed(style):
    left, right = plt.figure().subplots(1, 2)
    counts = {kind: np.array([i + 1.0, 2.0]) for i, kind in enumerate(stitching.KINDS)}
    stitching.swap_kinds(left, ["a", "b"], counts)
    tops = np.array([[bar.get_y() + bar.get_height() for bar in container] for container in left.containers])
    np.testing.assert_allclose(tops, np.cumsum(list(counts.values()), axis=0))
    effects = {kind: np.array([[-0.1 * i, float(i)]]) for i, kind in enumerate(stitching.KINDS)}
    effects["merged"] = np.empty((0, 2))
    stitching.swap_effects(right, effects)
    assert [points.get_offsets().tolist() for points in right.collections] == [e.tolist() for e in effects.values()]


def test_a_walk_is_one_line_in_the_colours_of_its_phases(style):
    axes = plt.figure().subplots(3, 1)
    path = {
        "n_latents": np.array([4, 5, 6, 6, 5]),
        "fvu": np.array([0.9, 0.8, 0.7, 0.6, 0.5]),
        "l0": np.array([2.0, 3, 4, 3, 2]),
        "phase": np.array(["insert", "insert", "swap", "remove"]),
    }
    stitching.walks(axes, [path], [{"n_latents": np.array([4, 5]), "recovered": np.array([0.5, 0.7])}])
    drawn = [line.get_xydata().tolist() for line in axes[0].lines[:3]]
    assert drawn == [[[4, 0.9], [5, 0.8], [6, 0.7]], [[6, 0.7], [6, 0.6]], [[6, 0.6], [5, 0.5]]]
    assert axes[1].lines[0].get_xydata().tolist() == [[4, 2], [5, 3], [6, 4]]
    assert axes[2].lines[0].get_xydata().tolist() == [[4, 0.5], [5, 0.7]]
    stitching.walk_legend(axes[0].figure)
    assert len(axes[0].figure.legends) == 1


@pytest.mark.parametrize("n_controls", [0, 1])
def test_frankenstein_s_panels_hold_every_dictionary(n_controls, style):
    trained = np.array([[4, 2, 0.9], [8, 2, 0.8]])
    stages = np.array([[[4, 2, 0.9], [6, 3, 0.7]], [[4, 2, 0.95], [7, 3.5, 0.6]]])
    controls = np.array([[6, 3, 0.65]])[:n_controls]
    axes = plt.figure().subplots(1, 2)
    stitching.frankenstein(axes, trained, stages, controls)
    rows = [*stages, trained, controls][: 3 + n_controls]
    for ax, column in zip(axes, (0, 1), strict=True):
        assert [line.get_xydata().tolist() for line in ax.lines] == [row[:, [column, 2]].tolist() for row in rows]


def test_insertion_between_seeds(style):
    left, right = plt.figure().subplots(1, 2)
    shares = {"orphans": (0.2, 0.1, 0.4), "random\ndirections": (0.0, 0.0, 0.0)}
    stitching.lowering_shares(left, shares)
    assert tick_words(left.xaxis) == list(shares) and words(left.texts)[:2] == ["20.0%", "0.0%"]
    np.testing.assert_allclose(rows_of(left.containers[0]), [shares["orphans"]])
    grid, bases = np.linspace(0, 1, 3), np.array([[0.0, -1, -2], [0.0, -3, -4]])
    stitching.insertion_curves(right, {"orphans": (grid, bases)}, (grid, -bases))
    np.testing.assert_array_equal(right.lines[0].get_ydata(), bases.mean(0))
    np.testing.assert_array_equal(right.lines[1].get_ydata(), -bases.mean(0))
    assert places(right) == {"orphans": (1, -3), "base with a larger k": (1, 3)}
