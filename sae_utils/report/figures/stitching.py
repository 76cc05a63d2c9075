"""Figures B1 to B7 and B15: what larger dictionaries add to smaller ones. Arrays in, artists out."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, SymmetricalLogLocator

from sae_utils.report.figures.names import name_points
from sae_utils.report.figures.parts import (
    Intervals,
    draw_intervals,
    key,
    log_axis,
    mean_and_range,
    offset,
    stacked_bars,
)
from sae_utils.report.figures.style import BLUE, GREEN, GREY, ORANGE, PINK, VERMILION

ARCHITECTURES = {
    "topk": (BLUE, "o", "TopK"),
    "batch_topk": (GREEN, "s", "BatchTopK"),
    "relu": (ORANGE, "^", "ReLU, L1"),
    "jump_relu": (PINK, "D", "JumpReLU"),
    "gated": (GREY, "v", "gated"),
}
KINDS = {
    "identical": (BLUE, "o", "one for one"),
    "split": (ORANGE, "^", "one for several (split)"),
    "merged": (GREEN, "s", "several for one (merged)"),
    "many_to_many": (PINK, "D", "several for several"),
}
PHASES = {
    "insert": (BLUE, "insert novel"),
    "swap": (ORANGE, "swap groups"),
    "remove": (GREEN, "remove lost"),
    "dead": (PINK, "add dead"),
}
INSERTED = {"orphans": ORANGE, "shared": BLUE, "random": GREY}  # between seeds
DOT = {"marker": "o", "linestyle": "none", "markersize": 4}  # a trained SAE at the end of a walk
DARK_PINK = "#A0527D"  # to be read as text
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

    ``change`` is in percent of the smaller SAE's MSE. Thresholds are vertical lines, their names above the axes.
    """
    novel = change < 0
    ax.scatter(*random, s=5, color=GREY, alpha=0.25, linewidths=0)
    kinds = (novel, BLUE, "novel", 0.02, "bottom"), (~novel, VERMILION, "reconstruction", 0.98, "top")
    box = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1}
    beside = {"transform": ax.transAxes, "fontsize": 9, "bbox": box}
    for mask, colour, name, height, side in kinds:
        ax.scatter(cosine[mask], change[mask], s=9, color=colour, alpha=0.6, linewidths=0)
        ax.text(0.02, height, f"{name}: {mask.mean():.0%} of latents", color=colour, va=side, **beside)
    ax.text(0.02, 0.9, "random directions", color="0.35", va="top", **beside)
    ax.axhline(0, color=GREY, linewidth=0.8)
    over = {"transform": ax.get_xaxis_transform(), "ha": "center", "va": "bottom", "fontsize": 8}
    ax.axvline(paper, color="black", linestyle="--", linewidth=1)
    ax.text(paper, 1.01, f"paper's threshold, {paper:g}", **over)
    if np.isfinite(best):
        ax.axvline(best, color=PINK, linewidth=1.4)
        ax.text(best, 1.07, f"best threshold, {best:.2f}", color=DARK_PINK, **over)
    ax.set_yscale("symlog", linthresh=LINEAR)
    ax.yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=LINEAR))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.set(xlabel="largest decoder cosine", xlim=(min(0.0, float(cosine.min())), 1.02))


def roc(
    ax: Axes,
    curves: Mapping[str, Float[np.ndarray, "2 t"]],
    auc: Mapping[str, Sequence[float]],
    marks: Mapping[str, Mapping[str, tuple[float, float]]],
) -> None:
    """ROC of the proxy by architecture; ``marks`` places thresholds on each curve, with their names beside them."""
    points = {}
    for name, (wrong, right) in curves.items():
        colour, marker, label = ARCHITECTURES[name]
        middle, low, high = auc[name]
        ax.plot(wrong, right, color=colour, label=f"{label}: AUC {middle:.2f} ({low:.2f} to {high:.2f})")
        for threshold, point in marks[name].items():
            ax.plot(*point, marker, color=colour, markeredgecolor="black", markersize=7)
            points[f"{label}: cosine {threshold}"] = (*point, "black")
    ax.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="no knowledge")
    ax.set(xlabel="reconstruction latents called novel", ylabel="novel latents called novel")
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    ax.legend(loc="lower right")
    name_points(ax, points, [curve.T for curve in curves.values()], size=8)


def by_width_pair(ax: Axes, labels: Sequence[str], series: Mapping[str, Intervals]) -> None:
    """Numbers by pair of widths, an estimate and its interval of each series.

    A name with "one seed" is drawn hollow, in the colour of the series before it, and all such have one entry in the
    legend; one with "random" is grey.
    """
    x, colour = np.arange(len(labels)), BLUE
    colours = iter((BLUE, ORANGE, GREEN, PINK))
    for i, (name, rows) in enumerate(series.items()):
        hollow, random = "one seed" in name, "random" in name
        colour = GREY if random else colour if hollow else next(colours)
        look = {"mfc": "white"} if hollow else {"label": name}
        draw_intervals(ax, x + offset(i, len(series), 0.12), rows, capsize=2, fmt="o", color=colour, **look)
    if any("one seed" in name for name in series):
        ax.plot([], [], "o", color="black", mfc="white", label="hollow: both of one seed")
    ax.set(xlabel="latents: smaller → larger SAE", xlim=(-0.5, len(labels) - 0.5))
    ax.set_xticks(x, labels)


def swap_kinds(ax: Axes, labels: Sequence[str], counts: Mapping[str, Float[np.ndarray, " pairs"]]) -> None:
    """Groups of each kind by pair of widths, mean over seeds, stacked."""
    stacked_bars(ax, labels, {label: (colour, counts[kind]) for kind, (colour, _, label) in KINDS.items()}, width=0.7)
    ax.set(ylabel="swap groups", xlabel="latents: smaller → larger SAE")


def swap_effects(ax: Axes, effects: Mapping[str, Float[np.ndarray, "n 2"]]) -> None:
    """Change in L0 against change in MSE (percent) when groups of one kind are swapped alone: a point per SAE pair."""
    for kind, (colour, marker, label) in KINDS.items():
        look = {"color": colour, "marker": marker, "edgecolors": "black", "linewidths": 0.4}
        ax.scatter(*effects[kind].reshape(-1, 2).T, s=28, label=label, **look)
    ax.axhline(0, color=GREY, linewidth=0.8)
    ax.axvline(0, color=GREY, linewidth=0.8)
    ax.set(xlabel="change in L0 for a group", ylabel="change in MSE for a group (%)")


def walks(
    axes: Sequence[Axes],
    paths: Sequence[Mapping[str, np.ndarray]],
    recovered: Sequence[Mapping[str, np.ndarray]],
) -> None:
    """FVU, L0 and, at some steps, cross-entropy recovered along walks, against the number of latents.

    Each path has ``n_latents``, ``fvu``, ``l0`` by step and the ``phase`` of each step but the first. Black dots are
    the trained SAEs; ``walk_legend`` names the colours.
    """
    for path in paths:
        for ax, name in zip(axes, ("fvu", "l0"), strict=False):
            _walk(ax, path["n_latents"], path[name], path["phase"])
    for points in recovered:
        n, share = points["n_latents"], points["recovered"]
        axes[2].plot(n, share, color=GREY, linewidth=1, zorder=1)
        axes[2].plot(n, share, "o", color=GREY, markersize=3, zorder=2)
        axes[2].plot(n[[0, -1]], share[[0, -1]], zorder=3, color="black", **DOT)
    for ax, label in zip(axes, ("FVU", "L0", "cross-entropy\nrecovered\n(some steps)"), strict=True):
        ax.set_ylabel(label)
        ax.set_xscale("log", base=2)
        ax.xaxis.set_major_formatter("{x:g}")
        ax.xaxis.set_minor_formatter(NullFormatter())
    log_axis(axes[0].yaxis)
    axes[-1].set_xlabel("latents in the dictionary")


def walk_legend(figure: Figure) -> None:
    """The phases of a walk, and its ends, over all panels."""
    keys = [key(label, colour) for colour, label in PHASES.values()]
    keys.append(key("trained SAE", "black", **DOT))
    figure.legend(handles=keys, loc="outside upper center", ncols=len(keys))


def _walk(
    ax: Axes, n_latents: Float[np.ndarray, " steps"], values: Float[np.ndarray, " steps"], phase: Sequence[str]
) -> None:
    """One walk: each phase in its colour, from where the phase before it ended."""
    for kind, (colour, _) in PHASES.items():
        after = np.flatnonzero(np.asarray(phase) == kind) + 1  # phase[i] leads from point i to point i + 1
        steps = np.append(after[:1] - 1, after)
        ax.plot(n_latents[steps], values[steps], color=colour, linewidth=1.6)
    ax.plot(n_latents[[0, -1]], values[[0, -1]], zorder=3, color="black", **DOT)


def frankenstein(
    axes: Sequence[Axes],
    trained: Float[np.ndarray, "n 3"],
    stages: Float[np.ndarray, "chains n 3"],
    controls: Float[np.ndarray, "c 3"],
) -> None:
    """FVU against the number of latents, and against L0: trained SAEs, Frankenstein's stages, a line for each chain.

    Rows are (latents, L0, FVU). Controls, if there are any, were trained with the latents and near the L0 of a stage.
    """
    for ax, column in zip(axes, (0, 1), strict=True):
        line = "-" if column == 0 else "none"
        for i, stage in enumerate(stages):
            look = {"color": VERMILION, "markersize": 5, "linewidth": 1, "alpha": 0.7}
            ax.plot(stage[:, column], stage[:, 2], "-^", label="" if i else "Frankenstein SAEs", **look)
        ax.plot(trained[:, column], trained[:, 2], "o", linestyle=line, color=BLUE, label="trained family")
        if len(controls):
            look = {"color": "black", "markersize": 5, "markerfacecolor": GREEN}
            ax.plot(controls[:, column], controls[:, 2], "s", label="trained at a stage's latents and L0", **look)
        log_axis(ax.yaxis)
    axes[0].set_xscale("log", base=2)
    axes[0].set_xticks(trained[:, 0], [f"{int(n):,}" for n in trained[:, 0]])
    axes[0].xaxis.set_minor_formatter(NullFormatter())
    axes[0].set(xlabel="latents in the dictionary", ylabel="FVU")
    for n, l0, fvu in stages[0][1:]:
        look = {"xytext": (6, -6), "textcoords": "offset points", "fontsize": 8, "va": "top", "color": VERMILION}
        axes[1].annotate(f"{int(n):,} latents", (l0, fvu), **look)
    axes[1].set(xlabel="L0: active latents per token")
    axes[1].margins(x=0.2, y=0.1)


def lowering_shares(ax: Axes, shares: Mapping[str, tuple[float, float, float]]) -> None:
    """Share of the inserted latents that lower MSE, with intervals, by what is inserted, in ``INSERTED``'s colours."""
    for i, (name, ends) in enumerate(shares.items()):
        colour = next(colour for word, colour in INSERTED.items() if word in name)
        draw_intervals(ax, [i], [ends], fmt="o", color=colour)
        ax.annotate(f"{ends[0]:.1%}", (i, ends[2]), xytext=(0, 5), textcoords="offset points", ha="center", fontsize=8)
    ax.axhline(0.5, color=GREY, linestyle=":", linewidth=1)
    ax.annotate("half", (len(shares) - 0.5, 0.5), xytext=(-2, 3), textcoords="offset points", ha="right", fontsize=8)
    ax.set(ylim=(-0.03, 1.03), xlim=(-0.5, len(shares) - 0.5), ylabel="share whose insertion lowers MSE")
    ax.set_xticks(range(len(shares)), list(shares))


def insertion_curves(
    ax: Axes,
    curves: Mapping[str, tuple[Float[np.ndarray, " n"], Float[np.ndarray, "bases n"]]],
    own: tuple[Float[np.ndarray, " n"], Float[np.ndarray, "bases n"]],
) -> None:
    """Relative change in MSE (percent) against added L0: mean over bases with their range as a band.

    ``curves`` are greedy insertions by what is inserted; ``own`` is the base with more of its own latents active. Each
    is named at its end.
    """
    lines, ends = [], {}
    for name, (l0, change) in (curves | {"base with a larger k": own}).items():
        colour = next((colour for word, colour in INSERTED.items() if word in name), "black")
        mean_and_range(ax, l0, change, colour, linestyle="--" if colour == "black" else "-")
        lines.append(np.stack([l0, change.mean(axis=0)], axis=1))
        ends[name] = (*lines[-1][~np.isnan(lines[-1]).any(axis=1)][-1], colour)
    ax.axhline(0, color=GREY, linewidth=0.8)
    ax.set_yscale("symlog", linthresh=1)  # the best set of orphans changes less than 1 %, all shared latents over 100
    ax.yaxis.set_major_formatter("{x:g}")
    ax.set(xlabel="added L0", ylabel="change in MSE (%)")
    name_points(ax, ends, lines, size=9)
