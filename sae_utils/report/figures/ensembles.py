"""Figures C1 to C6: bagging, boosting and what they are compared with. Arrays in, artists out."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from sae_utils.report.figures.names import name_points
from sae_utils.report.figures.parts import (
    Intervals,
    draw_intervals,
    in_names,
    legend_above,
    log_axis,
    offset,
    rows_from_top,
)
from sae_utils.report.figures.style import BLACK, BLUE, GREEN, GREY, ORANGE, PINK, YELLOW

METHODS = {  # colour, marker, label
    "bagging": (BLUE, "o", "naive bagging"),
    "boosting": (ORANGE, "s", "boosting"),
    "expanded": (GREEN, "^", "expanded"),
    "single": (PINK, "D", "single"),
}
KIND_COLOURS = ("#DDDDDD", GREY, PINK, BLUE, ORANGE)  # dead, noise, repeated, found again, orphan
ON_DARK = ("noise", "found again")
LEAST_NAMED = 0.06  # a part of a bar that is narrower has no room for its number
TERA = 1e12
SIDE = 0.08  # members between two methods that are drawn side by side
PLANE_STYLES = {  # of the planes of error and cost: colour, marker, line, and at which point the name stands
    "bagging": (BLUE, "o", "-", -1),
    "boosting": (ORANGE, "s", "-", 1),
    "expanded": (GREEN, "^", "none", -1),
    "single, total L0": (PINK, "D", "-", -1),
    "expanded, total L0": (GREEN, "v", "none", -1),
}


def by_members(ax: Axes, curves: Mapping[str, Intervals], ylabel: str, n_members: int) -> None:
    """A metric against the number of members, by method, side by side: points of two methods may be the same.

    A method with one row has no members; it is drawn where it has as many latents: expanded at ``n_members``, single
    at 1.
    """
    for i, (name, rows) in enumerate(curves.items()):
        x = np.arange(1, len(rows) + 1) if len(rows) > 1 else np.array([n_members if name == "expanded" else 1])
        _curve(ax, x + offset(i, len(curves), SIDE), name, rows)
    ax.set(xlabel="members J", ylabel=ylabel, xticks=range(1, n_members + 1))


def by_l0(
    ax: Axes,
    l0: Mapping[str, Float[np.ndarray, " J"]],
    curves: Mapping[str, Intervals],
    reference: Float[np.ndarray, "m 2"],
) -> None:
    """Explained variance against total L0: a point for each J, and single TopK SAEs as ``reference``."""
    ax.plot(*reference.T, "x--", color=GREY, linewidth=1, label="single TopK")
    for name, rows in curves.items():
        _curve(ax, l0[name], name, rows)
    ax.set(xlabel="total L0 (active latents per token)", ylabel="explained variance")
    log_axis(ax.xaxis)


def _curve(ax: Axes, x: Float[np.ndarray, " J"], name: str, rows: Intervals) -> None:
    """One method's estimates and intervals, joined where there are several."""
    colour, marker, label = METHODS[name]
    line = "-" if len(rows) > 1 else "none"
    draw_intervals(ax, x, rows, capsize=2, marker=marker, linestyle=line, color=colour, label=label)


def null_lines(ax: Axes, curves: Mapping[str, Intervals], n_members: int, label: str) -> None:
    """The nulls of ``by_members``' curves, broken, in their colours."""
    for name, rows in curves.items():
        colour, middle = METHODS[name][0], np.asarray(rows)[:, 0]
        if len(middle) > 1:
            ax.plot(range(1, len(middle) + 1), middle, ":", color=colour, linewidth=1.2)
        else:
            ax.plot([n_members], middle, "_", color=colour, markersize=12)
    ax.plot([], [], ":", color=GREY, label=label)


def plane(
    ax: Axes,
    points: Mapping[str, Float[np.ndarray, "n 2"]],
    xlabel: str,
    reference: Float[np.ndarray, "m 2"] | None,
    frontier: Float[np.ndarray, "f 2"],
) -> None:
    """MSE against a cost, both logarithmic: a line or a point for each of ``PLANE_STYLES``, the frontier behind them.

    Methods are named beside their line, and what else there is in the legend. "method, learned weights" is a dotted
    line in the method's colour. ``reference`` is the curve of the principal components; ``frontier``, sorted by cost,
    has steps, for nothing lies between its points.
    """
    look = {"color": YELLOW, "linewidth": 7, "alpha": 0.7, "zorder": 0, "marker": "o", "markersize": 12, "mew": 0}
    ax.plot(*np.asarray(frontier).T, drawstyle="steps-post", label="frontier: no other is better in both", **look)
    if reference is not None:
        ax.plot(*reference.T, "--", color=GREY, linewidth=1, label="principal components")
    steps = np.repeat(frontier, 2, axis=0)
    names, lines = {}, [*points.values(), np.stack([steps[1:, 0], steps[:-1, 1]], axis=1)]
    for name, rows in points.items():
        kind = name.removesuffix(", learned weights")
        colour, marker, line, which = PLANE_STYLES[kind]
        if name != kind:
            ax.plot(*rows.T, ":", color=colour, linewidth=1.6, label=name)
            continue
        ax.plot(*rows.T, marker=marker, linestyle=line, color=colour, markersize=5, label=f"_{name}")
        names[kind] = (*rows[which if len(rows) > 1 else -1], colour)
    ax.set(xscale="log", xlabel=xlabel, ylabel="MSE per token (held-out)")
    # What is drawn of the reference and of the frontier is where the methods are; on the right is room for names.
    every = np.concatenate(list(points.values()))
    low, high = every.min(axis=0), every.max(axis=0)
    ax.set_xlim(0.6 * low[0], 2.4 * high[0])
    ax.set_ylim(0.7 * low[1], 1.3 * high[1])
    log_axis(ax.yaxis, np.log10(high[1] / low[1]))
    log_axis(ax.xaxis, np.log10(high[0] / low[0]))
    name_points(ax, names, lines, size=9)


def ambiguity(ax: Axes, members: Intervals, bag: Intervals) -> None:
    """Mean MSE of the members, MSE of the bag, and the disagreement as the band between them, against J."""
    x = np.arange(1, len(members) + 1)
    ax.fill_between(x, bag[:, 0], members[:, 0], color=BLUE, alpha=0.2, linewidth=0)
    ax.plot(x, members[:, 0], "--", color=GREY)
    draw_intervals(ax, x, bag, capsize=2, color=BLUE, marker="o")
    ends, room = {"ha": "right", "fontsize": 9}, 0.03 * members[:, 0].max()
    ax.text(x[-1], members[-1, 0] + room, "mean of the members", color=GREY, va="bottom", **ends)
    ax.text(x[-1], (members[-1, 0] + bag[-1, 0]) / 2, "their disagreement", color=BLUE, va="center", **ends)
    ax.text(x[-1], bag[-1, 1] - room, "bag", color=BLUE, va="top", **ends)
    ax.set(xlabel="members J", ylabel="MSE per token (held-out)", xticks=x)
    ax.set_ylim(0, 1.15 * members[:, 0].max())


def gain_against_overlap(
    ax: Axes, overlap: Mapping[str, np.ndarray], gain: Mapping[str, np.ndarray], slope: Mapping[str, float]
) -> None:
    """Relative gain of bagging two dictionaries against the share of their latents that are shared, by kind.

    ``slope`` is that over the kinds' means, with its interval: written, not drawn, for it rests on a few kinds.
    """
    colours = (BLUE, ORANGE, GREEN, PINK, GREY, BLACK)
    names, points = {}, []
    for colour, (name, x), marker in zip(colours, overlap.items(), "os^Dvx", strict=False):
        ax.plot(x, gain[name], marker, color=colour, markersize=4, alpha=0.7, label=name)
        points += [np.array([[at, of]]) for at, of in zip(x, gain[name], strict=True)]
        names[in_names(name.replace("topk", "topk, k"))] = (*points[-1][0], colour)
    words = "slope over kinds {estimate:.2f} ({low:.2f} to {high:.2f})".format(**slope)
    ax.set_title(words, fontsize=9, color=GREY, loc="left")
    top = max(values.max() for values in gain.values())
    ax.set(xlabel="latents shared (strict)", ylabel="MSE taken away by bagging two", xlim=(0, 1))
    ax.set_ylim(min(0, *(values.min() for values in gain.values())), 1.15 * top)
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    name_points(ax, names, points, size=9)


def kinds_by_stage(
    ax: Axes, shares: Float[np.ndarray, "J kinds"], names: Sequence[str], chance: Float[np.ndarray, " J"]
) -> None:
    """What the latents of each boosted member are, as stacked shares, one bar a member, the first on top.

    On the right is the share of them that would be novel by ``chance``. Kinds that no member has are not named.
    """
    y = rows_from_top(ax, [f"member {j}" for j in range(1, len(shares) + 1)])
    left = np.zeros(len(shares))
    for kind, name in enumerate(names):
        colour, label = KIND_COLOURS[kind], name if shares[:, kind].any() else None
        bars = ax.barh(y, shares[:, kind], 0.75, left, color=colour, label=label)
        words = [f"{100 * share:.0f} %" if share > LEAST_NAMED else "" for share in shares[:, kind]]
        ax.bar_label(bars, words, label_type="center", fontsize=9, color="white" if name in ON_DARK else "black")
        left = left + shares[:, kind]
    for place, share in zip(y, chance, strict=True):
        ax.text(1.02, place, f"{100 * share:.1f} %", va="center", fontsize=9, color=GREY)
    ax.text(1.02, len(shares) - 0.45, "novel by\nchance", va="bottom", fontsize=8, color=GREY)
    ax.set(xlabel="share of the member's latents", xlim=(0, 1))
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    legend_above(ax, len(names), columnspacing=1.2)
