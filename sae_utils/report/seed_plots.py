"""Figures of paper A: how much do two dictionaries share that differ only in their seed? Arrays in, artists out."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sae_utils.report.plots import BLUE, GREEN, GREY, ORANGE, PINK

AGREE, DIFFER = "same partner", "different partners"
LABELS = {
    "strict": "strict",
    "notebook": "authors' notebook",
    "decoder_only": "decoder only",
    "max_cosine": "max cosine",
}
COLOURS = {"strict": BLUE, "notebook": ORANGE, "decoder_only": PINK, "max_cosine": GREEN}
NULLS = {"tied": ("--", "random, encoder = decoder"), "independent": (":", "random, encoder independent")}


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
    nulls: Mapping[str, Mapping[str, Float[np.ndarray, "draws t"]]],
    threshold: float,
) -> Axes:
    """Shared fraction against threshold, a colour per criterion: mean over pairs, and their range as a band.

    ``nulls`` maps a kind of random dictionary (``NULLS``) to curves like ``curves``, drawn broken in the same colours.
    """

    def draw(values: Float[np.ndarray, "rows t"], colour: str, style: str, width: float) -> None:
        ax.fill_between(thresholds, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.2, linewidth=0)
        ax.plot(thresholds, values.mean(axis=0), style, color=colour, linewidth=width)

    for criterion, values in curves.items():
        draw(values, COLOURS[criterion], "-", 1.8)
        for kind, (style, _) in NULLS.items():
            draw(nulls[kind][criterion], COLOURS[criterion], style, 1.0)
    ax.axvline(threshold, color=GREY, linewidth=0.8)
    ax.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="threshold on the cosine", ylabel="share of latents called shared")
    keys = [Line2D([], [], color=COLOURS[c], label=LABELS[c]) for c in curves]
    keys += [Line2D([], [], color=GREY, linestyle=style, linewidth=1, label=label) for style, label in NULLS.values()]
    _legend_above(ax, handles=keys)
    return ax


def shared_fractions(
    ax: Axes,
    criteria: Sequence[str],
    groups: Mapping[str, Float[np.ndarray, "criteria 3"]],
    null: Float[np.ndarray, " criteria"],
) -> Axes:
    """Shared fraction by criterion: a point with its interval per group, and the null as a grey bar.

    ``groups`` maps a label ("dead latents excluded") to estimate, low and high for each criterion. ``null`` is the
    largest value that random dictionaries reached.
    """
    x = np.arange(len(criteria))
    ax.hlines(null, x - 0.3, x + 0.3, color=GREY, linewidth=2, label="random directions, largest")
    for i, (label, rows) in enumerate(groups.items()):
        middle, low, high = rows.T
        shift = x + 0.16 * (i - (len(groups) - 1) / 2)
        face = BLUE if i == 0 else "white"
        ax.errorbar(
            shift, middle, yerr=[middle - low, high - middle], fmt="o", color=BLUE, mfc=face, capsize=3, label=label
        )
    top = max(0.05, *(float(rows.max()) for rows in groups.values()), float(null.max()))
    ax.set(ylim=(-0.03 * top, min(1.02, 1.1 * top)), ylabel="share of latents called shared")
    ax.set_xticks(x, [LABELS[c].replace(" ", "\n", 1) for c in criteria])
    ax.set_xlim(-0.5, len(criteria) - 0.5)
    _legend_above(ax)
    return ax


def _legend_above(ax, **options) -> None:
    """A legend over the axes, since data may be anywhere in them."""
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2, **options)
