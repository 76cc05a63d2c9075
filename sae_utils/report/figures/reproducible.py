"""Figures E1 to E3: which method of training is the most reproducible, and whether that makes it true."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from sae_utils.report.figures.names import name_ends, name_points
from sae_utils.report.figures.parts import draw_intervals, legend_above, rows_from_top, rows_of
from sae_utils.report.figures.style import BLACK, BLUE, GREEN, GREY, ORANGE, PINK, SKY, VERMILION, YELLOW

LOOKS = {  # colour, marker, name
    "topk": (BLACK, "o", "TopK"),
    "batch_topk": (BLACK, "s", "BatchTopK"),
    "relu": (GREY, "o", "ReLU"),
    "jump_relu": (GREY, "s", "JumpReLU"),
    "gated": (GREY, "^", "Gated"),
    "matryoshka": (ORANGE, "o", "Matryoshka"),
    "matryoshka_topk": (ORANGE, "^", "Matryoshka on TopK"),
    "ordered": (ORANGE, "s", "Ordered"),
    "ortsae": (GREEN, "o", "OrtSAE"),
    "aligned": (BLUE, "o", "Aligned"),
    "weight_decay": (SKY, "o", "Weight decay"),
    "free_norms": (SKY, "s", "TopK, free norms"),
    "archetypal": (VERMILION, "o", "Archetypal, shared start"),
    "archetypal_own": (VERMILION, "s", "Archetypal, own start"),
    "topk_longer": (BLACK, "^", "TopK, trained on"),
    "consensus": (PINK, "D", "Consensus of three"),
    "given": (YELLOW, "*", "Given SAEs, at their own L0"),
}
KINDS = {"independent": (BLUE, "o", "independent"), "hierarchy": (VERMILION, "s", "hierarchy")}

Row = Mapping[str, float | Mapping[str, float]]  # what a method has, by name; intervals by estimate, low, high


def from_most_to_least(table: Mapping[str, Row]) -> list[str]:
    """The methods by the smaller of their strict shares, at equal L0 and at equal explained variance.

    Those whose grid has no such explained variance come after the others, by that at equal L0; last those without.
    """

    def rank(name: str) -> tuple[bool, bool, float]:
        row = table[name]
        alone, equal = (np.nan if row[key] is None else row[key] for key in ("strict alone", "strict, equal EV"))
        smaller = np.fmin(alone, equal)
        return bool(np.isnan(smaller)), bool(np.isnan(equal)), -float(np.nan_to_num(smaller))

    return sorted(table, key=rank)


def at_a_glance(
    axes: Sequence[Axes], table: Mapping[str, Row], truth: Mapping[str, Mapping[str, Row]], order: Sequence[str]
) -> None:
    """A row for each method, the most reproducible on top; four axes: two measures of it, its price, its truth.

    Filled: at equal L0, with intervals. Hollow: where as much of the variance is explained as by TopK.
    """
    for ax in axes:
        y = rows_from_top(ax, [LOOKS[name][2] for name in order] if ax is axes[0] else len(order) * [""])
        ax.grid(axis="y", color="#EEEEEE", linewidth=0.8)
        ax.set_axisbelow(True)
    for ax, name in ((axes[0], "strict"), (axes[1], "cosine")):
        known = rows_of([table[method][name] for method in order])
        equal = np.array([table[method][f"{name}, equal EV"] for method in order], dtype=float)
        alone = np.array([table[method][f"{name} alone"] for method in order], dtype=float)
        look = {"color": BLUE, "linestyle": "none"}
        has = ~np.isnan(known[:, 0])
        draw_intervals(ax, y[has], known[has], across=True, marker="o", markersize=5, label="at equal L0", **look)
        ax.plot(alone[~has], y[~has], "o", markersize=5, color=BLUE)  # of two seeds, no interval
        ax.plot(equal, y, "D", mfc="white", markersize=5, label="at equal explained variance", **look)
    axes[0].set(xlabel="latents that two seeds share (strict)", xlim=(-0.03, 1.03))
    axes[0].xaxis.set_major_formatter(PercentFormatter(1))
    axes[1].axvline(0, color=GREY, linestyle=":")
    axes[1].set(xlabel="mean matched cosine\nless its null")
    axes[2].plot([table[method]["explained_variance"] for method in order], y, "o", color=GREY, markersize=5)
    axes[2].set(xlabel="explained variance\nat equal L0")
    for kind, (colour, marker, label) in KINDS.items():
        recall = [truth.get(kind, {}).get(method, {}).get("recall") for method in order]
        axes[3].plot(np.array(recall, dtype=float), y, marker, color=colour, markersize=5, label=label)
    axes[3].set(xlabel="true features found\n(two worlds)", xlim=(-0.03, 1.03))
    axes[3].xaxis.set_major_formatter(PercentFormatter(1))
    legend_above(axes[0], ncols=1, fontsize="small")
    legend_above(axes[3], ncols=1, fontsize="small")


def frontier(ax: Axes, curves: Mapping[str, Sequence[Row]], x: str, y: str) -> None:
    """What each method has at the points of its grid, one measure against another, in the order of its sparsities.

    Against L0 the names stand at the dense ends, else at the sparse ones.
    """
    lines, starts, ends = [], {}, {}
    for method, points in curves.items():
        colour, marker, label = LOOKS[method]
        at = np.array([[point[x], point[y]] for point in sorted(points, key=lambda one: one["l0"])], dtype=float)
        ax.plot(*at.T, f"{marker}-", color=colour, markersize=4, linewidth=1, label=f"_{label}")
        starts[label], ends[label] = (*at[0], colour), (*at[-1], colour)
        lines.append(at)
    if x == "l0":
        name_ends(ax, ends, 0.042)
    else:
        ax.set_ylim(-0.03, 1.03)
        name_points(ax, starts, lines)


def stability_and_truth(ax: Axes, of_world: Mapping[str, Row], what: str, own_l0: Collection[str] = ()) -> None:
    """A true number of each method's dictionaries against the share of latents that two seeds share, on one world.

    The L0 is written beside the methods of ``own_l0``, whose is another than that of the rest.
    """
    points = {}
    for method, row in of_world.items():
        colour, marker, label = LOOKS[method]
        ax.plot(row["strict"], row[what], marker, color=colour, markersize=5, label=f"_{label}", clip_on=False)
        words = f"{label}, L0 {row['L0']:.0f}" if method in own_l0 else label
        points[words] = row["strict"], row[what], colour
    ax.set(xlabel="latents that two seeds share")
    ax.set_xlim(left=0)
    ax.set_ylim(bottom=0)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(PercentFormatter(1))
    name_points(ax, points)
