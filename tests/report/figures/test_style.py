import matplotlib.pyplot as plt
import numpy as np
import pytest

from sae_utils.analysis import directions as nulls
from sae_utils.analysis.matching import criteria
from sae_utils.report.claims.entries import load_claims
from sae_utils.report.figures import overlap as seed_plots
from sae_utils.report.figures import style as plots

pytestmark = pytest.mark.usefixtures("style")


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


def test_threshold_curves_draw_mean_range_and_the_larger_null_of_each_source():
    t = np.linspace(0, 1, 11)
    curves = {c: np.stack([1 - t, 0.8 - 0.8 * t]) for c in seed_plots.CURVES}
    null = {kind: np.exp(-(9 + i) * t) for i, kind in enumerate(nulls.KINDS)}
    ax = seed_plots.threshold_curves(plt.figure().add_subplot(), t, curves, null, 0.7)
    assert len(ax.collections) == 3 and len(ax.lines) == 7  # three criteria, three nulls, the threshold
    np.testing.assert_allclose(ax.lines[0].get_ydata(), 0.9 - 0.9 * t)
    for line, larger in zip(ax.lines[3:6], ("uniform_tied", "activations_tied", "decoders_tied"), strict=True):
        np.testing.assert_allclose(line.get_ydata(), null[larger])
        assert line.get_color() == plots.GREY
    assert len({line.get_linestyle() for line in ax.lines[3:6]}) == 3
    assert [line.get_color() for line in ax.lines[:2]] == [plots.BLUE, plots.ORANGE]
    band = ax.collections[0].get_paths()[0].vertices
    assert {tuple(np.round(v, 6)) for v in np.stack([t, 0.8 - 0.8 * t], axis=1)} <= {
        tuple(np.round(v, 6)) for v in band
    }
    assert ax.get_xlim() == (0, 1) and ax.get_ylim()[1] >= 1
    names = [text.get_text() for text in ax.get_legend().texts]
    assert names[:3] == ["strict", "authors' notebook", "max cosine"] and all("random" in n for n in names[3:])


@pytest.mark.parametrize("some_dead", [True, False])
def test_criteria_draw_each_estimate_with_its_interval_its_nulls_and_the_published_number(some_dead):
    names = ["shared_strict", "decoder_cosine", "cycle_agreeing"]
    rows = np.array([[0.3, 0.25, 0.35], [0.6, 0.5, 0.65], [0.9, 0.8, 1.0]])
    null = {kind: np.array([0.0, 0.1 * i, np.nan]) for i, kind in enumerate(nulls.KINDS)}
    fig = plt.figure()
    ax = seed_plots.criteria_side_by_side(fig.add_subplot(), names, rows, rows - 0.1 * some_dead, null)
    assert len(ax.containers) == 3 * (1 + some_dead)
    for i, name in enumerate(names):
        line, _, (bars,) = ax.containers[(1 + some_dead) * i + some_dead]
        assert line.get_xdata() == [rows[i, 0]] and line.get_color() == seed_plots.CRITERIA[name].colour
        np.testing.assert_allclose(bars.get_segments()[0][:, 0], rows[i, 1:])
        assert line.get_ydata()[0] == pytest.approx(2 - i + 0.1)
    marks = {tuple(line.get_xdata()) for line in ax.lines if line.get_marker() == "D"}
    assert marks == {(0.414,), (0.8,), (0.782,)}
    drawn = [line for line in ax.lines if len(line.get_xdata()) == 3]
    np.testing.assert_allclose([line.get_xdata() for line in drawn], list(null.values()))
    assert [line.get_markerfacecolor() == "none" for line in drawn] == [kind.endswith("independent") for kind in null]
    assert [label.get_text() for label in ax.get_yticklabels()] == [seed_plots.CRITERIA[n].label for n in names]
    assert len(fig.legends[0].texts) == 7 + some_dead


def test_every_criterion_can_be_shown_and_the_claims_have_the_numbers_that_are_published():
    assert list(seed_plots.CRITERIA) == list(criteria.CRITERIA)
    claims = load_claims()
    for name, claim in (("shared_notebook", "A-1"), ("agree", "A-2"), ("shared_max_decoder", "B-0")):
        shown = seed_plots.CRITERIA[name]
        assert shown.published == claims[claim].number and f"[{claims[claim].known}]" in shown.source


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
