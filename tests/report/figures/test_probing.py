import numpy as np
import pytest

from sae_utils.report.figures import probing as probing_plots
from sae_utils.report.figures import spurious as debiasing_plots
from sae_utils.report.figures.probing import METHODS


def rows(*middles, half=0.02):
    return np.array([[m, m - half, m + half] for m in middles])


def drawn(ax, label):
    """The points and the ends of the intervals of one entry of the legend."""
    handle = next(c for c in ax.containers if c.get_label() == label)
    points, _, (bars,) = handle.lines
    return points.get_xydata(), np.array(bars.get_segments())


def texts(ax):
    return [text.get_text() for text in ax.get_legend().texts]


def test_every_method_has_its_own_colour_marker_and_label():
    for looks in zip(*METHODS.values(), strict=True):
        assert len(set(looks)) == len(METHODS)


def test_accuracy_by_k_draws_estimates_intervals_floors_and_ceiling(ax):
    intervals = {"single": rows(0.6, 0.7), "bagging": rows(0.65, 0.72)}
    floors = {"random_latents": np.array([0.52, 0.55]), "untrained": np.array([0.57, 0.6])}
    probing_plots.accuracy_by_k(ax, [1, 5], intervals, floors, 0.9, 0.5)
    points, ends = drawn(ax, "naive bagging")
    assert points[:, 1] == pytest.approx([0.65, 0.72])
    assert ends[:, :, 1] == pytest.approx(np.array([[0.63, 0.67], [0.70, 0.74]]))
    levels = {line.get_label(): set(line.get_ydata()) for line in ax.lines}
    levels |= {c.get_label(): {float(s[0, 1]) for s in c.get_segments()} for c in ax.collections}
    assert levels["all raw activations"] == {0.9} and levels["majority class"] == {0.5}
    assert levels["random latents of a trained SAE"] == {0.52, 0.55}
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["1 latent", "5 latents"]
    assert ax.get_ylabel().startswith("test accuracy")
    assert sum("latents" in text for text in texts(ax)) == 2 and "single SAE" in texts(ax)


def test_accuracy_by_task_orders_tasks_by_their_ceiling(ax):
    intervals = {"single": rows(0.6, 0.7, 0.8), "boosting": rows(0.61, 0.71, 0.81)}
    probing_plots.accuracy_by_task(ax, ["a", "b", "c"], intervals, np.full(3, 0.5), np.array([0.9, 0.95, 0.85]))
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["c", "a", "b"]
    points, _ = drawn(ax, "boosting")
    assert points[:, 0] == pytest.approx([0.81, 0.61, 0.71])
    assert [round(bar.get_x() + bar.get_width(), 6) for bar in ax.patches] == [0.85, 0.9, 0.95]


def test_differences_have_a_line_per_entry_and_a_colour_per_k(ax):
    probing_plots.differences(ax, {"bagging": rows(0.02, 0.03), "boosting": rows(-0.01, 0.04)}, [1, 2])
    points, ends = drawn(ax, "1 latent")
    assert points[:, 0] == pytest.approx([0.02, -0.01]) and ends[1, :, 0] == pytest.approx([-0.03, 0.01])
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["bagging", "boosting"]
    assert ax.get_xlabel().startswith("accuracy less")


def test_before_and_after_draws_balanced_and_worst_group(ax):
    values = {"before": ("#000000", "o", np.array([[0.7, 0.2], [0.8, 0.5]]))}
    debiasing_plots.before_and_after(ax, ["a", "b"], values)
    filled, hollow = ax.lines[:2]
    assert filled.get_xdata().tolist() == [0.7, 0.8] and hollow.get_xdata().tolist() == [0.2, 0.5]
    assert hollow.get_markerfacecolor() == "white" and texts(ax) == ["before"]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["a", "b"]


def test_score_curves_draw_methods_null_and_reference(ax):
    curves = {"single": rows(0.1, 0.2, 0.3), "expanded": rows(0.2, 0.3, 0.4)}
    debiasing_plots.score_curves(ax, [2, 5, 10], curves, rows(0.0, 0.01, 0.02), 0.6)
    points, ends = drawn(ax, "expanded SAE")
    assert points[:, 1] == pytest.approx([0.2, 0.3, 0.4]) and np.diff(points[:, 0]).min() > 0
    assert ends[0, :, 1] == pytest.approx([0.18, 0.22])
    assert any(set(line.get_ydata()) == {0.6} for line in ax.lines)
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((-0.02, 0.04))
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["2", "5", "10"]
    assert texts(ax)[:2] == ["random latents", "LEACE, no dictionary"]
