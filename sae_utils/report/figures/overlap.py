"""Figures A1 to A6: what dictionaries share that differ only in their seed. Arrays in, artists out."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import seaborn
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from sae_utils.report.figures.parts import Intervals, draw_intervals, key, legend_above, mean_and_range, rows_from_top
from sae_utils.report.figures.style import BLUE, GREEN, GREY, ORANGE, PINK

CURVES = {"strict": (BLUE, "strict"), "notebook": (ORANGE, "authors' notebook"), "max_cosine": (GREEN, "max cosine")}
# Line style and marker of a null, by where its directions point.
NULLS = {
    "uniform": (":", "s", "random, uniform"),
    "activations": ("--", "^", "random, as activations"),
    "decoders": ("-.", "v", "random, as decoders"),
}


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
MEASURES = {BLUE: "share of latents above 0.7", ORANGE: "mean cosine", GREEN: "share of latents, no threshold"}


def matched_cosines(
    fig: Figure,
    decoder: Float[np.ndarray, " n"],
    encoder: Float[np.ndarray, " n"],
    agree: Bool[np.ndarray, " n"],
    threshold: float,
) -> None:
    """Decoder against encoder cosine of matched latents, by whether both matchings name one partner, and histograms.

    Latents without a partner (NaN) are left out. The dashed lines are the threshold.
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
        main.scatter(decoder[mask], encoder[mask], s=9, alpha=0.6, linewidths=0, color=colour, label=text)
    bins = np.linspace(low, 1, 41)
    top.hist([decoder[mask] for mask in groups], bins, stacked=True, color=colours)
    right.hist([encoder[mask] for mask in groups], bins, stacked=True, color=colours, orientation="horizontal")
    main.axvline(threshold, color=GREY, linestyle="--", linewidth=1)
    main.axhline(threshold, color=GREY, linestyle="--", linewidth=1)
    main.set(xlim=(low, 1.02), ylim=(low, 1.02))
    main.set(xlabel="decoder cosine to the matched latent")
    main.set(ylabel=f"encoder cosine to the matched latent\n({METRIC})")
    top.set_ylabel("latents")
    right.set_xlabel("latents")
    top.tick_params(labelbottom=False)
    right.tick_params(labelleft=False)
    main.legend(loc="upper left")


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
    keys = []
    for criterion, values in curves.items():
        colour, label = CURVES[criterion]
        mean_and_range(ax, thresholds, values, colour, linewidth=1.8)
        keys.append(key(label, colour))
    for source, (style, _, label) in NULLS.items():
        largest = np.max([curve for kind, curve in nulls.items() if kind.startswith(source)], axis=0)
        ax.plot(thresholds, largest, style, color=GREY, linewidth=1.2)
        keys.append(key(label, GREY, linestyle=style, linewidth=1.2))
    ax.axvline(threshold, color=GREY, linewidth=0.8)
    ax.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="share of latents called shared")
    ax.set(xlabel=f"threshold on the cosine (encoders: {METRIC})")
    legend_above(ax, handles=keys)


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
    with raw encoder rows, drawn where it differs. ``nulls`` is by kind. A tied null is filled, an independent one is
    hollow.
    """
    y = rows_from_top(ax, [CRITERIA[name].label for name in names])
    for kind, values in nulls.items():
        source, _, encoder = kind.partition("_")
        face = GREY if encoder == "tied" else "none"
        ax.plot(values, y - 0.22, NULLS[source][1], color=GREY, mfc=face, markersize=4.5)
    some_dead = not np.array_equal(alive, every, equal_nan=True)
    for i, name in enumerate(names):
        look = {"across": True, "fmt": "o", "color": CRITERIA[name].colour}
        if some_dead:
            draw_intervals(ax, [y[i] + 0.3], every[i : i + 1], mfc="white", **look)
        draw_intervals(ax, [y[i] + 0.1], alive[i : i + 1], **look)
        if not np.isclose(raw[i], alive[i][0], rtol=1e-9, equal_nan=True):
            ax.plot(raw[i], y[i] + 0.1, "x", color=CRITERIA[name].colour, markersize=5)
        ax.plot(CRITERIA[name].published, y[i] + 0.1, "D", color="black", markersize=4, mfc="white")
    ax.hlines(y[:-1] - 0.5, 0, 1, color=GREY, linewidth=0.3)
    ax.set(xlim=(-0.02, 1.03), xlabel=f"share of latents, or mean cosine\n(encoders: {METRIC})")
    ax.tick_params(axis="y", length=0)
    ax.figure.legend(handles=_criteria_keys(some_dead), loc="outside upper left", ncols=3)


def _criteria_keys(some_dead: bool) -> list[Line2D]:
    keys = [key(label, colour, marker="o", linestyle="") for colour, label in MEASURES.items()]
    if some_dead:
        keys.append(key("with dead latents", BLUE, marker="o", mfc="white", linestyle=""))
    keys.append(key("raw encoder rows", "black", marker="x", markersize=5, linestyle=""))
    keys.append(key("published", "black", marker="D", mfc="white", markersize=4, linestyle=""))
    return keys + [key(label, GREY, marker=m, markersize=4.5, linestyle="") for _, m, label in NULLS.values()]


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
    the end, they were not fitted to, which are hollow.
    """
    n = np.arange(2, 2 + len(shares))
    end = n[-1] + 0.4
    if curve is not None:
        x, law, bare, chances = curve
        end = x[-1]
        ax.plot(x, law, color=BLUE, label="power law with a floor")
        ax.plot(x, bare, color=PINK, linestyle="-.", label="power law without")
        ax.plot(x, chances, color=ORANGE, linestyle="--", label="a chance for each latent, no floor")
    fitted = len(n) - n_held_out
    draw_intervals(ax, n[:fitted], shares[:fitted], fmt="o", color="black", label="measured")
    if n_held_out:
        draw_intervals(
            ax, n[fitted:], shares[fitted:], fmt="o", color="black", mfc="white", label="measured, to predict"
        )
    ax.plot(n, shares[0, 0] ** (n - 1), ":", color="black", label="if each found independently")
    ax.plot(n, null, "s", color=GREY, markersize=4, label="random directions")
    ax.set(xlim=(1.6, end), ylim=(0, 1.05), xlabel="number of dictionaries", ylabel="share found in one only")
    ax.set_xticks(np.arange(2, int(end) + 1, 2))
    legend_above(ax)


def pairwise(ax: Axes, shares: Float[np.ndarray, "S S"], what: str) -> None:
    """A share for each pair of dictionaries, row by row as seen from the row's; the diagonal stays empty."""
    bar = {"label": what, "format": PercentFormatter(1, decimals=0), "shrink": 0.85}
    text = {"annot": True, "fmt": ".2f", "annot_kws": {"fontsize": 8}}
    seaborn.heatmap(shares, ax=ax, cmap="cividis", square=True, cbar_kws=bar, **text)
    ax.set(xlabel="seed", ylabel="seed (whose latents are counted)")
