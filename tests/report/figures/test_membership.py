import numpy as np
from matplotlib.colors import to_rgb

from sae_utils.report.figures import membership as membership_plots


def test_histogram_draws_every_share_with_its_interval_and_null(ax):
    shares = np.array([[0.5, 0.4, 0.6], [0.2, 0.15, 0.3], [0.3, 0.2, 0.4]])
    membership_plots.histogram(ax, shares, np.array([0.9, 0.1, 0.0]))
    np.testing.assert_allclose([bar.get_height() for bar in ax.patches], shares[:, 0])
    bars = ax.containers[1].lines[2][0].get_segments()
    np.testing.assert_allclose([segment[:, 1] for segment in bars], shares[:, 1:])
    null = ax.collections[-1].get_segments()
    np.testing.assert_allclose([segment[0, 1] for segment in null], [0.9, 0.1, 0.0])
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["1", "2", "3"]
    assert ax.get_ylim()[1] > 0.9 and len(ax.get_legend().texts) == 2


def test_only_in_one_draws_points_both_laws_and_the_floor(ax):
    shares = np.array([[0.6, 0.5, 0.7], [0.5, 0.4, 0.6], [0.45, 0.4, 0.5]])
    x = np.linspace(2, 8, 7)
    laws = np.array([x, 0.3 + x**-1, 0.8 * x**-0.5])
    membership_plots.only_in_one(ax, shares, np.ones(3), laws, np.array([0.3, 0.1, 0.35]))
    lines = {line.get_label(): line for line in ax.lines}
    np.testing.assert_allclose(lines["power law with a floor"].get_ydata(), laws[1])
    np.testing.assert_allclose(lines["power law without"].get_ydata(), laws[2])
    assert lines["floor, 95 % interval"].get_ydata() == [0.3, 0.3]
    np.testing.assert_allclose(lines["random directions"].get_xydata(), [[2, 1], [3, 1], [4, 1]])
    independent = lines["if each found independently"].get_xydata()
    np.testing.assert_allclose(independent, [[2, 0.6], [3, 0.6**2], [4, 0.6**3]])
    points, _, (bars,) = ax.containers[0]
    np.testing.assert_allclose(points.get_xydata(), np.stack([[2, 3, 4], shares[:, 0]], axis=1))
    np.testing.assert_allclose([segment[:, 1] for segment in bars.get_segments()], shares[:, 1:])
    band = ax.patches[0].get_window_extent().transformed(ax.transData.inverted())
    np.testing.assert_allclose([band.y0, band.y1], [0.1, 0.35])
    assert ax.get_xlim()[1] == 8


def test_pairwise_writes_every_share_but_the_diagonal(ax):
    shares = np.array([[np.nan, 0.25], [0.75, np.nan]])
    membership_plots.pairwise(ax, shares, "shared")
    shown = {tuple(text.get_position()): text for text in ax.texts if text.get_text()}
    assert {at: text.get_text() for at, text in shown.items()} == {(1.5, 0.5): "0.25", (0.5, 1.5): "0.75"}
    brightness = {text.get_text(): np.mean(to_rgb(text.get_color())) for text in shown.values()}
    assert brightness["0.25"] > 0.8 > 0.3 > brightness["0.75"]
    np.testing.assert_array_equal(ax.collections[0].get_array().filled(np.nan), shares)
    assert ax.figure.axes[1].get_ylabel() == "shared"


def test_only_in_one_without_laws(ax):
    membership_plots.only_in_one(ax, np.array([[0.6, 0.5, 0.7]]), np.ones(1))
    assert len(ax.get_legend().texts) == 3 and not ax.patches
    assert ax.get_xlim()[1] < 3 and ax.get_xticks().tolist() == [2]
