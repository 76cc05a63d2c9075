"""What the figures of overlap between seeds draw is what they are given."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from helpers.drawn import assert_rows, band_edges, by_label, marked, words

from sae_utils.analysis import directions
from sae_utils.analysis.matching import criteria
from sae_utils.report.claims.entries import load_claims
from sae_utils.report.figures import overlap


def test_scatter_shows_each_matched_latent_once_and_the_histograms_count_them(style):
    rng = np.random.default_rng(0)
    decoder, encoder, agree = rng.uniform(-0.15, 1, 200), rng.uniform(0, 1, 200), rng.random(200) < 0.7
    decoder[3], agree[3] = np.nan, False
    fig = plt.figure()
    overlap.matched_cosines(fig, decoder, encoder, agree, threshold=0.7)
    top, main, right = fig.axes
    same, different = (points.get_offsets().data for points in main.collections)
    np.testing.assert_array_equal(same, np.stack([decoder[agree], encoder[agree]], axis=1))
    assert len(different) == (~agree).sum() - 1
    tops = np.array([bar.get_y() + bar.get_height() for bar in top.patches]).reshape(2, -1).max(axis=0)
    assert tops.sum() == 199 == sum(bar.get_width() for bar in right.patches)
    has = ~np.isnan(decoder)
    share = {(i, j): (((decoder > 0.7) == i) & ((encoder > 0.7) == j))[has].mean() for i in (0, 1) for j in (0, 1)}
    assert words(main.texts) == [f"{overlap.CORNERS[key]}: {share[key]:.0%}" for key in share]


def test_threshold_curves_draw_mean_range_and_the_larger_null_of_each_source(ax):
    t = np.linspace(0, 1, 11)
    curves = {c: np.stack([1 - t, 0.8 - 0.8 * t]) for c in overlap.CURVES}
    null = {kind: np.exp(-(9 + i) * t) for i, kind in enumerate(directions.KINDS)}
    overlap.threshold_curves(ax, t, curves, null, 0.7)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), 0.9 - 0.9 * t)
    for line, larger in zip(ax.lines[3:6], ("uniform_tied", "activations_tied", "decoders_tied"), strict=True):
        np.testing.assert_allclose(line.get_ydata(), null[larger])
    assert band_edges(ax.collections[0]) == {x: (0.8 - 0.8 * x, 1 - x) for x in t}


@pytest.mark.parametrize("some_dead", [True, False])
def test_criteria_draw_each_estimate_with_its_interval_its_nulls_and_the_published_number(some_dead, ax):
    names = ["shared_strict", "decoder_cosine", "cycle_agreeing"]
    rows = np.array([[0.3, 0.25, 0.35], [0.6, 0.5, 0.65], [0.9, 0.8, 1.0]])
    null = {kind: np.array([0.0, 0.1 * i, np.nan]) for i, kind in enumerate(directions.KINDS)}
    overlap.criteria_side_by_side(ax, names, rows, rows - 0.1 * some_dead, np.array([0.2, 0.6, np.nan]), null)
    assert_rows(ax.containers, rows, across=True)
    assert [x for ((x, _),) in marked(ax, "D")] == [0.414, 0.8, 0.782]
    first, second = marked(ax, "x")  # none where raw is the same
    assert first == [[0.2, 1.9]] and np.isnan(second[0][0])
    assert [[x for x, _ in bar] for bar in marked(ax, "s")] == [[0.0, 0.0], [0.0, 0.5]]  # none where no null has a value
    dead = [line.get_xdata()[0] for line in ax.lines if line.get_marker() == "|" and line.get_markersize() == 11]
    np.testing.assert_allclose(dead, [0.2, 0.5, 0.8][: 3 * some_dead])


def test_every_criterion_can_be_shown_and_the_claims_have_the_numbers_that_are_published():
    assert list(overlap.CRITERIA) == list(criteria.CRITERIA)
    claims = load_claims()
    for name, claim in (("shared_notebook", "A-1"), ("agree", "A-2"), ("shared_max_decoder", "B-0")):
        shown = overlap.CRITERIA[name]
        assert shown.published == claims[claim].number and f"[{claims[claim].known}]" in shown.source


def test_membership_draws_every_share_with_its_interval_and_null(ax):
    shares = np.array([[0.5, 0.4, 0.6], [0.2, 0.15, 0.3], [0.3, 0.2, 0.4]])
    overlap.membership(ax, shares, np.array([0.9, 0.1, 0.0]))
    np.testing.assert_allclose([bar.get_height() for bar in ax.patches], shares[:, 0])
    ends = [segment[:, 1] for segment in ax.containers[1].lines[2][0].get_segments()]
    np.testing.assert_allclose(ends, shares[:, 1:])
    assert [segment[0, 1] for segment in ax.collections[-1].get_segments()] == [0.9, 0.1, 0.0]


def test_only_in_one_draws_points_and_laws(ax):
    shares = np.array([[0.6, 0.5, 0.7], [0.5, 0.4, 0.6], [0.45, 0.4, 0.5]])
    x = np.linspace(2, 8, 7)
    laws = np.array([x, 0.3 + x**-1, x**-0.7, 0.8 * x**-0.5])
    overlap.only_in_one(ax, shares, np.full(3, 0.8), laws, n_held_out=1)
    lines = by_label(ax)
    for name, law in zip(overlap.LAW_NAMES, laws[1:], strict=True):
        np.testing.assert_allclose(lines[name].get_ydata(), law)
    np.testing.assert_allclose(lines["random directions"].get_xydata(), [[2, 0.8], [3, 0.8], [4, 0.8]])
    independent = lines["if each found independently"].get_xydata()
    np.testing.assert_allclose(independent, [[2, 0.6], [3, 0.6**2], [4, 0.6**3]])
    assert_rows(ax.containers, [shares])
    assert ax.containers[0].lines[0].get_xdata().tolist() == [2, 3, 4]
    *names, before, after = ax.texts
    assert words(names) == ["power law without", "a chance for each latent", "power law with a floor"]
    heights = [text.xy[1] for text in names]  # at their ends, but apart
    assert heights[0] == laws[2, -1] and np.diff(heights).min() > 0.84 / 14 - 1e-9
    assert before.get_position()[0] < 3.5 < after.get_position()[0]


def test_only_in_one_without_laws_and_with_a_null_beyond_the_axis(ax):
    overlap.only_in_one(ax, np.array([[0.6, 0.5, 0.7]]), np.ones(1))
    assert len(ax.containers) == 1 and ax.get_xlim()[1] < 3 and ax.get_xticks().tolist() == [2]
    assert "random directions" not in by_label(ax) and "1.00" in ax.get_title()


def test_pairwise_draws_each_pair_over_the_seed_whose_latents_are_counted(ax):
    shares = np.array([[np.nan, 0.25, 0.35], [0.75, np.nan, 0.65], [0.5, 0.5, np.nan]])
    overlap.pairwise(ax, shares, np.array([0.5, 0.4, 0.6]), "shared")
    points = [[[-0.25, 0.25], [0.25, 0.35]], [[0.75, 0.75], [1.25, 0.65]], [[1.75, 0.5], [2.25, 0.5]]]
    np.testing.assert_allclose(marked(ax, "o"), points)
    means = [segment[0, 1] for segment in ax.collections[0].get_segments()]
    np.testing.assert_allclose(means, [0.3, 0.7, 0.5])
    band = ax.patches[0].get_bbox()
    assert (band.y0, band.y1) == (0.4, 0.6) and "0.500 (0.400 to 0.600)" in ax.patches[0].get_label()
