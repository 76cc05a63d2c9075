import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest

from sae_utils.report import plots, seed_plots


@pytest.fixture(autouse=True)
def style():
    with plt.rc_context():
        plots.use_style()
        yield
        plt.close("all")


def test_scatter_shows_each_matched_latent_once_and_the_histograms_count_them():
    rng = np.random.default_rng(0)
    decoder, encoder, agree = rng.uniform(-0.15, 1, 200), rng.uniform(0, 1, 200), rng.random(200) < 0.7
    decoder[3], agree[3] = np.nan, False
    has = np.arange(200) != 3
    axes = seed_plots.joint_axes(plt.figure())
    main = seed_plots.matched_cosines(axes, decoder, encoder, agree, threshold=0.7)
    same, different = (points.get_offsets().data for points in main.collections)
    np.testing.assert_array_equal(same, np.stack([decoder[agree], encoder[agree]], axis=1))
    assert len(different) == (~agree & has).sum()
    tops = np.array([bar.get_y() + bar.get_height() for bar in axes[1].patches]).reshape(2, -1).max(axis=0)
    assert tops.sum() == 199
    assert sum(bar.get_width() for bar in axes[2].patches) == 199
    assert main.get_xlim() == (-0.2, 1.02) and [line.get_xdata()[0] for line in main.lines[:1]] == [0.7]
    assert main.get_legend().texts[0].get_text() == f"same partner ({agree[has].mean():.0%})"
    assert main.get_xlabel().startswith("decoder") and main.get_ylabel().startswith("encoder")


def test_threshold_curves_draw_mean_range_and_both_nulls():
    t = np.linspace(0, 1, 11)
    curves = {c: np.stack([1 - t, 0.8 - 0.8 * t]) for c in ("strict", "notebook", "max_cosine")}
    null = {c: np.stack([np.exp(-9 * t), np.exp(-8 * t)]) for c in curves}
    ax = seed_plots.threshold_curves(plt.figure().add_subplot(), t, curves, {"independent": null, "tied": null}, 0.7)
    assert len(ax.collections) == 9 and len(ax.lines) == 10  # three criteria, each with two nulls; the threshold
    np.testing.assert_allclose(ax.lines[0].get_ydata(), 0.9 - 0.9 * t)
    np.testing.assert_allclose(ax.lines[1].get_ydata(), (np.exp(-9 * t) + np.exp(-8 * t)) / 2)
    assert [line.get_color() for line in ax.lines[:4]] == [plots.BLUE] * 3 + [plots.ORANGE]
    band = ax.collections[0].get_paths()[0].vertices
    assert {tuple(np.round(v, 6)) for v in np.stack([t, 0.8 - 0.8 * t], axis=1)} <= {
        tuple(np.round(v, 6)) for v in band
    }
    assert ax.get_xlim() == (0, 1) and ax.get_ylim()[1] >= 1
    names = [text.get_text() for text in ax.get_legend().texts]
    assert names[:3] == ["strict", "authors' notebook", "max cosine"] and all("random" in n for n in names[3:])


def test_shared_fractions_draw_each_estimate_with_its_interval():
    rows = np.array([[0.3, 0.25, 0.35], [0.4, 0.38, 0.45]])
    groups = {"dead latents excluded": rows, "dead latents included": rows - 0.1}
    ax = seed_plots.shared_fractions(
        plt.figure().add_subplot(), ["strict", "max_cosine"], groups, np.array([0.0, 0.01])
    )
    assert len(ax.containers) == 2
    line, _, (bars,) = ax.containers[0]
    np.testing.assert_allclose(line.get_ydata(), [0.3, 0.4])
    np.testing.assert_allclose([segment[:, 1] for segment in bars.get_segments()], [[0.25, 0.35], [0.38, 0.45]])
    assert [label.get_text() for label in ax.get_xticklabels()] == ["strict", "max\ncosine"]
    assert ax.get_ylim()[0] < 0 and ax.get_ylim()[1] > 0.45
    assert len(ax.get_legend().texts) == 3


def test_save_figure_is_repeatable_and_leaves_no_part(tmp_path, monkeypatch):
    fig = plt.figure()
    fig.add_subplot().plot([0, 1])
    first = plots.save_figure(fig, "A9_line", "tiny", tmp_path).read_bytes()
    path = plots.save_figure(fig, "A9_line", "tiny", tmp_path)
    assert path == tmp_path / "tiny" / "figures" / "A9_line.png"
    assert path.read_bytes() == first and b"Software" not in first
    assert [p.name for p in path.parent.iterdir()] == ["A9_line.png"]
    monkeypatch.setattr(plots, "FIGURES", tmp_path / "figures")
    assert plots.save_figure(fig, "A9_line", "laptop").parent == tmp_path / "figures"
    assert plots.save_figure(fig, "A9_line", "laptop", tmp_path).parent == tmp_path / "laptop" / "figures"


def test_style_is_plain():
    ax = plt.figure().add_subplot()
    assert not ax.spines["top"].get_visible() and not ax.spines["right"].get_visible()
    assert plt.rcParams["savefig.dpi"] == 150 and plt.rcParams["figure.constrained_layout.use"]
    assert ax.plot([0, 1])[0].get_color() == plots.BLUE
