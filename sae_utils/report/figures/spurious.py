"""Figures of spurious correlation removal: what a biased probe loses, and what ablations give back."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from sae_utils.report.figures.probing import METHODS
from sae_utils.report.figures.style import GREY, estimates_and_errors, legend_above


def before_and_after(
    ax: Axes, settings: Sequence[str], accuracies: Mapping[str, tuple[str, str, Float[np.ndarray, "settings 2"]]]
) -> Axes:
    """Balanced (filled) and worst-group (hollow) accuracy of the probe in each setting.

    ``accuracies`` maps a label to its colour, its marker and the two accuracies by setting.
    """
    y = np.arange(len(settings))[::-1]
    for i, (label, (colour, marker, values)) in enumerate(accuracies.items()):
        shift = y - 0.75 * ((i + 0.5) / len(accuracies) - 0.5)
        ax.hlines(shift, *values.T, color=colour, linewidth=1)
        ax.plot(values[:, 0], shift, marker, color=colour, label=label)
        ax.plot(values[:, 1], shift, marker, color=colour, markerfacecolor="white")
    ax.axvline(0.5, color=GREY, linewidth=0.6)
    ax.set_yticks(y, settings)
    ax.set(xlabel="accuracy: of all groups (filled), of the worst (hollow)", xlim=(-0.02, 1.02))
    ax.set_ylim(-0.5, len(settings) - 0.5)
    legend_above(ax)
    return ax


def score_curves(
    ax: Axes,
    ns: Sequence[float],
    curves: Mapping[str, Float[np.ndarray, "ns 3"]],
    null: Float[np.ndarray, "ns 3"] | None,
    reference: float,
    x_label: str = "latents set to zero",
) -> Axes:
    """S against the number of ablated latents: a line with its interval per method of ``probing_plots.METHODS``.

    ``null`` is that of random latents, a grey band; ``reference``, a line across, that of linear erasure.
    """
    ns = np.asarray(ns, dtype=float)
    if null is not None:
        ax.fill_between(ns, null[:, 1], null[:, 2], color=GREY, alpha=0.25, linewidth=0, label="random latents")
        ax.plot(ns, null[:, 0], color=GREY, linewidth=1)
    ax.axhline(reference, color="black", linestyle="--", linewidth=1, label="LEACE, no dictionary")
    ax.axhline(0, color=GREY, linewidth=0.6)
    for i, (name, rows) in enumerate(curves.items()):
        colour, marker, label = METHODS[name]
        middle, error = estimates_and_errors(rows)
        shift = ns * 1.05 ** (i - (len(curves) - 1) / 2)
        ax.errorbar(shift, middle, yerr=error, fmt=f"{marker}-", color=colour, capsize=2, linewidth=1.2, label=label)
    ax.set_xscale("log")
    ax.set_xticks(ns, [f"{n:g}" for n in ns])
    ax.minorticks_off()
    ax.set(xlabel=x_label, ylabel="score S (1: bias gone, target whole)")
    legend_above(ax)
    return ax
