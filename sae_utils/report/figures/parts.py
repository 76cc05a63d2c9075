"""Moves that many figures make: intervals, bands, stacked bars, rows of text, legends, logarithmic axes."""

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

ARCHITECTURES = {"topk": "TopK", "batch_topk": "BatchTopK", "relu": "ReLU", "jump_relu": "JumpReLU", "gated": "Gated"}

WHOLE_SCALE = 0.9  # an interval of a share that is wider says nothing, and is not drawn

Intervals = Float[np.ndarray, "n 3"]  # of each value: estimate, low, high


def in_names(text: str) -> str:
    """A text with every architecture by its published name, where it is called as in a parameters file."""
    return re.sub(r"\w+", lambda word: ARCHITECTURES.get(word[0], word[0]), text)


def rows_of(intervals: Iterable[Mapping[str, float]]) -> Intervals:
    """Intervals as a results file has them, by the names estimate, low and high, as rows."""
    return np.array([[one["estimate"], one["low"], one["high"]] for one in intervals], dtype=float).reshape(-1, 3)


def draw_intervals(
    ax: Axes, at: Float[np.ndarray, " n"], rows: Intervals, across: bool = False, capsize: float = 3, **look
) -> None:
    """Estimates with error bars at the places ``at``: upright bars over x, or bars ``across`` the axes, over y."""
    middle, low, high = np.asarray(rows, dtype=float).T
    error = np.array([middle - low, high - middle])
    if across:
        ax.errorbar(middle, at, xerr=error, capsize=capsize, **look)
    else:
        ax.errorbar(at, middle, yerr=error, capsize=capsize, **look)


def draw_shares(ax: Axes, at: Float[np.ndarray, " n"], rows: Intervals, **look) -> None:
    """Shares with error bars across the axes, within 0 and 1; of ``WHOLE_SCALE`` or more an interval is words."""
    rows = np.clip(np.asarray(rows, dtype=float), 0, 1)
    wide = rows[:, 2] - rows[:, 1] >= WHOLE_SCALE
    for y, (middle, low, high) in zip(at[wide], rows[wide], strict=True):
        ax.plot(middle, y, look["marker"], color=look["color"], markersize=look.get("markersize"))
        ax.text(middle + 0.015, y, f"interval {low:.2g} to {high:.2g}", va="center", fontsize=7)
    draw_intervals(ax, at[~wide], rows[~wide], across=True, linestyle="none", **look)


def mean_and_range(
    ax: Axes, x: Float[np.ndarray, " n"], curves: Float[np.ndarray, "curves n"], colour: str, **look
) -> None:
    """The mean of some curves as a line, and their range as a band."""
    ax.fill_between(x, curves.min(axis=0), curves.max(axis=0), color=colour, alpha=0.2, linewidth=0)
    ax.plot(x, curves.mean(axis=0), color=colour, **look)


def stacked_bars(ax: Axes, x: Sequence, parts: Mapping[str, tuple[str, Float[np.ndarray, " n"]]], width: float) -> None:
    """A bar at each x, made of parts; ``parts`` maps a label to its colour and its heights, from the bottom up."""
    bottom = np.zeros(len(x))
    for label, (colour, heights) in parts.items():
        ax.bar(x, heights, bottom=bottom, color=colour, width=width, label=label)
        bottom = bottom + heights


def offset(i: int, n: int, step: float) -> float:
    """Where the i-th of n series goes that are drawn side by side, ``step`` apart, around the place of all."""
    return step * (i - (n - 1) / 2)


def rows_from_top(ax: Axes, labels: Sequence[str]) -> Float[np.ndarray, " n"]:
    """One row of the axes for each label, the first on top; the rows' places on the y axis."""
    y = np.arange(len(labels))[::-1]
    ax.set_yticks(y, labels)
    ax.set_ylim(-0.6, len(labels) - 0.4)
    return y


def key(label: str, colour: str, **look) -> Line2D:
    """An entry of a legend for what no single artist stands for."""
    return Line2D([], [], color=colour, label=label, **look)


def legend_above(ax: Axes, ncols: int = 2, **options) -> None:
    """A legend over the axes, since data may be anywhere in them."""
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=ncols, borderaxespad=0.2, **options)


def log_axis(axis: Axis, decades: float | None = None) -> None:
    """A logarithmic axis with plain numbers: powers of ten and, where these are few, some multiples of them.

    ``decades`` is how many the axis covers; None: as many as it shows now.
    """
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    if decades is None:
        axis.axes.autoscale_view()
        low, high = np.log10(axis.get_view_interval())
        decades = high - low
    subs = (1,) if decades > 2 else (1, 3) if decades > 1 else (1, 2, 5)
    axis.set_major_locator(LogLocator(subs=subs, numticks=4 if decades > 4 else None))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())
