"""What the figures of ensembles draw is what they are given."""

import numpy as np
import pytest
from helpers.drawn import band_edges, by_label, interval_ends, tick_words

from sae_utils.report.figures import ensembles

ROWS = np.array([[0.5, 0.4, 0.6], [0.7, 0.65, 0.8], [0.8, 0.79, 0.81]])


def test_curves_have_a_point_for_each_number_of_members_and_one_where_there_are_none(ax):
    ensembles.by_members(ax, {"bagging": ROWS, "expanded": ROWS[:1], "single": ROWS[2:]}, "share", 3)
    ensembles.null_lines(ax, {"bagging": ROWS - 0.1, "expanded": ROWS[:1]}, 3, "random")
    bagging, expanded, single = (container.lines[0] for container in ax.containers)
    side = ensembles.SIDE
    np.testing.assert_allclose(bagging.get_xydata(), np.stack([np.array([1, 2, 3]) - side, ROWS[:, 0]], 1))
    assert (expanded.get_xdata(), single.get_xdata()) == ([3], [1 + side])
    np.testing.assert_allclose(interval_ends(ax.containers[0]), ROWS[:, 1:])
    null = next(line for line in ax.lines if line.get_linestyle() == ":")
    np.testing.assert_allclose(null.get_ydata(), ROWS[:, 0] - 0.1)


def test_explained_variance_stands_at_its_l0(ax):
    l0 = {"bagging": np.array([4.0, 8.0, 12.0]), "single": np.array([5.0])}
    ensembles.by_l0(ax, l0, {"bagging": ROWS, "single": ROWS[:1]}, np.array([[8, 0.5], [16, 0.7]]))
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), [[8, 0.5], [16, 0.7]])
    np.testing.assert_allclose(ax.containers[0].lines[0].get_xydata(), np.stack([l0["bagging"], ROWS[:, 0]], axis=1))


def test_the_plane_names_each_method_and_has_the_frontier_in_steps(ax):
    points = {name: np.array([[1.0 + i, 9.0], [2.0, 5.0 + i]]) for i, name in enumerate(ensembles.PLANE_STYLES)}
    points["bagging, learned weights"] = points["bagging"] - 0.1
    ensembles.plane(ax, points, "L0", reference=np.ones((4, 2)), frontier=points["bagging"])
    lines = by_label(ax)
    assert {text.get_text() for text in ax.texts} == set(ensembles.PLANE_STYLES)
    for name, rows in points.items():
        line = lines[name if name.endswith("weights") else f"_{name}"]
        np.testing.assert_allclose(line.get_xydata(), rows)
    assert lines["bagging, learned weights"].get_color() == lines["_bagging"].get_color()
    assert lines["principal components"].get_xydata().shape == (4, 2)
    assert ax.lines[0].get_drawstyle() == "steps-post" and len(ax.get_legend_handles_labels()[1]) == 3


def test_the_disagreement_is_the_band_between_members_and_bag(ax):
    ensembles.ambiguity(ax, ROWS + 1, ROWS)
    assert band_edges(ax.collections[0]) == {j + 1: (row[0], row[0] + 1) for j, row in enumerate(ROWS)}


def test_gain_against_overlap_names_kinds_and_writes_the_slope(ax):
    overlap = {"topk 8": np.array([0.1, 0.2]), "relu": np.array([0.5])}
    slope = {"estimate": -0.5, "low": -0.75, "high": 0.25}
    ensembles.gain_against_overlap(ax, overlap, {"topk 8": np.array([0.3, 0.2]), "relu": np.array([0.1])}, slope)
    np.testing.assert_allclose(ax.lines[0].get_xydata(), [[0.1, 0.3], [0.2, 0.2]])
    assert [text.get_text() for text in ax.texts] == ["TopK, k 8", "ReLU"] and len(ax.lines) == 2
    assert ax.get_title(loc="left") == "slope over kinds -0.50 (-0.75 to 0.25)"


def test_stacked_kinds_add_up_to_one_and_chance_stands_beside_them(ax):
    shares = np.array([[0.2, 0.8, 0.0, 0.0], [0.05, 0.45, 0.0, 0.5]])
    ensembles.kinds_by_stage(ax, shares, ["dead", "noise", "repeated", "orphan"], [0.013, 0])
    np.testing.assert_allclose([[bar.get_width() for bar in kind] for kind in ax.containers], shares.T)
    assert [bar.get_x() + bar.get_width() for bar in ax.containers[-1]] == pytest.approx([1, 1])
    words = [text.get_text() for text in ax.texts]
    assert words[:4] == ["20 %", "", "80 %", "45 %"] and words[-3:] == ["1.3 %", "0.0 %", "novel by\nchance"]
    assert ax.get_legend_handles_labels()[1] == ["dead", "noise", "orphan"]
    assert tick_words(ax.yaxis) == ["member 1", "member 2"]
