"""Figures C8 to C12: sparse probing, and what ablations take from a biased probe. Arrays in, artists out."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from sae_utils.report.figures.parts import Intervals, draw_intervals, legend_above, offset, rows_from_top
from sae_utils.report.figures.style import BLUE, GREEN, GREY, ORANGE, PINK, SKY

# Colour, marker and label of every kind of dictionary, in the figures of probing and of debiasing.
METHODS = {
    "single": (BLUE, "o", "single SAE"),
    "bagging": (ORANGE, "s", "naive bagging"),
    "boosting": (GREEN, "^", "boosting"),
    "expanded": (PINK, "D", "expanded SAE"),
    "expanded, total L0": ("#882255", "X", "expanded SAE, total L0"),
    "frozen decoder": (SKY, "v", "single SAE, frozen decoder"),
}
FLOORS = {  # dash pattern and label
    "random_latents": ("--", "random latents of a trained SAE"),
    "untrained": (":", "best latents of an untrained SAE"),
    "raw": ("-.", "best dimensions of the activations"),
}


def accuracy_by_k(
    ax: Axes,
    ks: Sequence[int],
    intervals: Mapping[str, Intervals],
    floors: Mapping[str, Float[np.ndarray, " ks"]],
    ceiling: float,
    majority: float,
) -> None:
    """Mean accuracy over tasks against k: a point with its interval per method of ``METHODS``.

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
        at = x + offset(i, len(intervals), 0.7 / len(intervals))
        draw_intervals(ax, at, rows, capsize=2.5, fmt=marker, color=colour, label=label)
    ax.set_xticks(x, [_latents(k) for k in ks])
    ax.set(xlim=(-0.5, len(ks) - 0.5), ylabel="test accuracy, mean over tasks")
    legend_above(ax)


def _latents(k: int) -> str:
    return f"{k} latent{'s' * (k > 1)}"


def accuracy_by_task(
    ax: Axes,
    tasks: Sequence[str],
    intervals: Mapping[str, Intervals],
    floor: Float[np.ndarray, " tasks"],
    ceiling: Float[np.ndarray, " tasks"],
) -> None:
    """Accuracy on each task, easiest on top, a point with its interval per method; between grey floor and ceiling."""
    order, y = np.argsort(ceiling), np.arange(len(tasks))
    ax.barh(y, (ceiling - floor)[order], 0.9, floor[order], color="#E8E8E8", label="random latents to all activations")
    for i, (name, rows) in enumerate(intervals.items()):
        colour, marker, label = METHODS[name]
        at = y - offset(i, len(intervals), 0.76 / len(intervals))
        look = {"fmt": marker, "color": colour, "markersize": 4, "elinewidth": 1, "label": label}
        draw_intervals(ax, at, rows[order], across=True, capsize=0, **look)
    ax.axvline(0.5, color=GREY, linewidth=0.6)
    ax.set_yticks(y, [tasks[i] for i in order])
    ax.set(xlabel="test accuracy with one latent", ylim=(-0.6, len(tasks) - 0.4))
    legend_above(ax)


def differences(ax: Axes, rows: Mapping[str, Intervals], ks: Sequence[int]) -> None:
    """Gains in accuracy over a single SAE, with intervals: an entry of ``rows`` per line, a colour per k."""
    colours = (BLUE, ORANGE, GREEN, PINK)
    y = rows_from_top(ax, list(rows))
    for i, k in enumerate(ks):
        at, look = y - offset(i, len(ks), 0.6 / len(ks)), {"color": colours[i % 4], "label": _latents(k)}
        draw_intervals(ax, at, [values[i] for values in rows.values()], across=True, capsize=2.5, fmt="o", **look)
    ax.axvline(0, color=GREY, linewidth=0.8)
    ax.set_xlabel("accuracy less that of a single SAE")
    ax.locator_params(axis="x", nbins=6)
    legend_above(ax, ncols=len(ks))


def before_and_after(
    ax: Axes, settings: Sequence[str], accuracies: Mapping[str, tuple[str, str, Float[np.ndarray, "settings 2"]]]
) -> None:
    """Balanced (filled) and worst-group (hollow) accuracy of the probe in each setting.

    ``accuracies`` maps a label to its colour, its marker and the two accuracies by setting.
    """
    y = rows_from_top(ax, settings, margin=0.5)
    for i, (label, (colour, marker, values)) in enumerate(accuracies.items()):
        at = y - offset(i, len(accuracies), 0.75 / len(accuracies))
        ax.hlines(at, *values.T, color=colour, linewidth=1)
        ax.plot(values[:, 0], at, marker, color=colour, label=label)
        ax.plot(values[:, 1], at, marker, color=colour, markerfacecolor="white")
    ax.axvline(0.5, color=GREY, linewidth=0.6)
    ax.set(xlabel="accuracy: of all groups (filled), of the worst (hollow)", xlim=(-0.02, 1.02))
    legend_above(ax)


def score_curves(
    ax: Axes,
    ns: Sequence[float],
    curves: Mapping[str, Intervals],
    null: Intervals | None,
    reference: float,
    x_label: str,
) -> None:
    """S against the number of ablated latents: a line with its interval per method of ``METHODS``.

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
        at = ns * 1.05 ** offset(i, len(curves), 1)
        draw_intervals(ax, at, rows, capsize=2, fmt=f"{marker}-", color=colour, linewidth=1.2, label=label)
    ax.set_xscale("log")
    ax.set_xticks(ns, [f"{n:g}" for n in ns])
    ax.minorticks_off()
    ax.set(xlabel=x_label, ylabel="score S (1: bias gone, target whole)")
    legend_above(ax)
