"""What the figures of ensembles draw is what they are given."""

import numpy as np
import pytest
from helpers.drawn import assert_rows, band_edges, by_label, places, rows_of, tick_words, words

from sae_utils.report.figures import ensembles

ROWS = np.array([[0.5, 0.4, 0.6], [0.7, 0.65, 0.8], [0.8, 0.79, 0.81]])


def test_curves_have_a_point_for_each_number_of_members_and_one_where_there_are_none(ax):
    curves = {"bagging": ROWS, "expanded": ROWS[:1], "single": ROWS[2:]}
    ensembles.by_members(ax, curves, "share", 3)
    ensembles.null_lines(ax, {"bagging": ROWS - 0.1, "expanded": ROWS[:1]}, 3, "random")
    assert_rows(ax.containers, curves.values())
    at = np.concatenate([container.lines[0].get_xdata() for container in ax.containers])
    np.testing.assert_allclose(at, [*(np.array([1, 2, 3]) - ensembles.SIDE), 3, 1 + ensembles.SIDE])
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
    assert set(words(ax.texts)) == set(ensembles.PLANE_STYLES)
    lines = by_label(ax)
    for name, rows in points.items():
        np.testing.assert_allclose(lines[name if name.endswith("weights") else f"_{name}"].get_xydata(), rows)
    assert lines["principal components"].get_xydata().shape == (4, 2)
    assert ax.lines[0].get_drawstyle() == "steps-post"


def test_the_disagreement_is_the_band_between_members_and_bag(ax):
    ensembles.ambiguity(ax, ROWS + 1, ROWS)
    assert band_edges(ax.collections[0]) == {j + 1: (row[0], row[0] + 1) for j, row in enumerate(ROWS)}
    np.testing.assert_allclose(rows_of(ax.containers[0]), ROWS)


def test_gain_against_overlap_names_kinds_and_writes_the_slope(ax):
    overlap = {"topk 8": np.array([0.1, 0.2]), "relu": np.array([0.5])}
    slope = {"estimate": -0.5, "low": -0.75, "high": 0.25}
    ensembles.gain_against_overlap(ax, overlap, {"topk 8": np.array([0.3, 0.2]), "relu": np.array([0.1])}, slope)
    np.testing.assert_allclose(np.concatenate([line.get_xydata() for line in ax.lines]), [[0.1, 0.3], [0.2, 0.2], [0.5, 0.1]])
    assert list(places(ax)) == ["TopK, k 8", "ReLU"]
    assert ax.get_title(loc="left") == "slope over kinds -0.50 (-0.75 to 0.25)"


def test_stacked_kinds_add_up_to_one_and_chance_stands_beside_them(ax):
    shares = np.array([[0.2, 0.8, 0.0, 0.0], [0.05, 0.45, 0.0, 0.5]])
    ensembles.kinds_by_stage(ax, shares, ["dead", "noise", "repeated", "orphan"], [0.013, 0])
    np.testing.assert_allclose([[bar.get_width() for bar in kind] for kind in ax.containers], shares.T)
    assert [bar.get_x() + bar.get_width() for bar in ax.containers[-1]] == pytest.approx([1, 1])
    assert words(ax.texts)[:4] == ["20 %", "", "80 %", "45 %"] and words(ax.texts)[-3:-1] == ["1.3 %", "0.0 %"]
    assert ax.get_legend_handles_labels()[1] == ["dead", "noise", "orphan"]
    assert tick_words(ax.yaxis) == ["member 1", "member 2"]
