"""Notebook 00's figures show the numbers they are given."""

import numpy as np
from helpers.drawn import band_edges, tick_words, words

from sae_utils.report.figures import language_model as plots


def test_bits_per_byte_has_a_bar_for_each(ax):
    plots.bits_per_byte(ax, {"xz": 1.5, "model": 0.75, "unigram": 3.0, "trigram": 2.0})
    assert [bar.get_width() for bar in ax.patches] == [0.75, 1.5, 2.0, 3.0]
    assert tick_words(ax.yaxis) == ["language model", "xz -9e", "trigram", "unigram"]


def test_loss_by_position_and_its_running_mean(ax):
    plots.loss_by_position(ax, np.arange(10.0), window=4)
    points, smooth = (line.get_xydata() for line in ax.lines)
    assert points.tolist() == [[i + 1, i] for i in range(10)]
    np.testing.assert_allclose(smooth[:, 1], smooth[:, 0] - 1)


def test_norms_are_a_curve_of_the_mlp_and_one_of_the_residual_stream_between_layers(ax):
    norms = np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 8.0]])
    sites = {"mlp_out": norms, "resid_pre": np.array([[0.1, 0.2, 0.3], [2, 4, 6]]), "resid_post": 2 * norms}
    plots.activation_norms(ax, sites, np.array([0.1, 0.5, 0.9]))
    stream, mlp = (line.get_xydata().tolist() for line in ax.lines)
    assert stream == [[-0.5, 0.2], [0.5, 4], [1.5, 8]] and mlp == [[0, 2], [1, 4]]
    assert band_edges(ax.collections[0]) == {-0.5: (0.1, 0.3), 0.5: (2, 6), 1.5: (4, 16)}


def test_ablation_shows_the_rise(ax):
    plots.ablation(ax, 2.0, np.array([2.5, 3.0]))
    assert [bar.get_height() for bar in ax.patches] == [0.5, 1.0] and words(ax.texts) == ["0.50", "1.00"]


def test_of_many_layers_some_are_named_and_the_largest_rises_labelled(ax):
    plots.ablation(ax, 2.0, np.array([6.0, *[2.1] * 27, 2.9, 3.0]))
    assert list(filter(None, words(ax.texts))) == ["4.00", "1.00"]
    assert ax.get_xticks().tolist() == [0, 5, 10, 15, 20, 25]


def test_training_curve_says_where_there_is_no_log(ax):
    plots.training_curve(ax, {key: np.array([]) for key in ("tokens", "train", "held_out")})
    assert "without a training log" in ax.texts[0].get_text()
    plots.training_curve(ax, {"tokens": np.array([1e6, 2e6]), "train": np.array([3, 2]), "held_out": np.array([4, 3])})
    assert ax.lines[1].get_xydata().tolist() == [[1, 4], [2, 3]]
