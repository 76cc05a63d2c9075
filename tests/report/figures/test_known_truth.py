"""What the figures of known truth draw is what they are given."""

import matplotlib.pyplot as plt
import numpy as np
from helpers.drawn import assert_rows, rows_of, tick_words, words

from sae_utils.report.figures import known_truth as plots
from sae_utils.run.parameters.known_truth import KnownTruthParameters


def test_calibration_has_a_line_for_each_kind_and_the_null(ax):
    curves = {"independent": np.array([0.1, 0.5, 1.0]), "hierarchy": np.array([0.3, 0.2, 0.0])}
    null = np.full(3, 0.4)
    plots.calibration(ax, curves, null)
    expected = [np.stack([[1, 2, 3], shares], axis=1) for shares in (null, *curves.values())]
    np.testing.assert_array_equal([line.get_xydata() for line in ax.lines], expected)


def test_labels_of_curves_that_end_together_stand_apart(ax):
    curves = {"independent": [0.5, 1.0], "null": [0.99, np.nan], "pairs": [0.0, 0.0], "zipf": [np.nan, np.nan]}
    plots.label_ends(ax, {kind: np.array(shares) for kind, shares in curves.items()})
    heights = sorted(text.xy[1] for text in ax.texts)
    assert len(heights) == 3 and heights[-1] == 1
    assert np.diff(heights).min() >= plots.APART - 1e-9


def test_the_footer_is_of_the_worlds_and_not_of_the_language_model():
    p = KnownTruthParameters(n_atoms=192, n_dimensions=64, atom_l0=4.0, n_world_tokens=100_000, n_world_seeds=4)
    said = "made worlds: 192 atoms in 64 dimensions · L0 4 · 100,000 tokens · 4 seeds · k 4"
    assert plots.footer(p, "k 4") == said


def test_bars_are_the_shares_one_on_the_other(ax):
    of_kind = {"atom": [0.5, 0.7], "composite": [0.2, 0.1], "tile": [0, 0], "other": [0.3, 0.2], "recall": [0.4, 0.9]}
    plots.what_latents_are(ax, {"pairs": {name: np.array(values) for name, values in of_kind.items()}}, ["1", "2"])
    heights = [[bar.get_height() for bar in bars] for bars in ax.containers]
    np.testing.assert_allclose(heights, [of_kind[name] for name in plots.PARTS])
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), of_kind["recall"])


def test_shares_against_k_have_their_intervals(ax):
    rows = np.array([[0.2, 0.1, 0.4], [0.6, 0.5, 0.9]])
    plots.against_k(ax, np.array([0.5, 3.0]), {"pairs": rows}, "share")
    assert_rows(ax.containers, [rows])


def test_conditions_have_a_row_each(ax):
    rows = {"independent": np.array([[0.2, 0.1, 0.4], [0.6, 0.5, 0.9]]), "hierarchy": np.array([[0.3, 0.2, 0.4]] * 2)}
    plots.conditions(ax, rows, ["topk", "other"], "share")
    assert_rows(ax.containers, rows.values(), across=True)
    assert tick_words(ax.yaxis) == ["TopK", "other"]


def test_points_of_ensembles_are_recall_and_precision(ax):
    points = np.array([[0.2, 0.9], [0.3, 0.8]])
    plots.recall_and_precision(ax, {"bag": ("k", points)}, "hierarchy")
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), points)


def test_the_language_model_s_value_is_a_line_and_a_band(ax):
    plots.against_observable(ax, {"pairs": np.array([[0.1, 0.5]])}, (0.2, 0.15, 0.25), "x")
    assert list(ax.lines[-1].get_xdata()) == [0.2, 0.2]
    band = ax.patches[0]
    assert (band.get_x(), band.get_x() + band.get_width()) == (0.15, 0.25)


def test_what_is_missing_and_named_has_intervals_unless_they_say_nothing(style):
    left, right = plt.figure().subplots(1, 2)
    missing, named = np.array([[0.6, 0.5, 0.7]]), np.array([[0.4, -0.1, 1.0]])
    plots.missing_and_named(left, missing, named, ["hierarchy, relu"])
    plots.change_of_error(right, missing, named, ["hierarchy, relu"])
    np.testing.assert_allclose(rows_of(left.containers[0], across=True), missing)
    assert words(left.texts) == ["interval 0 to 1"] and not len(left.containers[1].lines[0].get_xdata())
    assert_rows(right.containers, [missing, named], across=True)
