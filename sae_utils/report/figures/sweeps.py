"""Figures A7 to A11: what moves overlap, one property of the dictionaries at a time. Arrays in, artists out."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from sae_utils.report.figures.parts import draw_intervals, key, legend_above, offset, rows_from_top
from sae_utils.report.figures.style import BLUE, GREEN, GREY, ORANGE, PINK

MEASURES = {
    "shared_strict": (BLUE, "o", "shared, strict"),
    "shared_decoder_only": (PINK, "v", "shared, decoder only"),
    "decoder_cosine": (GREEN, "s", "mean matched decoder cosine"),
    "agree": (ORANGE, "^", "both matchings agree"),
}
RANDOM = "same, random directions"
LEGEND_COLUMN = 2.3  # inches; a wider legend would squeeze the axes

Arrays = Mapping[str, np.ndarray]


def of_sweep(arrays: Arrays, name: str) -> dict[str, np.ndarray]:
    """The arrays of one sweep, without its name (``analysis.matching.sweeps.figure_arrays`` puts it there)."""
    return {key.removeprefix(f"{name}_"): value for key, value in arrays.items() if key.startswith(f"{name}_")}


def overlap_lines(ax: Axes, a: Arrays, x: Float[np.ndarray, " points"], measures: Sequence[str]) -> None:
    """Each measure against ``x`` with its interval, and in the same colour, dotted, what chance gives."""
    keys = []
    for name in measures:
        colour, marker, label = MEASURES[name]
        draw_intervals(ax, x, a[name], elinewidth=1.1, color=colour, marker=marker, linestyle="-")
        ax.plot(x, a[f"null_{name}"], ":", color=colour, linewidth=1.2)
        keys.append(key(label, colour, marker=marker))
    ax.set(ylim=(-0.03, 1.03), ylabel="share of latents, or cosine")
    _legend(ax, handles=[*keys, key(RANDOM, GREY, linestyle=":")])


def quality_lines(ax: Axes, a: Arrays, x: Float[np.ndarray, " points"]) -> None:
    """Explained variance and dead latents against ``x``, a point for each seed."""
    lines = {"explained_variance": (BLUE, "explained variance"), "dead": (ORANGE, "dead latents, share")}
    for name, (colour, label) in lines.items():
        ax.plot(x, a[name].mean(1), "-", color=colour, label=label)
        ax.plot(x, a[name], "o", color=colour, markersize=4, alpha=0.6)
    ax.set(ylim=(-0.03, 1.03), ylabel="share of the variance, or of latents")
    _legend(ax)


def doublings(ax: Axes, x: Float[np.ndarray, " points"], label: str) -> None:
    """A logarithmic axis with a tick at each point, in thousands or millions where these are large."""
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_locator(FixedLocator(list(x)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticks(x, [_short(value) for value in x])
    ax.set_xlabel(label)


def overlap_bars(ax: Axes, a: Arrays, measures: Sequence[str], wrong_l0: Sequence[str] = ()) -> None:
    """A group of bars for each value, with intervals and nulls; under each its L0 and explained variance.

    Values in ``wrong_l0`` missed the L0 that all were to have; a star says so.
    """
    x, width = np.arange(len(a["values"])), 0.8 / len(measures)
    for i, name in enumerate(measures):
        colour, _, label = MEASURES[name]
        at = x + offset(i, len(measures), width)
        ax.bar(at, a[name][:, 0], 0.92 * width, color=colour, label=label)
        draw_intervals(ax, at, a[name], elinewidth=1.1, color="black", linestyle="none")
        ax.hlines(a[f"null_{name}"], at - width / 2, at + width / 2, color="black", linestyle=":", linewidth=1.4)
    under = []
    for value, l0, explained in zip(a["values"], a["l0"].mean(1), a["explained_variance"].mean(1), strict=True):
        star = "*" if str(value) in wrong_l0 else ""
        under.append(f"{value}{star}\nL0 {l0:.1f}\nEV {explained:.2f}")
    ax.set_xticks(x, under)
    ax.set(ylim=(0, 1.03), ylabel="share of latents, or cosine")
    handles, _ = ax.get_legend_handles_labels()
    _legend(ax, handles=[*handles, key(RANDOM, "black", linestyle=":")])


def both_ways(ax: Axes, a: Arrays, measure: str, label: str) -> None:
    """Each pair of seeds for each value: a measure of encoders with raw rows, and in the metric of the data."""
    x = np.arange(len(a["values"]))
    looks = (f"raw_{measure}", "x", ORANGE, "raw"), (measure, "o", BLUE, "metric of the data")
    for i, (name, marker, colour, words) in enumerate(looks):
        first, *others = a[f"pairs_{name}"].T
        look = {"linestyle": "none", "marker": marker, "color": colour, "markersize": 5, "alpha": 0.8}
        ax.plot(x + offset(i, 2, 0.3), first, label=words, **look)
        for pair in others:
            ax.plot(x + offset(i, 2, 0.3), pair, **look)
    ax.set_xticks(x, [str(value) for value in a["values"]])
    ax.set(ylim=(-0.03, 1.03), xlim=(-0.5, len(x) - 0.5), ylabel=f"{label}\n(share of latents)")
    legend_above(ax, 2, fontsize="small")


def causes(
    ax: Axes, rows: Float[np.ndarray, "causes 3"], pairs: Float[np.ndarray, "causes pairs"], names: Sequence[str]
) -> None:
    """What dictionaries share that differ in each cause: an interval, and above it a small point for each pair."""
    y = rows_from_top(ax, names)
    ax.plot(pairs, y + 0.22, "o", color=GREY, markersize=4, alpha=0.8)
    draw_intervals(ax, y, rows, across=True, color=BLUE, marker="o", linestyle="none")


def _short(value: float) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= 10 * size or value >= size and value % (size / 10) == 0:
            return f"{value / size:.3g}{letter}"
    return f"{value:g}"


def _legend(ax: Axes, **options) -> None:
    """A legend over the axes, of as many columns as are no wider than them."""
    width = ax.figure.get_figwidth() / ax.get_gridspec().ncols
    legend_above(ax, max(1, int(width // LEGEND_COLUMN)), fontsize="small", **options)
