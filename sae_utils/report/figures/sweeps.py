"""Figures of what moves overlap: one property of the dictionaries against what they share. Arrays in, artists out."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from sae_utils.report.figures.style import BLUE, GREEN, GREY, ORANGE, PINK, estimates_and_errors, legend_above

MEASURES = {
    "shared_strict": (BLUE, "o", "shared, strict"),
    "shared_decoder_only": (PINK, "v", "shared, decoder only"),
    "decoder_cosine": (GREEN, "s", "mean matched decoder cosine"),
    "agree": (ORANGE, "^", "both matchings agree"),
}

LEGEND_COLUMN = 2.3  # inches; a wider legend would squeeze the axes

Arrays = Mapping[str, np.ndarray]


def of_sweep(arrays: Arrays, name: str) -> dict[str, np.ndarray]:
    """The arrays of one sweep, without its name (``analysis.sweeps.figure_arrays`` puts it there)."""
    return {key.removeprefix(f"{name}_"): value for key, value in arrays.items() if key.startswith(f"{name}_")}


def overlap_lines(ax: Axes, a: Arrays, x: Float[np.ndarray, " points"], measures: Sequence[str]) -> Axes:
    """Each measure against ``x`` with its interval, and in the same colour, dotted, what chance gives."""
    for name in measures:
        colour, marker, _ = MEASURES[name]
        _with_interval(ax, x, a[name], color=colour, marker=marker, linestyle="-")
        ax.plot(x, a[f"null_{name}"], ":", color=colour, linewidth=1.2)
    ax.set(ylim=(-0.03, 1.03), ylabel="share of latents, or cosine")
    keys = [Line2D([], [], color=c, marker=m, label=label) for c, m, label in (MEASURES[name] for name in measures)]
    keys.append(Line2D([], [], color=GREY, linestyle=":", label="same, random directions"))
    _legend_as_wide(ax, handles=keys)
    return ax


def quality_lines(ax: Axes, a: Arrays, x: Float[np.ndarray, " points"]) -> Axes:
    """Explained variance and dead latents against ``x``, a point for each seed."""
    for name, colour, label in (
        ("explained_variance", BLUE, "explained variance"),
        ("dead", ORANGE, "dead latents, share"),
    ):
        ax.plot(x, a[name].mean(1), "-", color=colour, label=label)
        for seed in a[name].T:
            ax.plot(x, seed, "o", color=colour, markersize=4, alpha=0.6)
    ax.set(ylim=(-0.03, 1.03), ylabel="share of the variance, or of latents")
    _legend_as_wide(ax)
    return ax


def doublings(ax: Axes, x: Float[np.ndarray, " points"], label: str) -> None:
    """A logarithmic axis with a tick at each point, in thousands or millions where these are large."""
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_locator(FixedLocator(list(x)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticks(x, [_short(value) for value in x])
    ax.set_xlabel(label)


def overlap_bars(ax: Axes, a: Arrays, measures: Sequence[str], wrong_l0: Sequence[str] = ()) -> Axes:
    """A group of bars for each value, with intervals and nulls; under each its L0 and explained variance.

    Values in ``wrong_l0`` missed the L0 that all were to have; a star says so.
    """
    x, width = np.arange(len(a["values"])), 0.8 / len(measures)
    for i, name in enumerate(measures):
        colour, _, label = MEASURES[name]
        at = x + width * (i - (len(measures) - 1) / 2)
        ax.bar(at, a[name][:, 0], 0.92 * width, color=colour, label=label)
        _with_interval(ax, at, a[name], color="black", linestyle="none")
        ax.hlines(a[f"null_{name}"], at - width / 2, at + width / 2, color="black", linestyle=":", linewidth=1.4)
    ax.set_xticks(x, [_under(a, i, str(value) in wrong_l0) for i, value in enumerate(a["values"])])
    ax.set(ylim=(0, 1.03), ylabel="share of latents, or cosine")
    handles, _ = ax.get_legend_handles_labels()
    handles.append(Line2D([], [], color="black", linestyle=":", label="same, random directions"))
    _legend_as_wide(ax, handles=handles)
    return ax


def _under(a: Arrays, i: int, star: bool) -> str:
    l0, explained = a["l0"][i].mean(), a["explained_variance"][i].mean()
    return f"{a['values'][i]}{'*' if star else ''}\nL0 {l0:.1f}\nEV {explained:.2f}"


def _with_interval(ax: Axes, x, ends: Float[np.ndarray, "points 3"], **style) -> None:
    middle, error = estimates_and_errors(ends)
    ax.errorbar(x, middle, yerr=error, capsize=3, elinewidth=1.1, **style)


def _short(value: float) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= 10 * size or value >= size and value % (size / 10) == 0:
            return f"{value / size:.3g}{letter}"
    return f"{value:g}"


def _legend_as_wide(ax: Axes, **options) -> None:
    """A legend over the axes, since data may be anywhere in them; as many columns as are no wider than the axes."""
    width = ax.figure.get_figwidth() / ax.get_gridspec().ncols
    columns = max(1, int(width // LEGEND_COLUMN))
    legend_above(ax, columns, fontsize="small", **options)
