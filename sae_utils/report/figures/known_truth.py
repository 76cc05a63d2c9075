"""Figures D1 to D7: agreement, novelty and ensembles against features that are known. Arrays in, artists out."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from sae_utils.report.figures.parts import (
    Intervals,
    draw_intervals,
    draw_shares,
    in_names,
    legend_above,
    rows_from_top,
    stacked_bars,
)
from sae_utils.report.figures.style import BLUE, GREEN, GREY, ORANGE, PINK, SKY, VERMILION

COLOURS = {
    "independent": BLUE,
    "zipf": SKY,
    "copula": GREEN,
    "pairs": ORANGE,
    "hierarchy": VERMILION,
    "circles": PINK,
}
NULL = "null"
PARTS = {"atom": BLUE, "composite": VERMILION, "tile": PINK, "other": "#CCCCCC"}
APART = 0.08  # of the y axis: least distance between two labels


def footer(p: object, *more: str) -> str:
    """What figures of made worlds are of, by notebook 10's parameters; ``more``: what else one figure is to say."""
    worlds = f"made worlds: {p.n_atoms} atoms in {p.n_dimensions} dimensions"
    return " · ".join([worlds, f"L0 {p.atom_l0:g}", f"{p.n_world_tokens:,} tokens", f"{p.n_world_seeds} seeds", *more])


def calibration(ax: Axes, curves: Mapping[str, Float[np.ndarray, " S"]], null: Float[np.ndarray, " S"]) -> None:
    """Share of latents that are atoms against the number of dictionaries that they are found in, by kind of world."""
    counts = np.arange(1, len(null) + 1)
    ax.plot(counts, null, ":", color=GREY)
    for kind, shares in curves.items():
        ax.plot(counts, shares, "o-", color=COLOURS[kind], markersize=4, clip_on=False)
    ax.set(xticks=counts, ylim=(0, 1))
    ax.yaxis.set_major_formatter(PercentFormatter(1))


def label_ends(ax: Axes, curves: Mapping[str, Float[np.ndarray, " S"]]) -> None:
    """Each curve's kind beside its end, no two closer than APART; a curve without a value has no label."""
    there = {kind: shares[~np.isnan(shares)] for kind, shares in curves.items()}
    ends = sorted(((float(shares[-1]), kind) for kind, shares in there.items() if len(shares)), reverse=True)
    at = 2.0
    for end, kind in ends:
        at = min(end, at - APART)
        ax.annotate(kind, (1.03, at), xycoords="axes fraction", color=COLOURS.get(kind, GREY), va="center")


def what_latents_are(
    ax: Axes, shares: Mapping[str, Mapping[str, Float[np.ndarray, " widths"]]], labels: Sequence[str]
) -> None:
    """Bars of atoms, composites, tiles and others among the latents of each kind of world, a bar for each width.

    ``shares`` has for each kind the share of each of PARTS, and ``recall``, which is drawn as a diamond.
    """
    pooled = {name: np.concatenate([of_kind[name] for of_kind in shares.values()]) for name in (*PARTS, "recall")}
    starts = (len(labels) + 1) * np.arange(len(shares))
    x = (starts[:, None] + np.arange(len(labels))).ravel()
    stacked_bars(ax, x, {name: (colour, pooled[name]) for name, colour in PARTS.items()}, width=0.8)
    words = "recall: share of the features that are found"
    ax.plot(x, pooled["recall"], "kD", markersize=4, label=words, clip_on=False)
    ax.set_xticks(x, len(shares) * list(labels))
    for start, kind in zip(starts, shares, strict=True):
        middle = start + (len(labels) - 1) / 2
        ax.annotate(kind, (middle, -0.12), xycoords=("data", "axes fraction"), ha="center", va="top")
    ax.set(ylim=(0, 1), ylabel="share of the latents")
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    legend_above(ax, ncols=3)


def against_k(ax: Axes, ratio: Float[np.ndarray, " k"], curves: Mapping[str, Intervals], ylabel: str) -> None:
    """A share against k over the true L0, by kind of world, with intervals over seeds."""
    for kind, rows in curves.items():
        draw_intervals(ax, ratio, rows, color=COLOURS[kind], marker="o", markersize=4, label=kind)
    ax.set(xlabel="active latents k / true L0", ylabel=ylabel, ylim=(-0.02, 1.02), xticks=ratio)
    ax.xaxis.set_major_formatter("{x:.2g}")
    ax.yaxis.set_major_formatter(PercentFormatter(1))


def conditions(ax: Axes, rows: Mapping[str, Intervals], labels: Sequence[str], xlabel: str) -> None:
    """A share under each condition, a row each, by kind of world."""
    y = rows_from_top(ax, [in_names(label) for label in labels])
    for i, (kind, intervals) in enumerate(rows.items()):
        look = {"color": COLOURS[kind], "marker": "o", "linestyle": "none", "markersize": 4, "label": kind}
        draw_intervals(ax, y + 0.12 - 0.24 * i, intervals, across=True, **look)
    ax.set(xlabel=xlabel, xlim=(-0.02, 1.02))
    ax.xaxis.set_major_formatter(PercentFormatter(1))


def missing_and_named(ax: Axes, missing: Intervals, named: Intervals, labels: Sequence[str]) -> None:
    """What the smaller dictionary lacks, and what insertion calls novel, a row for each pair of dictionaries."""
    _in_rows(ax, missing, named, labels, draw_shares)
    ax.set(xlabel="share of the larger dictionary's atoms", xlim=(-0.02, 1.02))
    ax.xaxis.set_major_formatter(PercentFormatter(1))
    legend_above(ax, ncols=1)


def change_of_error(ax: Axes, missing: Intervals, named: Intervals, labels: Sequence[str]) -> None:
    """What inserting either set at once does to the smaller dictionary's error."""
    _in_rows(ax, missing, named, labels, partial(draw_intervals, across=True, linestyle="none"))
    ax.axvline(0, color=GREY, linewidth=0.8)
    ax.set(xlabel="change of the mean squared error")
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))


def _in_rows(ax: Axes, missing: Intervals, named: Intervals, labels: Sequence[str], draw: Callable[..., None]) -> None:
    y = rows_from_top(ax, [in_names(label) for label in labels])
    draw(ax, y + 0.12, missing, color=BLUE, marker="o", markersize=5, label="missing in the smaller dictionary")
    draw(ax, y - 0.12, named, color=ORANGE, marker="s", markersize=5, label="novel by insertion")


def recall_and_precision(ax: Axes, points: Mapping[str, tuple[str, Float[np.ndarray, "r 2"]]], title: str) -> None:
    """Each ensemble's recall of atoms and precision, by method; ``points`` maps a label to its colour and points."""
    for marker, (label, (colour, at)) in zip("osD^", points.items(), strict=False):
        ax.plot(*at.T, marker, color=colour, markersize=5, label=label, clip_on=False)
    ax.set(xlim=(0, 1), ylim=(0, 1), xlabel="recall: atoms that are found", ylabel="precision: latents that are atoms")
    ax.set_title(title)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(PercentFormatter(1))


def against_observable(
    ax: Axes,
    points: Mapping[str, Float[np.ndarray, "n 2"]],
    real: tuple[float, float, float] | None,
    xlabel: str,
    name: str = "",
) -> None:
    """P(atom | found in all) against something seen without the truth, a point for each stack, by kind of world.

    ``real``: the same with its interval for a language model's dictionaries, a line and a band under their ``name``.
    """
    for kind, at in points.items():
        ax.plot(*at.T, "o", color=COLOURS[kind], markersize=5, label=kind, clip_on=False, zorder=3)
    if real is not None:
        ax.axvline(real[0], color=GREY, linewidth=1)
        ax.axvspan(real[1], real[2], color=GREY, alpha=0.2, linewidth=0)
        ax.annotate(name, (real[0], 1.02), xycoords=("data", "axes fraction"), ha="center", color=GREY)
    ax.set(xlabel=xlabel, ylim=(-0.02, 1.02))
    ax.yaxis.set_major_formatter(PercentFormatter(1))
