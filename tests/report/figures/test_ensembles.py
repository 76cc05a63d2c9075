"""What the figures of ensembles draw is what they are given."""

import numpy as np
import pytest

from sae_utils.report.figures import ensembles as ep
from sae_utils.report.figures import style as plots

ROWS = np.array([[0.5, 0.4, 0.6], [0.7, 0.65, 0.8], [0.8, 0.79, 0.81]])


def texts(ax):
    return [text.get_text() for text in ax.get_legend().texts]


def test_curves_have_a_point_for_each_number_of_members_and_one_where_there_are_none(ax):
    ep.by_members(ax, {"bagging": ROWS, "expanded": ROWS[:1], "single": ROWS[2:]}, "share", 3)
    ep.null_lines(ax, {"bagging": ROWS - 0.1, "expanded": ROWS[:1]}, 3, "random")
    plots.legend_above(ax)
    bagging, expanded, single = (container.lines[0] for container in ax.containers)
    np.testing.assert_array_equal(bagging.get_xdata(), [1, 2, 3])
    np.testing.assert_allclose(bagging.get_ydata(), ROWS[:, 0])
    assert (expanded.get_xdata(), single.get_xdata()) == ([3], [1])
    bars = ax.containers[0].lines[2][0].get_segments()
    np.testing.assert_allclose([s[:, 1] for s in bars], ROWS[:, 1:])
    assert texts(ax) == ["random", "naive bagging", "expanded", "single"]
    null = next(line for line in ax.lines if line.get_linestyle() == ":")
    np.testing.assert_allclose(null.get_ydata(), ROWS[:, 0] - 0.1)


def test_explained_variance_stands_at_its_l0(ax):
    l0 = {"bagging": np.array([4.0, 8.0, 12.0]), "single": np.array([5.0])}
    ep.by_l0(ax, l0, {"bagging": ROWS, "single": ROWS[:1]}, np.array([[8, 0.5], [16, 0.7]])).legend()
    assert texts(ax) == ["single TopK", "naive bagging", "single"]
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), [[8, 0.5], [16, 0.7]])
    np.testing.assert_allclose(ax.containers[0].lines[0].get_xydata(), np.stack([l0["bagging"], ROWS[:, 0]], axis=1))
    assert ax.get_xscale() == "log"


def test_the_plane_holds_every_method_the_frontier_and_the_reference(ax):
    points = {name: np.array([[1.0 + i, 9.0], [2.0, 5.0 + i]]) for i, name in enumerate(ep.PLANE_STYLES)}
    ep.plane(ax, points, "L0", reference=np.ones((4, 2)), frontier=points["bagging"])
    lines = {line.get_label(): line for line in ax.lines}
    assert set(lines) == {"frontier", "principal components", *points}
    for name, rows in points.items():
        np.testing.assert_allclose(lines[name].get_xydata(), rows)
    learned = lines["boosting, learned weights"]
    assert (learned.get_markerfacecolor(), learned.get_color()) == ("white", ep.ORANGE)
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


def test_the_disagreement_is_the_band_between_members_and_bag(ax):
    ep.ambiguity(ax, ROWS + 1, ROWS)
    band = ax.collections[0].get_paths()[0].vertices
    for j, row in enumerate(ROWS):
        heights = band[np.isclose(band[:, 0], j + 1), 1]
        assert heights.min() == pytest.approx(row[0]) and heights.max() == pytest.approx(row[0] + 1)
    assert ax.get_ylim()[0] == 0


def test_gain_against_overlap_draws_the_line_it_is_given(ax):
    overlap = {"a": np.array([0.1, 0.2]), "b": np.array([0.5])}
    ep.gain_against_overlap(ax, overlap, {"a": np.array([0.3, 0.2]), "b": np.array([0.1])}, (-0.5, 0.4))
    assert len(ax.lines) == 3
    np.testing.assert_allclose(ax.lines[2].get_xydata(), [[0.1, 0.35], [0.5, 0.15]])


def test_stacked_kinds_add_up_to_one(ax):
    shares = np.array([[0.2, 0.8, 0.0], [0.1, 0.4, 0.5]])
    ep.kinds_by_stage(ax, shares, ["dead", "noise", "orphan"])
    tops = [
        max(bar.get_y() + bar.get_height() for bar in ax.patches if bar.get_x() < x < bar.get_x() + 1) for x in (1, 2)
    ]
    assert tops == pytest.approx([1, 1])
    assert ax.patches[1].get_height() == pytest.approx(0.1)


def test_intervals_are_listed_from_the_top(ax):
    ep.points_with_intervals(ax, ROWS, ["a", "b", "c"], "FVU", nulls=np.array([0.1, 0.2, 0.3]))
    np.testing.assert_allclose(ax.containers[0].lines[0].get_xydata(), [[0.5, 2], [0.7, 1], [0.8, 0]])
    ticks = dict(zip(ax.get_yticks(), (t.get_text() for t in ax.get_yticklabels()), strict=True))
    assert ticks == {2: "a", 1: "b", 0: "c"}
