"""Figures B8 to B14: meta-SAEs beside their nulls. Intervals come as mappings with estimate, low and high."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from sae_utils.report.figures.style import BLUE, GREEN, GREY, ORANGE, PINK

Ends = Mapping[str, float]  # estimate, low, high
KINDS = {
    "decoder": (BLUE, "o", "decoder rows"),
    "covariance": (GREY, "^", "null: same covariance"),
    "shuffled": (GREY, "v", "null: shuffled within dimensions"),
    "random": (GREY, "s", "null: random directions"),
    "planted": (GREEN, "D", "sums of known parts"),
}
PAPER, REPLICATION = 0.5547, (0.11, 0.21)  # explained variance: Leask et al.; a replication on GPT-2 and Gemma [R2]


def dots(ax: Axes, rows: Sequence[tuple[str, Ends, str]], xlabel: str) -> Axes:
    """One line per (label, interval, colour), the first on top; a number without an interval has equal ends."""
    for i, (_, ends, colour) in enumerate(rows):
        ax.errorbar(ends["estimate"], i, xerr=_error(ends), fmt="o", color=colour, capsize=3)
    ax.set_yticks(range(len(rows)), [label for label, _, _ in rows])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlabel(xlabel)
    ax.grid(axis="x", color="0.9", linewidth=0.8)
    ax.set_axisbelow(True)
    return ax


def _error(ends: Ends) -> Float[np.ndarray, "2 1"]:
    return np.array([[ends["estimate"] - ends["low"]], [ends["high"] - ends["estimate"]]])


def explained_by(ax: Axes, records: Sequence[Mapping], by: str, xlabel: str) -> Axes:
    """Explained variance against one property of the meta-SAEs (``n_meta`` or ``k``), a line for each kind of rows.

    The dotted line and the band are what others found for real language models, at sizes of their own.
    """
    ax.axhline(PAPER, color=ORANGE, linestyle=":", label="Leask et al. [R2]")
    ax.axhspan(*REPLICATION, color=ORANGE, alpha=0.15, linewidth=0, label="replication [R2]")
    values = sorted({record[by] for record in records})
    for i, (kind, (colour, marker, label)) in enumerate(KINDS.items()):
        mine = sorted((r for r in records if r["kind"] == kind), key=lambda r: r[by])
        if not mine:
            continue
        x = np.array([values.index(r[by]) for r in mine]) + 0.04 * (i - 2)
        ends = [r["explained_variance"] for r in mine]
        y = [e["estimate"] for e in ends]
        style = "-" if kind in ("decoder", "planted") else "--"
        ax.errorbar(x, y, yerr=np.hstack([_error(e) for e in ends]), color=colour, marker=marker, linestyle=style,
                    capsize=3, label=label)  # fmt: skip
    ax.set_xticks(range(len(values)), [f"{v:,}" for v in values])
    ax.set(xlabel=xlabel, ylabel="explained variance of the rows", ylim=(0, 1.04))
    return ax


def closeness(ax: Axes, curves: Mapping[str, Float[np.ndarray, " m"]], nulls: Sequence[str], threshold: float) -> Axes:
    """Share of the meta-latents whose largest cosine to a dictionary is above each value; ``nulls`` broken."""
    colours = iter([BLUE, ORANGE, GREEN, PINK, "#56B4E9", "#D55E00", "#000000"])
    styles = iter(["--", ":", "-."])
    for name, cosines in curves.items():
        x = np.sort(np.asarray(cosines))
        share = 1 - np.arange(len(x)) / len(x)
        look = {"color": GREY, "linestyle": next(styles)} if name in nulls else {"color": next(colours)}
        ax.step(np.append(x, 1.0), np.append(share, 0.0), where="pre", label=name, **look)
    ax.axvline(threshold, color=GREY, linewidth=1)
    ax.set(xlabel="largest cosine to a latent of", ylabel="share of meta-latents above it", xlim=(0, 1), ylim=(0, 1.02))
    ax.legend(loc="upper right")
    return ax


def by_width(
    ax: Axes, widths: Sequence[int], series: Mapping[str, tuple[Sequence[Ends], str, str]], ylabel: str
) -> Axes:
    """Lines over the widths of dictionaries; ``series`` maps a label to its intervals, colour and line style.

    A point whose estimate is None (nothing to measure) is left out.
    """
    for label, (ends, colour, style) in series.items():
        there = [(i, e) for i, e in enumerate(ends) if e["estimate"] is not None]
        x = [i for i, _ in there]
        error = np.hstack([_error(e) for _, e in there]) if there else None
        y = [e["estimate"] for _, e in there]
        ax.errorbar(x, y, yerr=error, color=colour, linestyle=style, marker="o", capsize=3, label=label)
    ax.set_xticks(range(len(widths)), [f"{w:,}" for w in widths])
    ax.set(xlabel="latents of the SAE", ylabel=ylabel)
    ax.set_ylim(bottom=0)
    return ax


def edits(axes: Sequence[Axes], edited: Mapping[str, Ends], names: Mapping[str, str]) -> None:
    """Three panels, a line for each edit: divergence, and the changes of the two families' tokens."""
    panels = {
        "kl": ("divergence from the\nunedited prediction (nats)", GREEN),
        "own": ("change of tokens that the family\nof m promotes (nats)", BLUE),
        "other": ("change of tokens that the family\nof o promotes (nats)", ORANGE),
    }
    for ax, (what, (label, colour)) in zip(axes, panels.items(), strict=True):
        grey = {"remove other", "remove alike", "add again", "swap, same size", "random direction"}
        rows = [(names[e], edited[f"{what} {e}"], GREY if e in grey else colour) for e in names]
        dots(ax, rows, label)
        ax.axvline(0, color="black", linewidth=0.8)
    for ax in axes[1:]:
        ax.set_yticklabels([])


def groups(ax: Axes, values: Mapping[str, Sequence[Ends]], labels: Sequence[str], xlabel: str) -> Axes:
    """Several measures (``labels``, top to bottom) with a dot for each group; the last group is a null, in grey.

    A group may have no more than the first few measures.
    """
    colours = [BLUE, ORANGE, GREEN, PINK][: len(values) - 1] + [GREY]
    for g, ((name, ends), colour) in enumerate(zip(values.items(), colours, strict=True)):
        y = np.arange(len(ends)) + 0.14 * (g - (len(values) - 1) / 2)
        x = [e["estimate"] for e in ends]
        error = np.hstack([_error(e) for e in ends])
        ax.errorbar(x, y, xerr=error, fmt="s" if colour == GREY else "o", color=colour, capsize=2, label=name)
    ax.set_yticks(range(len(labels)), labels)
    ax.set_ylim(len(labels) - 0.5, -0.5)
    ax.set(xlabel=xlabel, xlim=(0, 1.02))
    ax.grid(axis="x", color="0.9", linewidth=0.8)
    ax.set_axisbelow(True)
    return ax
