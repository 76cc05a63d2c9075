"""What the figures of ensembles draw is what they are given."""

import numpy as np
import pytest
from helpers.drawn import band_edges, by_label, interval_ends

from sae_utils.report.figures import ensembles

ROWS = np.array([[0.5, 0.4, 0.6], [0.7, 0.65, 0.8], [0.8, 0.79, 0.81]])


def test_curves_have_a_point_for_each_number_of_members_and_one_where_there_are_none(ax):
    ensembles.by_members(ax, {"bagging": ROWS, "expanded": ROWS[:1], "single": ROWS[2:]}, "share", 3)
    ensembles.null_lines(ax, {"bagging": ROWS - 0.1, "expanded": ROWS[:1]}, 3, "random")
    bagging, expanded, single = (container.lines[0] for container in ax.containers)
    np.testing.assert_allclose(bagging.get_xydata(), np.stack([[1, 2, 3], ROWS[:, 0]], 1))
    assert (expanded.get_xdata(), single.get_xdata()) == ([3], [1])
    np.testing.assert_allclose(interval_ends(ax.containers[0]), ROWS[:, 1:])
    null = next(line for line in ax.lines if line.get_linestyle() == ":")
    np.testing.assert_allclose(null.get_ydata(), ROWS[:, 0] - 0.1)


def test_explained_variance_stands_at_its_l0(ax):
    l0 = {"bagging": np.array([4.0, 8.0, 12.0]), "single": np.array([5.0])}
    ensembles.by_l0(ax, l0, {"bagging": ROWS, "single": ROWS[:1]}, np.array([[8, 0.5], [16, 0.7]]))
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), [[8, 0.5], [16, 0.7]])
    np.testing.assert_allclose(ax.containers[0].lines[0].get_xydata(), np.stack([l0["bagging"], ROWS[:, 0]], axis=1))


def test_the_plane_holds_every_method_the_frontier_and_the_reference(ax):
    points = {name: np.array([[1.0 + i, 9.0], [2.0, 5.0 + i]]) for i, name in enumerate(ensembles.PLANE_STYLES)}
    ensembles.plane(ax, points, "L0", reference=np.ones((4, 2)), frontier=points["bagging"])
    lines = by_label(ax)
    assert set(lines) == {"frontier", "principal components", *points}
    for name, rows in points.items():
        np.testing.assert_allclose(lines[name].get_xydata(), rows)


def test_the_disagreement_is_the_band_between_members_and_bag(ax):
    ensembles.ambiguity(ax, ROWS + 1, ROWS)
    assert band_edges(ax.collections[0]) == {j + 1: (row[0], row[0] + 1) for j, row in enumerate(ROWS)}


def test_gain_against_overlap_draws_the_line_it_is_given(ax):
    overlap = {"a": np.array([0.1, 0.2]), "b": np.array([0.5])}
    ensembles.gain_against_overlap(ax, overlap, {"a": np.array([0.3, 0.2]), "b": np.array([0.1])}, (-0.5, 0.4))
    np.testing.assert_allclose(ax.lines[0].get_xydata(), [[0.1, 0.3], [0.2, 0.2]])
    np.testing.assert_allclose(ax.lines[2].get_xydata(), [[0.1, 0.35], [0.5, 0.15]])


def test_stacked_kinds_add_up_to_one(ax):
    shares = np.array([[0.2, 0.8, 0.0], [0.1, 0.4, 0.5]])
    ensembles.kinds_by_stage(ax, shares, ["dead", "noise", "orphan"])
    np.testing.assert_allclose([[bar.get_height() for bar in kind] for kind in ax.containers], shares.T)
    assert [bar.get_y() + bar.get_height() for bar in ax.containers[-1]] == pytest.approx([1, 1])
