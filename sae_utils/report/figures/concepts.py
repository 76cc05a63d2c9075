"""Figures C8 to C12: sparse probing, and what ablations take from a biased probe. Arrays in, artists out."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from sae_utils.report.figures.parts import Intervals, draw_intervals, legend_above, offset, rows_from_top
from sae_utils.report.figures.style import BLACK, BLUE, GREEN, GREY, ORANGE, PINK, SKY, VERMILION

# Colour, marker and label of every kind of dictionary, in the figures of probing and of debiasing.
METHODS = {
    "single": (PINK, "D", "single SAE"),
    "frozen decoder": (VERMILION, "X", "frozen decoder"),
    "bagging": (BLUE, "o", "naive bagging"),
    "boosting": (ORANGE, "s", "boosting"),
    "expanded": (GREEN, "^", "expanded SAE"),
    "expanded, total L0": (SKY, "v", "expanded, total L0"),
    "erased": (BLACK, "*", "LEACE"),
}
FLOORS = {
    "untrained": "untrained SAE",
    "raw": "activations' dimensions",
    "random_latents": "random latents",
}
BAR = "#E8E8E8"


def accuracy_by_k(
    axes: Sequence[Axes],
    ks: Sequence[int],
    intervals: Mapping[str, Intervals],
    floors: Mapping[str, Float[np.ndarray, " ks"]],
    ceiling: float,
    majority: float,
) -> None:
    """Mean accuracy over tasks, one of the ``axes`` for each k: a row per method, a point with its interval.

    Below are ``floors``, grey and without an interval. Lines from top to bottom: ``ceiling`` (a probe on the whole
    activations), ``majority``, and, dotted, the first method.
    """
    rows = [*(METHODS[name][2] for name in intervals), *(FLOORS[name] for name in floors)]
    for i, (ax, k) in enumerate(zip(axes, ks, strict=True)):
        y = rows_from_top(ax, rows)
        for place, (name, values) in zip(y, intervals.items(), strict=False):
            colour, marker, _ = METHODS[name]
            draw_intervals(ax, [place], values[i : i + 1], across=True, capsize=2.5, fmt=marker, color=colour)
        ax.plot([values[i] for values in floors.values()], y[len(intervals) :], "|", color=GREY, markersize=11, mew=2)
        ax.axvline(next(iter(intervals.values()))[i, 0], color=GREY, linestyle=":", linewidth=1, zorder=0)
        for place, words, side in ((ceiling, "all activations", "right"), (majority, "majority", "left")):
            beside = {"xytext": (1 if side == "left" else -1, 3), "textcoords": "offset points", "ha": side}
            look = {"rotation": 90, "va": "bottom", "fontsize": 8, "color": GREY}
            ax.axvline(place, color=GREY, linewidth=1, zorder=0)
            ax.annotate(words, (place, 0), xycoords=("data", "axes fraction"), **beside, **look)
        ax.set(xlabel="test accuracy", title=_latents(k))


def _latents(k: int) -> str:
    return f"{k} latent{'s' * (k > 1)}"


def by_row(
    axes: Sequence[Axes],
    rows: Sequence[str],
    methods: Mapping[str, Float[np.ndarray, "rows 3"] | Float[np.ndarray, " rows"]],
    start: Float[np.ndarray, " rows"],
    end: Float[np.ndarray, " rows"],
) -> None:
    """Accuracies, one of the ``axes`` for each method of ``METHODS``: a point a row, with an interval if it has one.

    A grey bar in each row reaches from ``start`` to ``end``; a short line is the first method, for comparison.
    """
    first = np.asarray(next(iter(methods.values())))
    first = first[:, 0] if first.ndim == 2 else first
    for ax, (name, values) in zip(axes, methods.items(), strict=True):
        colour, marker, label = METHODS[name]
        y = rows_from_top(ax, [str(row).replace("_", " ") for row in rows])
        ax.barh(y, end - start, 0.8, start, color=BAR)
        if ax is not axes[0]:
            ax.plot(first, y, "|", color=METHODS[next(iter(methods))][0], markersize=8, mew=1.2)
        if np.ndim(values) == 2:
            draw_intervals(ax, y, values, across=True, capsize=0, fmt=marker, color=colour, markersize=4, elinewidth=1)
        else:
            ax.plot(values, y, marker, color=colour)
        ax.axvline(0.5, color=GREY, linewidth=0.6)
        ax.set_title(label, fontsize=9, color=colour)


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


def score_curves(
    ax: Axes,
    ns: Sequence[float],
    method: str,
    curves: Mapping[str, Intervals],
    null: Intervals | None,
    reference: float,
) -> None:
    """S of one of ``METHODS`` against the number of ablated latents: a line with its interval per entry of ``curves``.

    The first is whole, the next is dotted. ``null`` is that of random latents, a grey band; ``reference``, a line
    across, that of linear erasure.
    """
    ns, (colour, marker, title) = np.asarray(ns, dtype=float), METHODS[method]
    if null is not None:
        ax.fill_between(ns, null[:, 1], null[:, 2], color=GREY, alpha=0.4, linewidth=0, label="random latents")
    ax.axhline(reference, color=BLACK, linestyle="--", linewidth=1, label="LEACE, no dictionary")
    ax.axhline(0, color=GREY, linewidth=0.6)
    for i, ((label, rows), line) in enumerate(zip(curves.items(), ("-", ":"), strict=False)):
        at = ns * 1.1 ** offset(i, len(curves), 1)
        draw_intervals(ax, at, rows, capsize=2, marker=marker, linestyle=line, color=colour, markersize=4, label=label)
    ax.set_xscale("log")
    ax.set_xticks(ns, [f"{n:g}" for n in ns])
    ax.minorticks_off()
    ax.set_title(title, fontsize=10, color=colour)
