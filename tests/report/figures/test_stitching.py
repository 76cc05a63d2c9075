"""Figures of stitching: what is drawn is what was given."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from sae_utils.report.figures import stitching as stitching_plots
from sae_utils.report.figures import style as plots

pytestmark = pytest.mark.usefixtures("style")


def labels(ax):
    return [text.get_text() for text in ax.get_legend().texts]


def test_scatter_parts_the_latents_by_what_they_do_to_the_error(ax):
    rng = np.random.default_rng(0)
    cosine, change = rng.random(50), rng.normal(size=50)
    random = rng.random(30), rng.random(30)
    stitching_plots.cosine_and_change(ax, cosine, change, random, best=0.4, paper=0.7)
    null, novel, known = (points.get_offsets().data for points in ax.collections)
    np.testing.assert_array_equal(null, np.stack(random, 1))
    np.testing.assert_array_equal(novel, np.stack([cosine, change], 1)[change < 0])
    assert len(known) == (change >= 0).sum()
    assert [line.get_xdata()[0] for line in ax.lines[1:]] == [0.7, 0.4]
    assert f"novel ({(change < 0).mean():.0%})" in labels(ax) and "best threshold, 0.40" in labels(ax)
    assert ax.get_xlabel() == "largest decoder cosine" and ax.get_yscale() == "symlog"
    without = stitching_plots.cosine_and_change(plt.figure().add_subplot(), cosine, change, random, float("nan"), 0.7)
    assert len(without.lines) == 2


def test_roc_has_a_curve_and_the_thresholds_of_each_architecture(ax):
    curves = {"topk": np.array([[0, 0.2, 1], [0, 0.9, 1]]), "relu": np.array([[0, 0.5, 1], [0, 0.6, 1]])}
    auc = {"topk": (0.85, 0.8, 0.9), "relu": (0.55, 0.5, 0.6)}
    marks = {name: {"threshold 0.7": (0.1, 0.4 + i)} for i, name in enumerate(curves)}
    stitching_plots.roc(ax, curves, auc, marks)
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), curves["topk"].T)
    assert ax.lines[1].get_xydata().tolist() == [[0.1, 0.4]] and ax.lines[3].get_xydata().tolist() == [[0.1, 1.4]]
    assert "TopK: AUC 0.85 (0.80 to 0.90)" in labels(ax) and "threshold 0.7" in labels(ax)


def test_shares_are_drawn_with_intervals_and_one_seed_hollow(ax):
    rows = np.array([[0.3, 0.2, 0.5], [0.4, 0.4, 0.45]])
    stitching_plots.shares_by_width(ax, ["a", "b"], {"topk": rows, "topk same seed": rows}, np.array([0.1, 0.2]), 0.35)
    first, second = (container.lines[0] for container in ax.containers)
    np.testing.assert_array_equal(first.get_ydata(), rows[:, 0])
    assert second.get_markerfacecolor() == "white" and second.get_color() == first.get_color()
    bars = ax.containers[0].lines[2][0].get_segments()
    np.testing.assert_allclose([segment[:, 1] for segment in bars], rows[:, 1:])
    assert [text.get_text() for text in ax.get_xticklabels()] == ["a", "b"]


def test_swap_groups_are_stacked_and_their_effects_placed():
    left, right = plt.figure().subplots(1, 2)
    counts = {kind: np.array([i + 1.0, 2.0]) for i, kind in enumerate(stitching_plots.KINDS)}
    stitching_plots.swap_kinds(left, ["a", "b"], counts)
    tops = np.array([[bar.get_y() + bar.get_height() for bar in container] for container in left.containers])
    np.testing.assert_allclose(tops, np.cumsum(list(counts.values()), axis=0))
    effects = {kind: np.array([[-0.1 * i, float(i)]]) for i, kind in enumerate(stitching_plots.KINDS)}
    effects["merged"] = np.empty((0, 2))
    stitching_plots.swap_effects(right, effects)
    assert [len(points.get_offsets()) for points in right.collections] == [1, 1, 0, 1]
    assert right.get_xlabel() == "change in L0" and "%" in right.get_ylabel()


def test_a_walk_is_one_line_in_the_colours_of_its_phases():
    axes = plt.figure().subplots(3, 1)
    path = {
        "n_latents": np.array([4, 5, 6, 6, 5]),
        "fvu": np.array([0.9, 0.8, 0.7, 0.6, 0.5]),
        "l0": np.array([2.0, 3, 4, 3, 2]),
        "phase": np.array(["insert", "insert", "swap", "remove"]),
    }
    stitching_plots.walks(axes, [path], [{"n_latents": [4, 5], "recovered": [0.5, 0.7]}])
    drawn = [line.get_xydata().tolist() for line in axes[0].lines[:3]]
    assert drawn[0] == [[4, 0.9], [5, 0.8], [6, 0.7]]
    assert drawn[1] == [[6, 0.7], [6, 0.6]] and drawn[2] == [[6, 0.6], [5, 0.5]]
    assert axes[2].lines[0].get_xydata().tolist() == [[4, 0.5], [5, 0.7]]
    assert labels(axes[0]) == ["insert novel", "swap groups", "remove lost", "trained SAE"]
    assert [ax.get_ylabel() for ax in axes] == ["FVU", "L0", "cross-entropy\nrecovered"]


def test_the_plane_holds_every_dictionary(ax):
    trained = np.array([[4, 2, 0.9], [8, 2, 0.8]])
    stages = {"t = 0.7": [np.array([[4, 2, 0.9], [6, 3, 0.7]]), np.array([[4, 2, 0.95], [7, 3.5, 0.6]])]}
    stitching_plots.plane(ax, trained, stages, {"t = 0.7": np.array([[6, 3, 0.65]])})
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), trained[:, 1:])
    np.testing.assert_array_equal(ax.lines[2].get_xydata(), stages["t = 0.7"][1][:, 1:])
    assert ax.lines[3].get_xydata().tolist() == [[3, 0.65]]
    assert [text.get_text() for text in ax.texts] == ["4", "8", "6"]


def test_insertion_between_seeds():
    left, right = plt.figure().subplots(1, 2)
    stitching_plots.lowering_shares(left, {"orphans": (0.2, 0.1, 0.4), "random\ndirections": (0.0, 0.0, 0.0)})
    assert [text.get_text() for text in left.get_xticklabels()] == ["orphans", "random\ndirections"]
    assert left.containers[1].lines[0].get_color() == plots.GREY
    grid = np.linspace(0, 1, 3)
    bases = np.array([[0.0, -1, -2], [0.0, -3, -4]])
    stitching_plots.insertion_curves(right, {"orphans": (grid, bases)}, (grid, -bases))
    np.testing.assert_array_equal(right.lines[0].get_ydata(), bases.mean(0))
    assert labels(right) == ["orphans", "base with a larger k"]


def test_the_plane_without_controls(ax):
    trained = np.array([[4, 2, 0.9], [8, 2, 0.8]])
    stitching_plots.plane(ax, trained, {"t = 0.7": [trained]}, {"t = 0.7": np.zeros((0, 3))})
    assert "trained at its latents and L0" not in labels(ax)
