"""Figures A7 to A11 and A18: what moves overlap, one property of the dictionaries at a time. Arrays in, artists out.

Every measure has axes of its own, so that intervals do not lie on each other; what chance gives is grey.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from sae_utils.report.figures.parts import draw_intervals, in_names, key, legend_above, rows_from_top
from sae_utils.report.figures.style import BLACK, BLUE, GREEN, GREY, ORANGE, PINK, VERMILION

MEASURES = {
    "shared_strict": (BLUE, "shared, strict\n(share of latents)"),
    "shared_decoder_only": (PINK, "shared, decoder only\n(share of latents)"),
    "decoder_cosine": (GREEN, "mean matched\ndecoder cosine"),
    "agree": (ORANGE, "both matchings agree\n(share of latents)"),
}
ALONG = ("shared_strict", "decoder_cosine", "agree")  # of what is drawn along an axis
QUALITY = {"explained_variance": (BLACK, "explained variance"), "dead": (VERMILION, "dead latents, share")}
RANDOM, INTERVAL = "random directions", "mean over pairs, 95 % interval over seeds"
EVERYTHING = (-0.03, 1.03)  # of a share, with room for a marker at either end

Arrays = Mapping[str, np.ndarray]


def of_sweep(arrays: Arrays, name: str) -> dict[str, np.ndarray]:
    """The arrays of one sweep, without its name (``analysis.matching.sweeps.figure_arrays`` puts it there)."""
    return {key.removeprefix(f"{name}_"): value for key, value in arrays.items() if key.startswith(f"{name}_")}


def along(fig: Figure, a: Arrays, label: str) -> None:
    """Measures against the points' values, each with its interval and what chance gives; last, a point for each
    dictionary's quality.
    """
    x, axes = a["values"], fig.subplots(1, len(ALONG) + 1, sharey=True)
    for ax, name in zip(axes, ALONG, strict=False):
        colour, words = MEASURES[name]
        draw_intervals(ax, x, a[name], elinewidth=1.1, color=colour, marker="o", linestyle="-")
        ax.plot(x, a[f"null_{name}"], ":", color=GREY)
        ax.set_title(words, fontsize="medium")
    for name, (colour, _) in QUALITY.items():
        axes[-1].plot(x, a[name].mean(1), "-", color=colour)
        axes[-1].plot(x, a[name], "o", color=colour, markersize=4, alpha=0.6)
    axes[-1].set_title("how good they are\n(a point for each seed)", fontsize="medium")
    for ax in axes:
        doublings(ax, x, label)
    axes[0].set(ylim=EVERYTHING, ylabel="share, or cosine")
    keys = [key(INTERVAL, BLUE, marker="o"), key(RANDOM, GREY, linestyle=":")]
    keys += [key(words, colour, marker="o", markersize=4) for colour, words in QUALITY.values()]
    fig.legend(handles=keys, loc="outside upper left", ncols=len(keys))


def doublings(ax: Axes, x: Float[np.ndarray, " points"], label: str) -> None:
    """A logarithmic axis with a tick at each point, in thousands or millions where these are large."""
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_locator(FixedLocator(list(x)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticks(x, [_short(value) for value in x])
    ax.set_xlabel(label)


def row_names(a: Arrays, before: str = "", wrong_l0: Sequence[str] = ()) -> list[str]:
    """The points' values, each with its L0 and explained variance below; a star where L0 is not what it should be."""
    names = []
    for value, l0, explained in zip(a["values"], a["l0"].mean(1), a["explained_variance"].mean(1), strict=True):
        star = "*" if str(value) in wrong_l0 else ""
        names.append(f"{before}{in_names(str(value))}{star}\nL0 {l0:.1f}, EV {explained:.2f}")
    return names


def measure_rows(axes: Sequence[Axes], a: Arrays, names: Sequence[str]) -> None:
    """A row for each name, the first on top, in the axes of each measure: an interval, and in grey what chance gives.

    Where the arrays hold every measure's pairs, a small point for each pair lies over its row.
    """
    with_pairs = all(f"pairs_{name}" in a for name in MEASURES)
    for ax, name in zip(axes, MEASURES, strict=True):
        y = rows_from_top(ax, names)
        if f"null_{name}" in a:
            ax.plot(a[f"null_{name}"], y, "|", color=GREY, markersize=14, markeredgewidth=2)
        if with_pairs:
            ax.plot(a[f"pairs_{name}"], y + 0.25, "o", color=GREY, markersize=3.5, alpha=0.8)
        draw_intervals(ax, y, a[name], across=True, color=MEASURES[name][0], marker="o", linestyle="none")
        ax.set(xlim=EVERYTHING, xticks=(0, 0.5, 1))
        ax.tick_params(labelleft=ax is axes[0])


def title_measures(axes: Sequence[Axes], keys: Sequence[Line2D]) -> None:
    """Over each measure's axes what it is, and over all of them the ``keys`` to the marks."""
    for ax, (_, words) in zip(axes, MEASURES.values(), strict=True):
        ax.set_title(words, fontsize="medium")
    axes[0].figure.legend(handles=keys, loc="outside upper left", ncols=len(keys))


def _keys_of_rows() -> list[Line2D]:
    return [key(INTERVAL, BLUE, marker="o"), key(RANDOM, GREY, linestyle="", marker="|", markersize=12, mew=2)]


def layers_and_sites(fig: Figure, layers: Arrays, sites: Arrays) -> None:
    """Figure A10: every measure by layer, at one site, and below by site, in one layer."""
    heights = [len(layers["values"]), len(sites["values"])]
    axes = fig.subplots(2, len(MEASURES), sharex=True, height_ratios=heights)
    measure_rows(axes[0], layers, row_names(layers, "layer "))
    measure_rows(axes[1], sites, row_names(sites))
    title_measures(axes[0], _keys_of_rows())


def architectures(fig: Figure, a: Arrays, wrong_l0: Sequence[str], both: Mapping[str, str]) -> None:
    """Figure A11: every measure by architecture; below, for the measures ``both`` (name: label), ``both_ways``."""
    names, kinds = row_names(a, wrong_l0=wrong_l0), [in_names(str(value)) for value in a["values"]]
    upper, lower = [f"{name}, all" for name in MEASURES], list(both)
    wide = [name for name in lower for _ in range(len(upper) // len(lower))]
    axes = fig.subplot_mosaic([upper, wide], height_ratios=[3, 2])
    measure_rows([axes[name] for name in upper], a, names)
    star = [key("L0 is another than asked for", BLACK, linestyle="", marker="$*$")]
    title_measures([axes[name] for name in upper], _keys_of_rows() + (star if wrong_l0 else []))
    for name, label in both.items():
        both_ways(axes[name], a, name, kinds)
        axes[name].set(xlabel=label)
        axes[name].tick_params(labelleft=name == lower[0])
    legend_above(axes[lower[0]], fontsize="small")


def both_ways(ax: Axes, a: Arrays, measure: str, names: Sequence[str]) -> None:
    """A row for each name: every pair of seeds by raw encoder rows and, over it, in the metric of the data."""
    y = rows_from_top(ax, names)
    for name, marker, colour, words, up in (
        (measure, "o", BLUE, "each pair, metric of the data", 0.15),
        (f"raw_{measure}", "x", VERMILION, "each pair, raw encoder rows", -0.15),
    ):
        for i, pair in enumerate(a[f"pairs_{name}"].T):
            label = None if i else words
            ax.plot(pair, y + up, linestyle="none", marker=marker, color=colour, alpha=0.8, label=label)
    ax.set(xlim=EVERYTHING)


def causes(fig: Figure, a: Arrays, names: Sequence[str]) -> None:
    """Figure A18: what dictionaries share that differ in each of the causes ``names``, and each pair of them."""
    axes = fig.subplots(1, len(MEASURES))
    measure_rows(axes, a, names)
    interval = key("mean over pairs, 95 % interval over units", BLUE, marker="o")
    pair = key("a pair of dictionaries", GREY, linestyle="", marker="o", markersize=3.5)
    title_measures(axes, [interval, pair])


def _short(value: float) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= 10 * size or value >= size and value % (size / 10) == 0:
            return f"{value / size:.3g}{letter}"
    return f"{value:g}"
