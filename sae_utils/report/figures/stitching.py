"""Figures B1 to B8: what larger dictionaries add to smaller ones. Arrays in, artists out."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter, SymmetricalLogLocator

from sae_utils.report.figures.parts import (
    Intervals,
    draw_intervals,
    legend_above,
    log_axis,
    mean_and_range,
    offset,
    stacked_bars,
)
from sae_utils.report.figures.style import BLUE, GREEN, GREY, ORANGE, PINK

ARCHITECTURES = {
    "topk": (BLUE, "o", "TopK"),
    "batch_topk": (GREEN, "s", "BatchTopK"),
    "relu": (ORANGE, "^", "ReLU, L1"),
    "jump_relu": (PINK, "D", "JumpReLU"),
    "gated": (GREY, "v", "gated"),
}
KINDS = {
    "identical": (BLUE, "one for one"),
    "split": (ORANGE, "one for several (split)"),
    "merged": (GREEN, "several for one (merged)"),
    "many_to_many": (PINK, "several for several"),
}
PHASES = {"insert": (BLUE, "insert novel"), "swap": (ORANGE, "swap groups"), "remove": (GREEN, "remove lost")}
DOT = {"marker": "o", "linestyle": "none", "color": "black", "markersize": 4}  # a trained SAE at the end of a walk
LINEAR = 0.1  # percent of the MSE to which the scale of its change is linear; beyond it is logarithmic


def cosine_and_change(
    ax: Axes,
    cosine: Float[np.ndarray, " n"],
    change: Float[np.ndarray, " n"],
    random: tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]],
    best: float,
    paper: float,
) -> None:
    """Max decoder cosine against relative change in MSE, a point per latent; grey: random directions.

    ``change`` is in percent of the smaller SAE's MSE. Thresholds are vertical lines.
    """
    novel = change < 0
    ax.scatter(*random, s=5, color=GREY, alpha=0.25, linewidths=0, label="random directions")
    for mask, colour, label in ((novel, BLUE, "novel"), (~novel, ORANGE, "reconstruction")):
        text = f"{label} ({mask.mean():.0%})"
        ax.scatter(cosine[mask], change[mask], s=9, color=colour, alpha=0.6, linewidths=0, label=text)
    ax.axhline(0, color=GREY, linewidth=0.8)
    ax.axvline(paper, color="black", linestyle="--", linewidth=1, label=f"paper's threshold, {paper:g}")
    if np.isfinite(best):
        ax.axvline(best, color=PINK, linewidth=1.4, label=f"best threshold, {best:.2f}")
    ax.set_yscale("symlog", linthresh=LINEAR)
    ax.yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=LINEAR))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.set(xlabel="largest decoder cosine", xlim=(min(0.0, float(cosine.min())), 1.02))
    legend_above(ax, 1, fontsize="small")


def roc(
    ax: Axes,
    curves: Mapping[str, Float[np.ndarray, "2 t"]],
    auc: Mapping[str, Sequence[float]],
    marks: Mapping[str, Mapping[str, tuple[float, float]]],
) -> None:
    """ROC of the proxy by architecture; ``marks`` places thresholds on each curve, by their label."""
    shapes = dict(zip(next(iter(marks.values()), ()), "XPD", strict=False))
    for name, (wrong, right) in curves.items():
        colour, _, label = ARCHITECTURES[name]
        middle, low, high = auc[name]
        ax.plot(wrong, right, color=colour, label=f"{label}: AUC {middle:.2f} ({low:.2f} to {high:.2f})")
        for threshold, point in marks[name].items():
            ax.plot(*point, shapes[threshold], color=colour, markeredgecolor="black", markersize=7)
    for threshold, shape in shapes.items():
        ax.plot([], [], shape, color="white", markeredgecolor="black", label=threshold)
    ax.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="no knowledge")
    ax.set(xlabel="reconstruction latents called novel", ylabel="novel latents called novel")
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    ax.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))


def by_width_pair(ax: Axes, labels: Sequence[str], series: Mapping[str, Intervals]) -> None:
    """Numbers by pair of widths, an estimate and its interval of each series.

    A name with "one seed" is drawn hollow, in the colour of the series before it; one with "random" in grey.
    """
    x, colour = np.arange(len(labels)), BLUE
    colours = iter((BLUE, ORANGE, GREEN, PINK))
    for i, (name, rows) in enumerate(series.items()):
        hollow, random = "one seed" in name, "random" in name
        colour = GREY if random else colour if hollow else next(colours)
        look = {"mfc": "white"} if hollow else {}
        draw_intervals(ax, x + offset(i, len(series), 0.12), rows, capsize=2, fmt="o", color=colour, label=name, **look)
    ax.set(xlabel="latents: smaller → larger SAE", xlim=(-0.5, len(labels) - 0.5))
    ax.set_xticks(x, labels)


def swap_kinds(ax: Axes, labels: Sequence[str], counts: Mapping[str, Float[np.ndarray, " pairs"]]) -> None:
    """Groups of each kind by pair of widths, mean over seeds, stacked."""
    stacked_bars(ax, labels, {label: (colour, counts[kind]) for kind, (colour, label) in KINDS.items()}, width=0.7)
    ax.set(ylabel="swap groups", xlabel="latents: smaller → larger SAE")
    legend_above(ax)


def swap_effects(ax: Axes, effects: Mapping[str, Float[np.ndarray, "n 2"]]) -> None:
    """Change in L0 against change in MSE (percent) when groups of one kind are swapped alone: a point per SAE pair."""
    for kind, (colour, label) in KINDS.items():
        ax.scatter(*effects[kind].reshape(-1, 2).T, color=colour, s=24, label=label)
    ax.axhline(0, color=GREY, linewidth=0.8)
    ax.axvline(0, color=GREY, linewidth=0.8)
    ax.set(xlabel="change in L0", ylabel="change in MSE (%)")


def walks(
    axes: Sequence[Axes],
    paths: Sequence[Mapping[str, np.ndarray]],
    recovered: Sequence[Mapping[str, np.ndarray]],
) -> None:
    """FVU, L0 and, at some steps, cross-entropy recovered along walks, against the number of latents.

    Each path has ``n_latents``, ``fvu``, ``l0`` by step and the ``phase`` of each step but the first. Black dots are
    the trained SAEs.
    """
    for path in paths:
        for ax, name in zip(axes, ("fvu", "l0"), strict=False):
            _walk(ax, path["n_latents"], path[name], path["phase"])
    for points in recovered:
        n, share = points["n_latents"], points["recovered"]
        axes[2].plot(n, share, color=GREY, linewidth=1, zorder=1)
        axes[2].plot(n, share, "o", color=GREY, markersize=3, zorder=2)
        axes[2].plot(n[[0, -1]], share[[0, -1]], zorder=3, **DOT)
    for colour, label in PHASES.values():
        axes[0].plot([], [], color=colour, label=label)
    axes[0].plot([], [], label="trained SAE", **DOT)
    legend_above(axes[0])
    for ax, label in zip(axes, ("FVU", "L0", "cross-entropy\nrecovered"), strict=True):
        ax.set_ylabel(label)
        ax.set_xscale("log", base=2)
        ax.xaxis.set_major_formatter("{x:g}")
        ax.xaxis.set_minor_formatter(NullFormatter())
    axes[0].set_yscale("log")
    axes[0].yaxis.set_major_formatter("{x:g}")
    axes[0].yaxis.set_minor_formatter("{x:.2g}")
    axes[-1].set_xlabel("latents in the dictionary")


def _walk(
    ax: Axes, n_latents: Float[np.ndarray, " steps"], values: Float[np.ndarray, " steps"], phase: Sequence[str]
) -> None:
    """One walk: each phase in its colour, from where the phase before it ended."""
    for kind, (colour, _) in PHASES.items():
        after = np.flatnonzero(np.asarray(phase) == kind) + 1  # phase[i] leads from point i to point i + 1
        steps = np.append(after[:1] - 1, after)
        ax.plot(n_latents[steps], values[steps], color=colour, linewidth=1.6)
    ax.plot(n_latents[[0, -1]], values[[0, -1]], zorder=3, **DOT)


def plane(
    ax: Axes,
    trained: Float[np.ndarray, "n 3"],
    stages: Mapping[str, Sequence[Float[np.ndarray, "n 3"]]],
    controls: Mapping[str, Float[np.ndarray, "n 3"]],
) -> None:
    """L0 against FVU. Rows are (latents, L0, FVU): trained family, Frankenstein stages by chain, controls.

    Stages and controls by architecture; controls were trained with the latents and near the L0 of a stage, if any were.
    """
    ax.plot(trained[:, 1], trained[:, 2], "o", color=BLUE, label="trained, widths of the family")
    _label_points(ax, trained, (-6, 0), "right")
    for (name, chains), colour in zip(stages.items(), (ORANGE, PINK), strict=False):
        for i, stage in enumerate(chains):
            look = {"alpha": 0.4} if i else {"alpha": 0.9, "label": f"Frankenstein, {name}"}
            ax.plot(stage[:, 1], stage[:, 2], "-^", color=colour, markersize=5, linewidth=1, **look)
        _label_points(ax, chains[0][1:], (5, 4), "left")
        if len(controls[name]):
            ax.plot(*controls[name][:, 1:].T, "s", color=colour, label="trained at its latents, near its L0")
    log_axis(ax.yaxis)
    ax.set(xlabel="L0", ylabel="FVU")
    ax.margins(x=0.1)
    legend_above(ax, 1)


def _label_points(ax: Axes, rows: Float[np.ndarray, "n 3"], shift: tuple[float, float], side: str) -> None:
    """The number of latents beside each point of the plane."""
    look = {"xytext": shift, "textcoords": "offset points", "fontsize": 7, "ha": side, "va": "center"}
    for n, l0, fvu in rows:
        ax.annotate(f"{int(n)}", (l0, fvu), **look)


def lowering_shares(ax: Axes, shares: Mapping[str, tuple[float, float, float]]) -> None:
    """Share of the inserted latents that lower MSE, with intervals, by what is inserted; grey: random directions."""
    for i, (name, ends) in enumerate(shares.items()):
        draw_intervals(ax, [i], [ends], fmt="o", color=GREY if "random" in name else BLUE)
    ax.axhline(0.5, color=GREY, linestyle=":", linewidth=1)
    ax.set(ylim=(-0.03, 1.03), xlim=(-0.5, len(shares) - 0.5), ylabel="share whose insertion lowers MSE")
    ax.set_xticks(range(len(shares)), list(shares))


def insertion_curves(
    ax: Axes,
    curves: Mapping[str, tuple[Float[np.ndarray, " n"], Float[np.ndarray, "bases n"]]],
    own: tuple[Float[np.ndarray, " n"], Float[np.ndarray, "bases n"]],
) -> None:
    """Relative change in MSE (percent) against added L0: mean over bases with their range as a band.

    ``curves`` are greedy insertions by what is inserted; ``own`` is the base with more of its own latents active.
    """
    for (name, (l0, change)), colour in zip(curves.items(), (BLUE, ORANGE, PINK), strict=False):
        mean_and_range(ax, l0, change, colour, label=name)
    mean_and_range(ax, *own, GREY, label="base with a larger k")
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set_yscale("symlog", linthresh=1)  # the best set of orphans changes less than 1 %, all shared latents over 100
    ax.yaxis.set_major_formatter("{x:g}")
    ax.set(xlabel="added L0", ylabel="change in MSE (%)")
    legend_above(ax, 1)
