"""Figures A1 to A6: what dictionaries share that differ only in their seed. Arrays in, artists out."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sae_utils.report.figures.names import name_points
from sae_utils.report.figures.parts import Intervals, draw_intervals, key, legend_above, mean_and_range, rows_from_top
from sae_utils.report.figures.style import BLUE, GREEN, GREY, ORANGE, PINK

CURVES = {"strict": (BLUE, "strict"), "notebook": (ORANGE, "authors' notebook"), "max_cosine": (GREEN, "max cosine")}
# Line style of a null, by where its directions point.
NULLS = {
    "uniform": (":", "random, uniform"),
    "activations": ("--", "random, as activations"),
    "decoders": ("-.", "random, as decoders"),
}
# By whether the decoder's cosine and the encoder's are above the threshold.
CORNERS = {(0, 0): "neither", (0, 1): "encoder only", (1, 0): "decoder only", (1, 1): "both"}
MANY_POINTS = 4000  # latents: of more, each is a smaller dot
LAWS = (
    ("power law with a floor", BLUE, "-"),
    ("power law without", PINK, "-."),
    ("a chance for each latent", ORANGE, "--"),
)
LAW_NAMES = [label for label, _, _ in LAWS]

METRIC = "in the metric of the data"  # how encoders are compared; published numbers are of raw rows


class Shown(NamedTuple):
    """How a criterion is shown, and what was published by it for a real language model (PAPERS.md A.4, B.3, C.5, E)."""

    label: str
    colour: str  # by what it measures
    published: float
    source: str  # C: computed from the authors' files


CRITERIA = {
    "shared_strict": Shown("one partner, both cosines (A, strict)", BLUE, 0.414, "A [C]"),
    "shared_notebook": Shown("both matched cosines (A, notebook)", BLUE, 0.4159, "A [R]"),
    "shared_max_cosine": Shown("both largest cosines (A, notebook)", BLUE, 0.4209, "A [R]"),
    "shared_decoder_only": Shown("matched decoder cosine (A, bars)", BLUE, 0.548, "A [R]"),
    "shared_max_decoder": Shown("largest decoder cosine (B)", BLUE, 0.94, "B [R2]"),
    "decoder_cosine": Shown("mean matched decoder cosine (Song)", ORANGE, 0.80, "Song [R2]"),
    "stability": Shown("mean largest decoder cosine (C)", ORANGE, 0.204, "C [R2]"),
    "agree": Shown("both matchings agree (A)", GREEN, 0.7929, "A [R]"),
    "cycle_decoder": Shown("three-seed cycle, decoders", GREEN, 0.523, "A [C]"),
    "cycle_encoder": Shown("three-seed cycle, encoders", GREEN, 0.521, "A [C]"),
    "cycle_agreeing": Shown("three-seed cycle where both agree", GREEN, 0.782, "A [C]"),
}
NULL_BAR = {"linewidth": 4, "markersize": 3, "solid_capstyle": "butt"}  # a mark, for one of no length is not seen
MEASURES = {BLUE: "share of\nlatents\nabove 0.7", ORANGE: "mean\ncosine", GREEN: "share of\nlatents,\nno threshold"}


def matched_cosines(
    fig: Figure,
    decoder: Float[np.ndarray, " n"],
    encoder: Float[np.ndarray, " n"],
    agree: Bool[np.ndarray, " n"],
    threshold: float,
) -> None:
    """Decoder against encoder cosine of matched latents, by whether both matchings name one partner, and histograms.

    Latents without a partner (NaN) are left out. The dashed lines are the threshold; in each corner is the share of the
    latents that lie on this side of both.
    """
    axes = fig.subplot_mosaic([["top", "."], ["main", "right"]], width_ratios=[4, 1], height_ratios=[1, 4])
    main, top, right = axes["main"], axes["top"], axes["right"]
    top.sharex(main)
    right.sharey(main)
    has = ~np.isnan(decoder) & ~np.isnan(encoder)
    decoder, encoder, agree = decoder[has], encoder[has], agree[has]
    low = min(0.0, np.floor(10 * min(decoder.min(), encoder.min())) / 10)
    groups, colours = (agree, ~agree), (BLUE, ORANGE)
    for mask, colour, label in zip(groups, colours, ("same partner", "different partners"), strict=True):
        text = f"{label} ({mask.mean():.0%})"
        size = 9 if len(agree) <= MANY_POINTS else 1
        main.scatter(decoder[mask], encoder[mask], s=size, alpha=0.6, linewidths=0, color=colour, label=text)
    bins = np.linspace(low, 1, 41)
    top.hist([decoder[mask] for mask in groups], bins, stacked=True, color=colours)
    right.hist([encoder[mask] for mask in groups], bins, stacked=True, color=colours, orientation="horizontal")
    for line in (main.axvline, main.axhline):
        line(threshold, color=GREY, linestyle="--", linewidth=1)
    _shares_in_corners(main, decoder > threshold, encoder > threshold, (low + 0.02, threshold + 0.02), (low + 0.02, 1))
    main.set(xlim=(low, 1.02), ylim=(low, 1.02), xlabel="decoder cosine to the matched latent")
    main.set_ylabel(f"encoder cosine to the matched latent\n({METRIC})")
    top.set_ylabel("latents")
    right.set_xlabel("latents")
    top.tick_params(labelbottom=False)
    right.tick_params(labelleft=False)
    handles, labels = main.get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper left", ncols=2, markerscale=2)


def _shares_in_corners(ax: Axes, decoder: Bool[np.ndarray, " n"], encoder: Bool[np.ndarray, " n"], left, y) -> None:
    """How many latents are above the threshold by both cosines, by one, and by none."""
    paper = {"boxstyle": "square,pad=0.15", "facecolor": "white", "alpha": 0.8, "linewidth": 0}
    for x, by_decoder in zip(left, (False, True), strict=True):
        for at, by_encoder in zip(y, (False, True), strict=True):
            share = ((decoder == by_decoder) & (encoder == by_encoder)).mean()
            text = f"{CORNERS[by_decoder, by_encoder]}: {share:.0%}"
            ax.text(x, at, text, va="top" if by_encoder else "bottom", fontsize=8, bbox=paper)


def threshold_curves(
    ax: Axes,
    thresholds: Float[np.ndarray, " t"],
    curves: Mapping[str, Float[np.ndarray, "pairs t"]],
    nulls: Mapping[str, Float[np.ndarray, " t"]],
    threshold: float,
) -> None:
    """Shared fraction against threshold, a colour per criterion: mean over pairs, and their range as a band.

    ``nulls`` maps a kind of random dictionary (``<one of NULLS>_<tied or independent>``) to its curve; of each source
    the larger is drawn.
    """
    keys, lines, middles = [], [], {}
    for criterion, values in curves.items():
        colour, label = CURVES[criterion]
        mean_and_range(ax, thresholds, values, colour, linewidth=1.8)
        keys.append(key(label, colour))
        lines += [np.stack([thresholds, curve], axis=1) for curve in (values.min(axis=0), values.max(axis=0))]
    for source, (style, label) in NULLS.items():
        largest = np.max([curve for kind, curve in nulls.items() if kind.startswith(source)], axis=0)
        ax.plot(thresholds, largest, style, color=GREY, linewidth=1.2)
        lines.append(np.stack([thresholds, largest], axis=1))
        middles[label] = (*lines[-1][np.argmin(abs(largest - 0.5))], "0.35")
    ax.axvline(threshold, color=GREY, linewidth=0.8)
    ax.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="share of latents called shared")
    ax.set(xlabel=f"threshold on the cosine (upright line: {threshold:g})\n(encoders: {METRIC})")
    legend_above(ax, 3, handles=keys)
    name_points(ax, middles, lines, size=8)


def criteria_side_by_side(
    ax: Axes,
    names: Sequence[str],
    alive: Intervals,
    every: Intervals,
    raw: Float[np.ndarray, " criteria"],
    nulls: Mapping[str, Float[np.ndarray, " criteria"]],
) -> None:
    """A row per criterion: estimate with interval, the same with dead latents, the nulls, and the published number.

    ``alive`` leaves dead latents out, ``every`` does not; the latter is drawn where it differs. ``raw``: the estimate
    with raw encoder rows, drawn where it differs. ``nulls`` is by kind; a grey bar goes from the smallest to the
    largest. Beside the axes stands what each colour measures.
    """
    y = rows_from_top(ax, [CRITERIA[name].label for name in names])
    some_dead = not np.array_equal(alive, every, equal_nan=True)
    of_nulls = np.array(list(nulls.values()))
    for i, name in enumerate(names):
        colour, values = CRITERIA[name].colour, of_nulls[:, i][~np.isnan(of_nulls[:, i])]
        if len(values):
            ax.plot([values.min(), values.max()], [y[i] - 0.25] * 2, "s-", color=GREY, **NULL_BAR)
        if some_dead:
            ax.plot(every[i, 0], y[i] + 0.1, "|", color=colour, markersize=11)
        draw_intervals(ax, [y[i] + 0.1], alive[i : i + 1], across=True, fmt="o", color=colour)
        if not np.isclose(raw[i], alive[i][0], rtol=1e-9, equal_nan=True):
            ax.plot(raw[i], y[i] - 0.1, "x", color=colour, markersize=5)
        ax.plot(CRITERIA[name].published, y[i] + 0.1, "D", color="black", markersize=4)
    ax.hlines(y[:-1] - 0.5, 0, 1, color=GREY, linewidth=0.3)
    ax.set(xlim=(-0.02, 1.03), xlabel=f"share of latents, or mean cosine\n(encoders: {METRIC})")
    ax.tick_params(axis="y", length=0)
    _name_measures(ax, y, [CRITERIA[name].colour for name in names])
    dead = [key("with dead latents", "black", marker="|", markersize=11, linestyle="")] if some_dead else []
    keys = [
        key("these dictionaries", "black", marker="o", linestyle=""),
        *dead,
        key("with raw encoder rows", "black", marker="x", markersize=5, linestyle=""),
        key("published, of another model", "black", marker="D", markersize=4, linestyle=""),
        key("random dictionaries of six kinds", GREY, **NULL_BAR),
    ]
    ax.figure.legend(handles=keys, loc="outside upper left", ncols=3)


def _name_measures(ax: Axes, y: Float[np.ndarray, " rows"], colours: Sequence[str]) -> None:
    """On the right, what the rows of one colour measure."""
    for colour, label in MEASURES.items():
        rows = [at for at, own in zip(y, colours, strict=True) if own == colour]
        if rows:
            ax.plot([1.02] * 2, [min(rows) - 0.4, max(rows) + 0.4], color=colour, linewidth=3, clip_on=False)
            ax.text(1.04, np.mean(rows), label, color=colour, va="center", ha="left")


def membership(ax: Axes, shares: Intervals, null: Float[np.ndarray, " S"]) -> None:
    """Share of latents in exactly 1 to S dictionaries: bars with intervals, random dictionaries as a mark on each."""
    n = np.arange(1, len(shares) + 1)
    ax.bar(n, shares[:, 0], width=0.7, color=BLUE, label="trained dictionaries")
    draw_intervals(ax, n, shares, fmt="none", ecolor="black", elinewidth=1)
    ax.hlines(null, n - 0.45, n + 0.45, color=GREY, linewidth=2, label="random directions")
    ax.set(xlabel="number of dictionaries that a latent is found in", ylabel="share of latents", ylim=(0, None))
    ax.set_xticks(n)
    legend_above(ax)


def only_in_one(
    ax: Axes,
    shares: Intervals,
    null: Float[np.ndarray, " points"],
    curve: Float[np.ndarray, "4 x"] | None = None,
    n_held_out: int = 0,
) -> None:
    """Share found in one dictionary only against their number, n = 2 and up, with three laws.

    The dotted line is what the first share would fall to if every dictionary found latents independently. ``curve``
    holds x, the law with a floor and the two without, None where none was fitted; ``n_held_out`` is how many points, at
    the end, they were not fitted to. ``null``, of random dictionaries, is drawn where the points are, and else said.
    """
    n = np.arange(2, 2 + len(shares))
    top, end = 1.2 * shares[:, 2].max() or 1.0, n[-1] + 0.4  # 1 where no latent is alone
    draw_intervals(ax, n, shares, fmt="o", color="black", markersize=4, label="measured")
    ax.plot(n, shares[0, 0] ** (n - 1), ":", color="black", label="if each found independently")
    if curve is not None:
        x, *laws = curve
        end = x[-1]
        for law, (label, colour, style) in zip(laws, LAWS, strict=True):
            ax.plot(x, law, style, color=colour, label=label)
        _name_laws(ax, end, [law[-1] for law in laws], top / 14)
    if n_held_out:
        parted = n[-n_held_out] - 0.5
        ax.axvline(parted, color=GREY, linewidth=0.8)
        ax.text(parted - 0.2, top / 2, "fitted to", ha="right", color=GREY, fontsize=9)
        ax.text(parted + 0.2, top / 2, "to predict", ha="left", color=GREY, fontsize=9)
    if null.min() < top:
        ax.plot(n, null, "s", color=GREY, markersize=4, label="random directions")
    else:
        ax.set_title(f"of random directions {null.min():.2f}, which is above this axis", color=GREY, fontsize=9)
    ax.set(xlim=(1.6, end), ylim=(0, top), xlabel="number of dictionaries", ylabel="share found in one only")
    ax.set_xticks(np.arange(2, int(end) + 1, 2 if end > 8 else 1))
    shown = [handle for handle in ax.get_legend_handles_labels()[0] if handle.get_label() not in LAW_NAMES]
    ax.legend(handles=shown, loc="upper right")


def _name_laws(ax: Axes, x: float, ends: Sequence[float], least: float) -> None:
    """The laws' names right of their ends, ``least`` apart or more."""
    last = -np.inf
    for at in np.argsort(ends):
        last = max(ends[at], last + least)
        label, colour, _ = LAWS[at]
        ax.annotate(label, (x, last), (4, 0), textcoords="offset points", color=colour, va="center", fontsize=9)


def pairwise(ax: Axes, shares: Float[np.ndarray, "S S"], mean: Float[np.ndarray, " 3"], what: str) -> None:
    """A share for each pair of dictionaries, as a point over the one whose latents are counted, on a scale from 0 to 1.

    ``mean`` is that of all pairs with the ends of its interval: a line and a band. The black marks are the means of
    each dictionary's pairs.
    """
    seeds = np.arange(len(shares))
    estimate, low, high = mean
    words = f"mean of all: {estimate:.3f} ({low:.3f} to {high:.3f})"
    for seed, row in enumerate(shares):
        others = row[~np.isnan(row)]
        across = seed + 0.5 * (np.arange(len(others)) / max(1, len(others) - 1) - 0.5)
        ax.plot(across, others, "o", color=ORANGE, markersize=4, label="one pair" if seed == 0 else None)
    ax.hlines(np.nanmean(shares, axis=1), seeds - 0.3, seeds + 0.3, color="black", label="mean of a seed's pairs")
    ax.axhspan(low, high, color=BLUE, alpha=0.3, linewidth=0, zorder=0, label=words)
    ax.axhline(estimate, color=BLUE, linewidth=1, zorder=0)
    ax.set(xlabel="seed (whose latents are counted)", ylabel=what, ylim=(0, 1), xlim=(-0.6, len(seeds) - 0.4))
    ax.set_xticks(seeds)
    legend_above(ax)
