"""Figures of paper C: bagging, boosting and what they are compared with. Arrays in, artists out."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from sae_utils.report.figures.style import BLUE, GREEN, GREY, ORANGE, PINK, estimates_and_errors, log_axis

BLACK = "#000000"
COLOURS = {"bagging": BLUE, "boosting": ORANGE, "expanded": GREEN, "single": PINK}
MARKERS = {"bagging": "o", "boosting": "s", "expanded": "^", "single": "D"}
KIND_COLOURS = ("#DDDDDD", GREY, "#F0E442", GREEN, BLUE)  # dead, noise, repeated, found again, orphan
MANY = 1e6  # from here on a cost is written as a power of ten
METHOD_WORDS = {"bagging": "naive bagging"}
# Of the planes of error and cost: colour, marker, line; open markers for weights that are fitted.
PLANE_STYLES = {
    "bagging": (BLUE, "o", "-"),
    "bagging, learned weights": (BLUE, "o", ":"),
    "boosting": (ORANGE, "s", "-"),
    "boosting, learned weights": (ORANGE, "s", ":"),
    "expanded": (GREEN, "^", "none"),
    "expanded, total L0": (GREEN, "v", "none"),
    "single, total L0": (PINK, "D", "-"),
    "J times the tokens": (PINK, "*", "none"),
    "bag of notebook 01": (BLACK, "x", "--"),
}


def by_members(ax: Axes, curves: Mapping[str, Float[np.ndarray, "J 3"]], ylabel: str, n_members: int) -> Axes:
    """A metric against the number of members: estimate, low and high of each method.

    A method with one row has no members; it is drawn where it has as many latents: expanded at ``n_members``, single
    at 1.
    """
    for name, rows in curves.items():
        x = np.arange(1, len(rows) + 1) if len(rows) > 1 else np.array([n_members if name == "expanded" else 1])
        _with_intervals(ax, x, name, rows)
    ax.set(xlabel="members J", ylabel=ylabel)
    ax.set_xticks(range(1, n_members + 1))
    return ax


def _with_intervals(ax: Axes, x: Float[np.ndarray, " J"], name: str, rows: Float[np.ndarray, "J 3"]) -> None:
    """One method's estimates and intervals, joined where there are several."""
    middle, error = estimates_and_errors(rows)
    ax.errorbar(
        x,
        middle,
        yerr=error,
        marker=MARKERS[name],
        linestyle="-" if len(rows) > 1 else "none",
        color=COLOURS[name],
        capsize=2,
        label=METHOD_WORDS.get(name, name),
    )


def by_l0(
    ax: Axes,
    l0: Mapping[str, Float[np.ndarray, " J"]],
    curves: Mapping[str, Float[np.ndarray, "J 3"]],
    reference: Float[np.ndarray, "m 2"],
) -> Axes:
    """Explained variance against total L0: a point for each J, and single TopK SAEs as ``reference``."""
    ax.plot(*np.asarray(reference).T, "x--", color=GREY, linewidth=1, label="single TopK")
    for name, rows in curves.items():
        _with_intervals(ax, l0[name], name, rows)
    ax.set(xlabel="total L0 (active latents per token)", ylabel="explained variance")
    log_axis(ax.xaxis)
    return ax


def null_lines(ax: Axes, curves: Mapping[str, Float[np.ndarray, "J 3"]], n_members: int, label: str) -> Axes:
    """The nulls of ``by_members``' curves, broken, in their colours."""
    for name, rows in curves.items():
        middle = np.asarray(rows)[:, 0]
        if len(middle) > 1:
            ax.plot(range(1, len(middle) + 1), middle, ":", color=COLOURS[name], linewidth=1.2)
        else:
            ax.plot([n_members], middle, "_", color=COLOURS[name], markersize=12)
    ax.plot([], [], ":", color=GREY, label=label)
    return ax


def plane(
    ax: Axes,
    points: Mapping[str, Float[np.ndarray, "n 2"]],
    xlabel: str,
    reference: Float[np.ndarray, "m 2"] | None = None,
    frontier: Float[np.ndarray, "f 2"] | None = None,
) -> Axes:
    """MSE against a cost, both logarithmic: a line or a point for each of ``PLANE_STYLES``, the frontier behind them.

    ``reference`` is the curve of the principal components.
    """
    if frontier is not None:
        ax.plot(*frontier.T, color="#F0E442", linewidth=7, alpha=0.7, zorder=0, label="frontier")
    if reference is not None:
        ax.plot(*reference.T, "--", color=GREY, linewidth=1, label="principal components")
    for name, rows in points.items():
        colour, marker, line = PLANE_STYLES[name]
        face = "white" if line == ":" else colour
        ax.plot(*np.asarray(rows).T, marker=marker, linestyle=line, color=colour, mfc=face, markersize=5, label=name)
    ax.set(xscale="log", xlabel=xlabel, ylabel="MSE per token (held-out)")
    # What is drawn of the reference and of the frontier is where the methods are.
    every = np.concatenate([np.asarray(rows) for rows in points.values()])
    low, high = every.min(axis=0), every.max(axis=0)
    ax.set_xlim(0.7 * low[0], 1.4 * high[0])
    ax.set_ylim(0.8 * low[1], 1.2 * high[1])
    log_axis(ax.yaxis, np.log10(high[1] / low[1]))
    if high[0] < MANY:
        log_axis(ax.xaxis, np.log10(high[0] / low[0]))
    return ax


def ambiguity(ax: Axes, members: Float[np.ndarray, "J 3"], bag: Float[np.ndarray, "J 3"]) -> Axes:
    """Mean MSE of the members, MSE of the bag, and the disagreement as the band between them, against J."""
    x = np.arange(1, len(members) + 1)
    ax.fill_between(x, bag[:, 0], members[:, 0], color=BLUE, alpha=0.2, linewidth=0, label="disagreement")
    ax.plot(x, members[:, 0], "--", color=GREY, label="mean of the members")
    middle, error = estimates_and_errors(bag)
    ax.errorbar(x, middle, yerr=error, color=BLUE, marker="o", capsize=2, label="bag")
    ax.set(xlabel="members J", ylabel="MSE per token (held-out)", ylim=(0, None))
    ax.set_xticks(x)
    return ax


def gain_against_overlap(
    ax: Axes, overlap: Mapping[str, np.ndarray], gain: Mapping[str, np.ndarray], line: tuple[float, float]
) -> Axes:
    """Relative gain of bagging two dictionaries against the share of their latents that are shared, by kind."""
    colours = (BLUE, ORANGE, GREEN, PINK, GREY, BLACK)
    for colour, (name, x), marker in zip(colours, overlap.items(), "os^Dvx", strict=False):
        ax.plot(x, gain[name], marker, color=colour, markersize=4, alpha=0.7, label=name)
    ends = np.array([min(v.min() for v in overlap.values()), max(v.max() for v in overlap.values())])
    ax.plot(ends, line[0] * ends + line[1], "--", color=GREY, linewidth=1, label="line through the kinds' means")
    ax.set(xlabel="share of latents shared (strict)", ylabel="MSE taken away by bagging two")
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    return ax


def kinds_by_stage(ax: Axes, shares: Float[np.ndarray, "J kinds"], names: Sequence[str]) -> Axes:
    """What the latents of each boosted member are, as stacked shares."""
    x, base = np.arange(1, len(shares) + 1), np.zeros(len(shares))
    for k, name in enumerate(names):
        ax.bar(x, shares[:, k], bottom=base, color=KIND_COLOURS[k], width=0.8, label=name)
        base = base + shares[:, k]
    ax.set(xlabel="boosted member", ylabel="share of its latents", ylim=(0, 1))
    ax.set_xticks(x)
    return ax


def points_with_intervals(
    ax: Axes,
    rows: Float[np.ndarray, "n 3"],
    names: Sequence[str],
    xlabel: str,
    nulls: Float[np.ndarray, " n"] | None = None,
) -> Axes:
    """One line of text and one interval for each entry, from top to bottom; nulls as grey bars."""
    y = np.arange(len(rows))[::-1]
    middle, error = estimates_and_errors(rows)
    ax.errorbar(middle, y, xerr=error, fmt="o", color=BLUE, capsize=3)
    if nulls is not None:
        ax.plot(nulls, y, "|", color=GREY, markersize=14, markeredgewidth=2, label="latents chosen at random")
    ax.set_yticks(y, names)
    ax.set(xlabel=xlabel, ylim=(-0.6, len(rows) - 0.4))
    return ax
