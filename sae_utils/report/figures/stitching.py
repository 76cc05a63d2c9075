"""Figures of paper B on stitching: what larger dictionaries add to smaller ones. Arrays in, artists out."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter, SymmetricalLogLocator

from sae_utils.report.figures.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PINK,
    estimates_and_errors,
    legend_above,
    log_axis,
)

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


def cosine_and_change(
    ax: Axes,
    cosine: Float[np.ndarray, " n"],
    change: Float[np.ndarray, " n"],
    random: tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]],
    best: float,
    paper: float,
    linear: float = 0.1,
) -> Axes:
    """Max decoder cosine against relative change in MSE, a point per latent; grey: random directions.

    ``change`` is in percent of the smaller SAE's MSE, on a scale that is linear to ``linear`` and logarithmic beyond.
    Thresholds are vertical lines.
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
    ax.set_yscale("symlog", linthresh=linear)
    ax.yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=linear))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.set(xlabel="largest decoder cosine", xlim=(min(0.0, float(cosine.min())), 1.02))
    legend_above(ax, 1, fontsize="small")
    return ax


def roc(
    ax: Axes,
    curves: Mapping[str, Float[np.ndarray, "2 t"]],
    auc: Mapping[str, tuple[float, float, float]],
    marks: Mapping[str, Mapping[str, tuple[float, float]]],
) -> Axes:
    """ROC of the proxy by architecture; ``marks`` places thresholds on each curve, by their label."""
    shapes = dict(zip(next(iter(marks.values())), "XPD", strict=False))
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
    return ax


def shares_by_width(
    ax: Axes,
    labels: Sequence[str],
    shares: Mapping[str, Float[np.ndarray, "pairs 3"]],
    null: Float[np.ndarray, " pairs"],
    paper: float | None = None,
) -> Axes:
    """Share of novel latents by pair of widths: estimate and interval by architecture, and the null in grey.

    A name that ends in " same seed" is drawn hollow, in its architecture's colour.
    """
    x = np.arange(len(labels))
    for i, (name, rows) in enumerate(shares.items()):
        architecture, same = name.removesuffix(" same seed"), name.endswith(" same seed")
        colour, marker, label = ARCHITECTURES[architecture]
        middle, error = estimates_and_errors(rows)
        at = x + 0.1 * (i - (len(shares) - 1) / 2)
        text = f"{label}, narrow and wide of one seed" if same else label
        face = "white" if same else colour
        ax.errorbar(at, middle, error, fmt=marker, color=colour, mfc=face, capsize=2, label=text)
    ax.hlines(null, x - 0.35, x + 0.35, color=GREY, linewidth=2, label="random directions")
    if paper is not None:
        ax.axhline(paper, color="black", linestyle="--", linewidth=1, label=f"paper, {paper:.2f}")
    ax.set(ylim=(-0.03, 1.03), xlabel="latents: smaller → larger SAE")
    ax.set_xticks(x, labels)
    return ax


def swap_kinds(ax: Axes, labels: Sequence[str], counts: Mapping[str, Float[np.ndarray, " pairs"]]) -> Axes:
    """Groups of each kind by pair of widths, mean over seeds, stacked."""
    bottom = np.zeros(len(labels))
    for kind, (colour, label) in KINDS.items():
        ax.bar(labels, counts[kind], bottom=bottom, color=colour, label=label, width=0.7)
        bottom = bottom + counts[kind]
    ax.set(ylabel="swap groups", xlabel="latents: smaller → larger SAE")
    legend_above(ax)
    return ax


def swap_effects(ax: Axes, effects: Mapping[str, Float[np.ndarray, "n 2"]]) -> Axes:
    """Change in L0 against change in MSE (percent) when groups of one kind are swapped alone: a point per SAE pair."""
    for kind, (colour, label) in KINDS.items():
        points = np.asarray(effects[kind]).reshape(-1, 2)
        ax.scatter(points[:, 0], points[:, 1], color=colour, s=24, label=label)
    ax.axhline(0, color=GREY, linewidth=0.8)
    ax.axvline(0, color=GREY, linewidth=0.8)
    ax.set(xlabel="change in L0", ylabel="change in MSE (%)")
    return ax


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
        phase = np.append(path["phase"][:1], path["phase"])
        for ax, name in zip(axes, ("fvu", "l0"), strict=False):
            for kind, (colour, _) in PHASES.items():
                steps = np.flatnonzero(phase == kind)
                steps = np.append(steps[0] - 1, steps) if len(steps) and steps[0] else steps
                ax.plot(path["n_latents"][steps], path[name][steps], color=colour, linewidth=1.6)
            for end in (0, -1):
                ax.plot(path["n_latents"][end], path[name][end], "o", color="black", markersize=4, zorder=3)
    for points in recovered:
        axes[2].plot(points["n_latents"], points["recovered"], color=GREY, linewidth=1, zorder=1)
        axes[2].plot(points["n_latents"], points["recovered"], "o", color=GREY, markersize=3, zorder=2)
        for end in (0, -1):
            axes[2].plot(points["n_latents"][end], points["recovered"][end], "o", color="black", markersize=4, zorder=3)
    for colour, label in PHASES.values():
        axes[0].plot([], [], color=colour, label=label)
    axes[0].plot([], [], "o", color="black", markersize=4, label="trained SAE")
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


def plane(
    ax: Axes,
    trained: Float[np.ndarray, "n 3"],
    stages: Mapping[str, Sequence[Float[np.ndarray, "n 3"]]],
    controls: Mapping[str, Float[np.ndarray, "n 3"]],
) -> Axes:
    """L0 against FVU. Rows are (latents, L0, FVU): trained family, Frankenstein stages by chain, controls.

    Stages and controls by the threshold that made them; a control was trained with the latents and the L0 of one, and
    there may be none.
    """
    ax.plot(trained[:, 1], trained[:, 2], "o", color=BLUE, label="trained, widths of the family")
    for (name, chains), colour in zip(stages.items(), (ORANGE, PINK), strict=False):
        for i, stage in enumerate(chains):
            ax.plot(stage[:, 1], stage[:, 2], "-^", color=colour, markersize=5, linewidth=1,
                    alpha=0.4 if i else 0.9, label=None if i else f"Frankenstein, {name}")  # fmt: skip
        if len(controls[name]):
            l0, fvu = controls[name][:, 1:].T
            ax.plot(l0, fvu, "s", color=colour, label="trained at its latents and L0")
    for rows, shift in ((trained, (-6, 0)), *((chains[0][1:], (5, 4)) for chains in stages.values())):
        for n, l0, fvu in rows:
            ax.annotate(f"{int(n)}", (l0, fvu), xytext=shift, textcoords="offset points", fontsize=7,
                        ha="right" if shift[0] < 0 else "left", va="center")  # fmt: skip
    log_axis(ax.yaxis)
    ax.set(xlabel="L0", ylabel="FVU")
    ax.margins(x=0.1)
    legend_above(ax, 1)
    return ax


def lowering_shares(ax: Axes, shares: Mapping[str, tuple[float, float, float]]) -> Axes:
    """Share of the inserted latents that lower MSE, with intervals, by what is inserted; grey: random directions."""
    for i, (name, ends) in enumerate(shares.items()):
        colour = GREY if "random" in name else BLUE
        ax.errorbar(i, *estimates_and_errors([ends]), fmt="o", color=colour, capsize=3)
    ax.axhline(0.5, color=GREY, linestyle=":", linewidth=1)
    ax.set(ylim=(-0.03, 1.03), xlim=(-0.5, len(shares) - 0.5), ylabel="share whose insertion lowers MSE")
    ax.set_xticks(range(len(shares)), list(shares))
    return ax


def insertion_curves(
    ax: Axes,
    curves: Mapping[str, tuple[Float[np.ndarray, " n"], Float[np.ndarray, "bases n"]]],
    own: tuple[Float[np.ndarray, " n"], Float[np.ndarray, "bases n"]],
) -> Axes:
    """Relative change in MSE (percent) against added L0: mean over bases with their range as a band.

    ``curves`` are greedy insertions by what is inserted; ``own`` is the base with more of its own latents active.
    """
    colours = dict(zip(curves, (BLUE, ORANGE, PINK), strict=False))
    for name, (l0, change) in {**curves, "base with a larger k": own}.items():
        colour = colours.get(name, GREY)
        ax.fill_between(l0, change.min(0), change.max(0), color=colour, alpha=0.2, linewidth=0)
        ax.plot(l0, change.mean(0), color=colour, label=name)
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set_yscale("symlog", linthresh=1)  # the best set of orphans changes less than 1 %, all shared latents over 100
    ax.yaxis.set_major_formatter("{x:g}")
    ax.set(xlabel="added L0", ylabel="change in MSE (%)")
    legend_above(ax, 1)
    return ax
