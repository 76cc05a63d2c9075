"""Figures C1 to C6: bagging, boosting and what they are compared with. Arrays in, artists out."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from sae_utils.report.figures.parts import Intervals, draw_intervals, log_axis, stacked_bars
from sae_utils.report.figures.style import BLACK, BLUE, GREEN, GREY, ORANGE, PINK, YELLOW

METHODS = {  # colour, marker, label
    "bagging": (BLUE, "o", "naive bagging"),
    "boosting": (ORANGE, "s", "boosting"),
    "expanded": (GREEN, "^", "expanded"),
    "single": (PINK, "D", "single"),
}
KIND_COLOURS = ("#DDDDDD", GREY, YELLOW, GREEN, BLUE)  # dead, noise, repeated, found again, orphan
MANY = 1e6  # from here on a cost is written as a power of ten
# Of the planes of error and cost: colour, marker, line; open markers for weights that are fitted.
PLANE_STYLES = {
    "bagging": (BLUE, "o", "-"),
    "bagging, learned weights": (BLUE, "o", ":"),
    "boosting": (ORANGE, "s", "-"),
    "boosting, learned weights": (ORANGE, "s", ":"),
    "expanded": (GREEN, "^", "none"),
    "expanded, total L0": (GREEN, "v", "none"),
    "single, total L0": (PINK, "D", "-"),
}


def by_members(ax: Axes, curves: Mapping[str, Intervals], ylabel: str, n_members: int) -> None:
    """A metric against the number of members, by method.

    A method with one row has no members; it is drawn where it has as many latents: expanded at ``n_members``, single
    at 1.
    """
    for name, rows in curves.items():
        x = np.arange(1, len(rows) + 1) if len(rows) > 1 else np.array([n_members if name == "expanded" else 1])
        _curve(ax, x, name, rows)
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

    ``reference`` is the curve of the principal components.
    """
    ax.plot(*frontier.T, color=YELLOW, linewidth=7, alpha=0.7, zorder=0, label="frontier")
    if reference is not None:
        ax.plot(*reference.T, "--", color=GREY, linewidth=1, label="principal components")
    for name, rows in points.items():
        colour, marker, line = PLANE_STYLES[name]
        face = "white" if line == ":" else colour
        ax.plot(*rows.T, marker=marker, linestyle=line, color=colour, mfc=face, markersize=5, label=name)
    ax.set(xscale="log", xlabel=xlabel, ylabel="MSE per token (held-out)")
    # What is drawn of the reference and of the frontier is where the methods are.
    every = np.concatenate(list(points.values()))
    low, high = every.min(axis=0), every.max(axis=0)
    ax.set_xlim(0.7 * low[0], 1.4 * high[0])
    ax.set_ylim(0.8 * low[1], 1.2 * high[1])
    log_axis(ax.yaxis, np.log10(high[1] / low[1]))
    if high[0] < MANY:
        log_axis(ax.xaxis, np.log10(high[0] / low[0]))


def ambiguity(ax: Axes, members: Intervals, bag: Intervals) -> None:
    """Mean MSE of the members, MSE of the bag, and the disagreement as the band between them, against J."""
    x = np.arange(1, len(members) + 1)
    ax.fill_between(x, bag[:, 0], members[:, 0], color=BLUE, alpha=0.2, linewidth=0, label="disagreement")
    ax.plot(x, members[:, 0], "--", color=GREY, label="mean of the members")
    draw_intervals(ax, x, bag, capsize=2, color=BLUE, marker="o", label="bag")
    ax.set(xlabel="members J", ylabel="MSE per token (held-out)", ylim=(0, None), xticks=x)


def gain_against_overlap(
    ax: Axes, overlap: Mapping[str, np.ndarray], gain: Mapping[str, np.ndarray], line: tuple[float, float]
) -> None:
    """Relative gain of bagging two dictionaries against the share of their latents that are shared, by kind."""
    colours = (BLUE, ORANGE, GREEN, PINK, GREY, BLACK)
    for colour, (name, x), marker in zip(colours, overlap.items(), "os^Dvx", strict=False):
        ax.plot(x, gain[name], marker, color=colour, markersize=4, alpha=0.7, label=name)
    everywhere = np.concatenate(list(overlap.values()))
    ends = np.array([everywhere.min(), everywhere.max()])
    ax.plot(ends, line[0] * ends + line[1], "--", color=GREY, linewidth=1, label="line through the kinds' means")
    ax.set(xlabel="share of latents shared (strict)", ylabel="MSE taken away by bagging two")
    ax.yaxis.set_major_formatter(PercentFormatter(1))


def kinds_by_stage(ax: Axes, shares: Float[np.ndarray, "J kinds"], names: Sequence[str]) -> None:
    """What the latents of each boosted member are, as stacked shares."""
    x = np.arange(1, len(shares) + 1)
    parts = {name: (KIND_COLOURS[kind], shares[:, kind]) for kind, name in enumerate(names)}
    stacked_bars(ax, x, parts, width=0.8)
    ax.set(xlabel="boosted member", ylabel="share of its latents", ylim=(0, 1), xticks=x)
