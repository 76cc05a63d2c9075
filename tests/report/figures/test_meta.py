"""What the figures of meta-SAEs draw is what they are given."""

import matplotlib.pyplot as plt
import numpy as np
from helpers.drawn import by_label, interval_ends, tick_words

from sae_utils.report.figures import meta
from sae_utils.report.figures.style import GREY


def ends(estimate, half=0.1):
    return {"estimate": estimate, "low": estimate - half, "high": estimate + half}


def points(ax):
    """Centres of all intervals, rounded."""
    return [tuple(np.round(xy, 3)) for container in ax.containers for xy in container.lines[0].get_xydata()]


def test_dots_have_their_intervals(ax):
    meta.dots(ax, [("a", ends(0.5), GREY), ("b", ends(-0.2, 0.3), GREY)], "label")
    assert points(ax) == [(0.5, 0), (-0.2, 1)]
    np.testing.assert_allclose(interval_ends(ax.containers[1], across=True), [[-0.5, 0.1]])
    assert tick_words(ax.yaxis) == ["a", "b"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first on top


def test_explained_variance_by_size(ax):
    found = (("decoder", 64, 0.5), ("covariance", 32, 0.3), ("decoder", 32, 0.4))
    records = [{"kind": kind, "n_meta": n, "k": 4, "explained_variance": ends(value)} for kind, n, value in found]
    meta.explained_by(ax, records, "n_meta", "meta-latents")
    assert [y for _, y in points(ax)] == [0.4, 0.5, 0.3]  # a curve for each kind, in the order of its sizes
    assert tick_words(ax.xaxis) == ["32", "64"]


def test_closeness_is_the_share_above(ax):
    meta.closeness(ax, {"small": np.array([0.9, 0.5, 0.8, 0.6]), "random": np.full(4, 0.2)}, ["random"], 0.7)
    x, y = by_label(ax)["small"].get_data()
    above = y[np.searchsorted(x, 0.7)]  # drawn with steps before each point
    assert above == 0.5 and y[0] == 1 and y[-1] == 0


def test_by_width_leaves_out_what_could_not_be_measured(ax):
    series = {"siblings": ([ends(0.3), {"estimate": None, "low": None, "high": None}, ends(0.6)], GREY, "-")}
    meta.by_width(ax, [64, 128, 1024], series, "label")
    assert points(ax) == [(0, 0.3), (2, 0.6)] and tick_words(ax.xaxis) == ["64", "128", "1,024"]


def test_edits_show_each_in_its_panel(style):
    _, axes = plt.subplots(1, 3)
    names = {"remove": "d - w m", "remove other": "d - w o"}
    values = {f"{what} {edit}": ends(i + j) for i, what in enumerate(meta.PANELS) for j, edit in enumerate(names)}
    meta.edits(axes, values, names)
    assert [[x for x, _ in points(ax)] for ax in axes] == [[0, 1], [1, 2], [2, 3]]


def test_groups_end_with_a_null(ax):
    values = {"meta": [ends(0.2), ends(0.3)], "latents": [ends(0.4), ends(0.5)], "null": [ends(0.1)]}
    meta.groups(ax, values, ["strict", "mean cosine"], "share")
    assert [x for x, _ in points(ax)] == [0.2, 0.3, 0.4, 0.5, 0.1]
    assert ax.containers[-1][0].get_color() == GREY and tick_words(ax.yaxis) == ["strict", "mean cosine"]
