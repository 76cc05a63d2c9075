"""Figures A1 to A3: how much do two dictionaries share that differ only in their seed? Arrays in, artists out."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sae_utils.report.figures.style import BLUE, GREEN, GREY, ORANGE, estimates_and_errors, legend_above

AGREE, DIFFER = "same partner", "different partners"
CURVES = {"strict": (BLUE, "strict"), "notebook": (ORANGE, "authors' notebook"), "max_cosine": (GREEN, "max cosine")}
# Line style and marker of a null, by where its directions point.
NULLS = {
    "uniform": (":", "s", "random, uniform"),
    "activations": ("--", "^", "random, as activations"),
    "decoders": ("-.", "v", "random, as decoders"),
}


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


def joint_axes(fig: Figure) -> tuple[Axes, Axes, Axes]:
    """Axes for a scatter with its marginal histograms: main, top, right."""
    axes = fig.subplot_mosaic([["top", "."], ["main", "right"]], width_ratios=[4, 1], height_ratios=[1, 4])
    axes["top"].sharex(axes["main"])
    axes["right"].sharey(axes["main"])
    return axes["main"], axes["top"], axes["right"]


def matched_cosines(
    axes: tuple[Axes, Axes, Axes],
    decoder: Float[np.ndarray, " n"],
    encoder: Float[np.ndarray, " n"],
    agree: Bool[np.ndarray, " n"],
    threshold: float,
) -> Axes:
    """Decoder against encoder cosine of matched latents, coloured by whether both matchings name one partner.

    Latents without a partner (NaN) are left out. The dashed lines are the threshold.
    """
    main, top, right = axes
    has = ~np.isnan(decoder) & ~np.isnan(encoder)
    decoder, encoder, agree = decoder[has], encoder[has], agree[has]
    low = min(0.0, np.floor(10 * min(decoder.min(), encoder.min())) / 10)
    groups = [(agree, BLUE, AGREE), (~agree, ORANGE, DIFFER)]
    for mask, colour, label in groups:
        text = f"{label} ({mask.mean():.0%})"
        main.scatter(decoder[mask], encoder[mask], s=9, alpha=0.6, linewidths=0, color=colour, label=text)
    bins = np.linspace(low, 1, 41)
    colours = [colour for _, colour, _ in groups]
    top.hist([decoder[mask] for mask, _, _ in groups], bins, stacked=True, color=colours)
    right.hist([encoder[mask] for mask, _, _ in groups], bins, stacked=True, color=colours, orientation="horizontal")
    main.axvline(threshold, color=GREY, linestyle="--", linewidth=1)
    main.axhline(threshold, color=GREY, linestyle="--", linewidth=1)
    main.set(xlim=(low, 1.02), ylim=(low, 1.02))
    main.set(xlabel="decoder cosine to the matched latent", ylabel="encoder cosine to the matched latent")
    top.set_ylabel("latents")
    right.set_xlabel("latents")
    top.tick_params(labelbottom=False)
    right.tick_params(labelleft=False)
    main.legend(loc="upper left")
    return main


def threshold_curves(
    ax: Axes,
    thresholds: Float[np.ndarray, " t"],
    curves: Mapping[str, Float[np.ndarray, "pairs t"]],
    nulls: Mapping[str, Float[np.ndarray, " t"]],
    threshold: float,
) -> Axes:
    """Shared fraction against threshold, a colour per criterion: mean over pairs, and their range as a band.

    ``nulls`` maps a kind of random dictionary (``<one of NULLS>_<tied or independent>``) to its curve; of each source
    the larger is drawn.
    """
    for criterion, values in curves.items():
        colour = CURVES[criterion][0]
        ax.fill_between(thresholds, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.2, linewidth=0)
        ax.plot(thresholds, values.mean(axis=0), color=colour, linewidth=1.8)
    for source, (style, _, _) in NULLS.items():
        largest = np.max([curve for kind, curve in nulls.items() if kind.startswith(source)], axis=0)
        ax.plot(thresholds, largest, style, color=GREY, linewidth=1.2)
    ax.axvline(threshold, color=GREY, linewidth=0.8)
    ax.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="threshold on the cosine", ylabel="share of latents called shared")
    keys = [Line2D([], [], color=CURVES[c][0], label=CURVES[c][1]) for c in curves]
    keys += [
        Line2D([], [], color=GREY, linestyle=style, linewidth=1.2, label=label) for style, _, label in NULLS.values()
    ]
    legend_above(ax, handles=keys)
    return ax


def criteria_side_by_side(
    ax: Axes,
    names: Sequence[str],
    alive: Float[np.ndarray, "criteria 3"],
    every: Float[np.ndarray, "criteria 3"],
    nulls: Mapping[str, Float[np.ndarray, " criteria"]],
) -> Axes:
    """A row per criterion: estimate with interval, the same with dead latents, the nulls, and the published number.

    ``alive`` and ``every`` hold estimate, low and high without and with dead latents; the latter is drawn where it
    differs. ``nulls`` is by kind. A tied null is filled, an independent one hollow.
    """
    y = np.arange(len(names))[::-1]
    for kind, values in nulls.items():
        source, _, encoder = kind.partition("_")
        face = GREY if encoder == "tied" else "none"
        ax.plot(values, y - 0.22, NULLS[source][1], color=GREY, mfc=face, markersize=4.5)
    some_dead = not np.array_equal(alive, every, equal_nan=True)
    for i, name in enumerate(names):
        colour = CRITERIA[name].colour
        for rows, shift, face in [(every, 0.3, "white")] * some_dead + [(alive, 0.1, colour)]:
            middle, error = estimates_and_errors(rows[i : i + 1])
            ax.errorbar(middle, [y[i] + shift], xerr=error, fmt="o", color=colour, mfc=face, capsize=3)
        ax.plot(CRITERIA[name].published, y[i] + 0.1, "D", color="black", markersize=4, mfc="white")
    ax.hlines(y[:-1] - 0.5, 0, 1, color=GREY, linewidth=0.3)
    ax.set(xlim=(-0.02, 1.03), ylim=(-0.6, len(names) - 0.4), xlabel="share of latents, or mean cosine")
    ax.set_yticks(y, [CRITERIA[name].label for name in names])
    ax.tick_params(axis="y", length=0)
    ax.figure.legend(handles=_criteria_keys(some_dead), loc="outside upper left", ncols=3)
    return ax


def _criteria_keys(some_dead: bool) -> list[Line2D]:
    keys = [Line2D([], [], color=c, marker="o", linestyle="", label=label) for c, label in MEASURES.items()]
    if some_dead:
        keys.append(Line2D([], [], color=BLUE, marker="o", mfc="white", linestyle="", label="with dead latents"))
    keys.append(Line2D([], [], color="black", marker="D", mfc="white", markersize=4, linestyle="", label="published"))
    for _, marker, label in NULLS.values():
        keys.append(Line2D([], [], color=GREY, marker=marker, markersize=4.5, linestyle="", label=label))
    return keys
