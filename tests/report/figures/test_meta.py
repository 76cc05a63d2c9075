"""What the figures of meta-SAEs draw is what they are given."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from helpers.drawn import assert_rows, rows_of, tick_words, words

from sae_utils.report.figures import meta
from sae_utils.report.figures.style import BLUE, GREEN, GREY


def ends(estimate, half=0.1):
    return {"estimate": estimate, "low": estimate - half, "high": estimate + half}


def points(ax):
    """Centres of all intervals, rounded."""
    return [tuple(np.round(xy, 3)) for container in ax.containers for xy in container.lines[0].get_xydata()]


def colours(ax):
    return [container[0].get_color() for container in ax.containers]


def test_dots_have_their_intervals(ax):
    meta.dots(ax, [("a", ends(0.5), GREY), ("b", ends(-0.2, 0.3), GREY)], "label")
    assert_rows(ax.containers, [[0.5, 0.4, 0.6], [-0.2, -0.5, 0.1]], across=True)
    assert [y for _, y in points(ax)] == [0, 1] and tick_words(ax.yaxis) == ["a", "b"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first on top


def test_explained_variance_by_size(ax):
    found = (("decoder", 64, 0.5), ("covariance", 32, 0.3), ("decoder", 32, 0.4))
    records = [{"kind": kind, "n_meta": n, "k": 4, "explained_variance": ends(value)} for kind, n, value in found]
    meta.explained_by(ax, records, "n_meta", "meta-latents")
    assert [y for _, y in points(ax)] == [0.4, 0.5, 0.3]  # a curve for each kind, in the order of its sizes
    assert tick_words(ax.xaxis) == ["32", "64"]


def test_regression_tells_meta_latents_from_latents_and_nulls(ax):
    found = {"meta-SAE (BatchTopK)": ends(0.5), "OMP: SAE of 128": ends(0.4), "OMP: random directions": ends(0.1)}
    meta.regression(ax, found, ["OMP: random directions"])
    assert colours(ax) == [BLUE, GREEN, GREY] and points(ax)[2] == (0.1, 2)


def test_closeness_has_each_cosine_its_median_and_the_share_above(ax):
    meta.closeness(ax, {"small": np.array([0.9, 0.5, 0.8, 0.6]), "random": np.full(4, 0.2)}, ["random"], 0.7)
    small, median = ax.lines[:2]
    assert small.get_xdata().tolist() == [0.9, 0.5, 0.8, 0.6] and median.get_xdata() == pytest.approx([0.7, 0.7])
    assert words(ax.texts)[:2] == ["50.0%", "0.0%"]


def test_by_width_leaves_out_what_could_not_be_measured(ax):
    series = {"siblings": ([ends(0.3), {"estimate": None, "low": None, "high": None}, ends(0.6)], GREY)}
    meta.by_width(ax, [64, 128, 1024], series, "label")
    assert points(ax) == [(0, 0.3), (2, 0.6)] and tick_words(ax.xaxis) == ["64", "128", "1,024"]


def test_edits_show_each_in_its_panel(style):
    _, axes = plt.subplots(1, 3)
    names = [edit for group in meta.EDITS for edit in group]
    values = {f"{what} {edit}": ends(i + j) for i, what in enumerate(meta.PANELS) for j, edit in enumerate(names)}
    meta.edits(axes, values)
    assert [[x for x, _ in points(ax)] for ax in axes] == [[i + j for j in range(9)] for i in range(3)]
    grey = [name for name, colour in zip(names, colours(axes[1]), strict=True) if colour == GREY]
    assert grey == list(meta.CONTROLS)


def test_groups_end_with_a_null_and_an_interval_of_the_whole_scale_is_words(ax):
    values = {"meta": [ends(0.2), ends(0.5, 0.5)], "latents": [ends(0.4), ends(0.5)], "null": [ends(0.1)]}
    meta.groups(ax, values, ["strict", "mean cosine"], "share")
    assert [x for x, _ in points(ax)] == [0.2, 0.4, 0.5, 0.1] and colours(ax)[-1] == GREY
    assert ax.lines[0].get_xdata().tolist() == [0.5] and words(ax.texts) == ["interval 0 to 1"]
    np.testing.assert_allclose(rows_of(ax.containers[0], across=True), [[0.2, 0.1, 0.3]])
