"""Notebook 08's figures show the numbers they are given."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from helpers.drawn import rows_of, tick_words

from sae_utils.analysis.latents.properties import LatentProperties
from sae_utils.report.figures import latents as figures


def test_every_property_has_a_label():
    assert set(figures.LABELS) == {*LatentProperties.__dataclass_fields__, "interpretability"}


def test_groups_are_those_of_the_arrays():
    arrays = {"shared": np.array([[True, False], [False, False]]), "orphan": np.array([[False, False], [True, True]])}
    found = figures.in_groups(arrays, np.array([[1.0, 2.0], [3.0, 4.0]]))
    assert {group: values.tolist() for group, values in found.items()} == {figures.SHARED: [1], figures.ORPHAN: [3, 4]}


def test_distributions_hold_every_latent_once_in_either_group(style):
    rng = np.random.default_rng(0)
    values = {
        name: {figures.SHARED: np.append(10 ** rng.normal(-3, 1, 60), np.nan), figures.ORPHAN: rng.random(40)}
        for name in figures.LABELS
    }
    values["loss_contribution"][figures.SHARED][:5] = -1e-3  # drawn at the left end of a logarithmic axis
    fig = plt.figure(figsize=(9, 4))
    figures.distributions(fig, values, {name: np.array([0.6, 0.55, 0.65]) for name in values})
    axes = fig.axes[: len(values)]
    assert [ax.get_xscale() == "log" for ax in axes] == [log for _, log in figures.LABELS.values()]
    for ax in axes:
        assert ax.get_title() == "shared larger in 60 % (55 to 65)"
        for patch, count in zip(ax.patches, (60, 40), strict=True):
            steps = patch.get_xy()[1 : 1 + 2 * 24 : 2, 1] * count
            assert steps.sum() == pytest.approx(count) and np.allclose(steps, np.round(steps))
    low, high = axes[2].get_xlim()
    everything = np.concatenate(list(values["encoder_decoder_cosine"].values()))
    assert low <= np.nanmin(everything) and high >= np.nanmax(everything)


def test_coefficients_are_sorted_with_intervals_and_null(ax):
    names = ["pc_alignment", "token_entropy", "interpretability"]
    rows = np.array([[0.2, 0.1, 0.4], [-1.0, -1.5, -0.5], [0.7, 0.6, 0.8]])
    null = np.tile(np.linspace(-0.1, 0.1, 201)[:, None], (1, 3)) * [1, 2, 3]
    figures.coefficients(ax, names, rows, null)
    assert tick_words(ax.yaxis) == ["entropy over tokens", "share in top principal components", "interpretability"]
    np.testing.assert_allclose(rows_of(ax.containers[1], across=True), rows[[1, 0, 2]])
    bars = [(bar.get_x(), bar.get_width()) for bar in ax.patches]
    np.testing.assert_allclose(bars, np.outer([2, 1, 3], [-0.095, 0.19]), atol=1e-6)


def test_scores_are_shares_at_or_above_beside_the_nulls_of_the_same_group(style):
    measured = {figures.SHARED: np.array([0.9, 0.5, np.nan, 0.7, 0.6]), figures.ORPHAN: np.array([0.8])}
    random = {figures.SHARED: np.array([0.5, np.nan, 0.6]), figures.ORPHAN: np.array([0.55])}
    fig = plt.figure()
    figures.scores(fig, measured, random, np.array([0.5]))
    shared, orphans = fig.axes
    x, y = shared.lines[0].get_data()
    assert x.tolist() == [0, 0.5, 0.6, 0.7, 0.9, 1] and y.tolist() == [1, 1, 0.75, 0.5, 0.25, 0]
    assert all((measured[figures.SHARED] >= v).sum() / 4 == share for v, share in zip(x, y, strict=True) if v)
    assert [line.get_xdata().tolist() for line in shared.lines[1:]] == [[0, 0.5, 0.6, 1], [0, 0.5, 1]]
    assert [line.get_xdata().tolist() for line in orphans.lines] == [[0, 0.8, 1], [0, 0.55, 1], [0, 0.5, 1]]
