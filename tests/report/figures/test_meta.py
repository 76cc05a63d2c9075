"""What the figures of meta-SAEs draw is what they are given."""

import matplotlib.pyplot as plt
import numpy as np

from sae_utils.report.figures import meta as meta_plots
from sae_utils.report.figures.style import GREY


def ends(estimate, half=0.1):
    return {"estimate": estimate, "low": estimate - half, "high": estimate + half}


def drawn(ax):
    """Centres of all error bars, with their ends along the axis that has them, rounded."""
    found = []
    for container in ax.containers:
        centre, _, bars = container
        segments = bars[0].get_segments()
        for x, y, segment in zip(*centre.get_data(), segments, strict=True):
            found.append((round(float(x), 3), round(float(y), 3), np.round(segment, 3).tolist()))
    return found


def test_dots_have_their_intervals(ax):
    meta_plots.dots(ax, [("a", ends(0.5), GREY), ("b", ends(-0.2, 0.3), GREY)], "label")
    assert drawn(ax) == [(0.5, 0, [[0.4, 0], [0.6, 0]]), (-0.2, 1, [[-0.5, 1], [0.1, 1]])]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b"] and ax.get_xlabel() == "label"
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first on top


def test_explained_variance_by_size(ax):
    records = [
        {"kind": kind, "n_meta": n, "k": 4, "explained_variance": ends(value)}
        for kind, n, value in (("decoder", 64, 0.5), ("covariance", 32, 0.3), ("decoder", 32, 0.4))
    ]
    meta_plots.explained_by(ax, records, "n_meta", "meta-latents")
    y = sorted(point[1] for point in drawn(ax))
    assert y == [0.3, 0.4, 0.5]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["32", "64"]
    labels = ax.get_legend_handles_labels()[1]
    assert "Leask et al. [R2]" in labels and "null: same covariance" in labels and "sums of known parts" not in labels


def test_closeness_is_the_share_above(ax):
    meta_plots.closeness(ax, {"small": np.array([0.9, 0.5, 0.8, 0.6]), "random": np.full(4, 0.2)}, ["random"], 0.7)
    lines = {line.get_label(): line for line in ax.lines}
    x, y = lines["small"].get_data()
    above = y[np.searchsorted(x, 0.7)]  # drawn with steps before each point
    assert above == 0.5 and y[0] == 1 and y[-1] == 0
    assert lines["random"].get_color() == GREY and lines["small"].get_color() != GREY


def test_by_width_leaves_out_what_could_not_be_measured(ax):
    series = {"siblings": ([ends(0.3), {"estimate": None, "low": None, "high": None}, ends(0.6)], GREY, "-")}
    meta_plots.by_width(ax, [64, 128, 1024], series, "label")
    assert [(x, y) for x, y, _ in drawn(ax)] == [(0, 0.3), (2, 0.6)]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["64", "128", "1,024"]


def test_edits_show_each_in_its_panel():
    fig, axes = plt.subplots(1, 3)
    names = {"remove": "d - w m", "remove other": "d - w o"}
    values = {
        f"{what} {edit}": ends(i + j) for i, what in enumerate(("kl", "own", "other")) for j, edit in enumerate(names)
    }
    meta_plots.edits(axes, values, names)
    assert [[point[0] for point in drawn(ax)] for ax in axes] == [[0, 1], [1, 2], [2, 3]]
    assert all("nats" in ax.get_xlabel() for ax in axes)
    plt.close(fig)


def test_groups_end_with_a_null(ax):
    values = {"meta": [ends(0.2), ends(0.3)], "latents": [ends(0.4), ends(0.5)], "null": [ends(0.1)]}
    meta_plots.groups(ax, values, ["strict", "mean cosine"], "share")
    assert [point[0] for point in drawn(ax)] == [0.2, 0.3, 0.4, 0.5, 0.1]
    assert ax.containers[-1][0].get_color() == GREY
    assert [t.get_text() for t in ax.get_yticklabels()] == ["strict", "mean cosine"]
