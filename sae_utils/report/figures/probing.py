"""Figures of sparse probing: how well do one, two or five latents tell a concept? Arrays in, artists out."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from sae_utils.report.figures.style import BLUE, GREEN, GREY, ORANGE, PINK, estimates_and_errors, legend_above

# Colour, marker and label of every kind of dictionary; both figures of probing and of debiasing use them.
METHODS = {
    "single": (BLUE, "o", "single SAE"),
    "bagging": (ORANGE, "s", "naive bagging"),
    "boosting": (GREEN, "^", "boosting"),
    "expanded": (PINK, "D", "expanded SAE"),
    "expanded, total L0": ("#882255", "X", "expanded SAE, total L0"),
    "seeds": ("#D55E00", "P", "single SAE of notebook 01"),
    "consensus": ("#56B4E9", "v", "consensus of those"),
}
FLOORS = {  # dash pattern and label
    "random_latents": ("--", "random latents of a trained SAE"),
    "untrained": (":", "best latents of an untrained SAE"),
    "raw": ("-.", "best dimensions of the activations"),
}


def accuracy_by_k(
    ax: Axes,
    ks: Sequence[int],
    intervals: Mapping[str, Float[np.ndarray, "ks 3"]],
    floors: Mapping[str, Float[np.ndarray, " ks"]],
    ceiling: float,
    majority: float,
) -> Axes:
    """Mean accuracy over tasks against k: a point with its interval (estimate, low, high) per method of ``METHODS``.

    ``floors`` are drawn as short lines, ``ceiling`` (a probe on the whole activations) and ``majority`` across.
    """
    x = np.arange(len(ks))
    ax.axhline(ceiling, color=GREY, linewidth=1.6, label="all raw activations")
    for name, values in floors.items():
        style, label = FLOORS[name]
        ax.hlines(values, x - 0.42, x + 0.42, color=GREY, linestyle=style, linewidth=1.4, label=label)
    ax.axhline(majority, color=GREY, linewidth=0.6, label="majority class")
    for i, (name, rows) in enumerate(intervals.items()):
        colour, marker, label = METHODS[name]
        shift = x + 0.7 * ((i + 0.5) / len(intervals) - 0.5)
        middle, error = estimates_and_errors(rows)
        ax.errorbar(shift, middle, yerr=error, fmt=marker, color=colour, capsize=2.5, label=label)
    ax.set_xticks(x, [f"{k} latent{'s' * (k > 1)}" for k in ks])
    ax.set(xlim=(-0.5, len(ks) - 0.5), ylabel="test accuracy, mean over tasks")
    legend_above(ax)
    return ax


def accuracy_by_task(
    ax: Axes,
    tasks: Sequence[str],
    intervals: Mapping[str, Float[np.ndarray, "tasks 3"]],
    floor: Float[np.ndarray, " tasks"],
    ceiling: Float[np.ndarray, " tasks"],
) -> Axes:
    """Accuracy on each task, easiest on top, a point with its interval per method; between grey floor and ceiling."""
    order = np.argsort(ceiling)
    y = np.arange(len(tasks))
    ax.barh(y, (ceiling - floor)[order], 0.9, floor[order], color="#E8E8E8", label="random latents to all activations")
    for i, (name, rows) in enumerate(intervals.items()):
        colour, marker, label = METHODS[name]
        middle, error = estimates_and_errors(rows[order])
        shift = y - 0.76 * ((i + 0.5) / len(intervals) - 0.5)
        ax.errorbar(middle, shift, xerr=error, fmt=marker, color=colour, markersize=4, elinewidth=1, label=label)
    ax.axvline(0.5, color=GREY, linewidth=0.6)
    ax.set_yticks(y, [tasks[i] for i in order])
    ax.set(xlabel="test accuracy with one latent", ylim=(-0.6, len(tasks) - 0.4))
    legend_above(ax)
    return ax


def differences(ax: Axes, rows: Mapping[str, Float[np.ndarray, "ks 3"]], ks: Sequence[int]) -> Axes:
    """Gains in accuracy over a single SAE, with intervals: an entry of ``rows`` per line, a colour per k."""
    colours = (BLUE, ORANGE, GREEN, PINK)
    y = np.arange(len(rows))[::-1]
    for i, k in enumerate(ks):
        middle, error = estimates_and_errors([values[i] for values in rows.values()])
        shift = y - 0.6 * ((i + 0.5) / len(ks) - 0.5)
        label = f"{k} latent{'s' * (k > 1)}"
        ax.errorbar(middle, shift, xerr=error, fmt="o", color=colours[i % 4], capsize=2.5, label=label)
    ax.axvline(0, color=GREY, linewidth=0.8)
    ax.set_yticks(y, rows)
    ax.set(xlabel="accuracy less that of a single SAE", ylim=(-0.6, len(rows) - 0.4))
    ax.locator_params(axis="x", nbins=6)
    legend_above(ax, ncols=len(ks))
    return ax
