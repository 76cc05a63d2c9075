"""Figures B8 to B14: meta-SAEs beside their nulls. Intervals come as a results file has them: estimate, low, high."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from sae_utils.report.figures.parts import draw_intervals, offset, rows_of
from sae_utils.report.figures.style import BLACK, BLUE, GREEN, GREY, ORANGE, PINK, SKY, VERMILION

Ends = Mapping[str, float]  # estimate, low, high
KINDS = {
    "decoder": (BLUE, "o", "decoder rows"),
    "covariance": (GREY, "^", "null: same covariance"),
    "shuffled": (GREY, "v", "null: shuffled within dimensions"),
    "random": (GREY, "s", "null: random directions"),
    "planted": (GREEN, "D", "sums of known parts"),
}
PAPER, REPLICATION = 0.5547, (0.11, 0.21)  # explained variance: Leask et al.; a replication on GPT-2 and Gemma [R2]
PANELS = {  # of the edits: label and colour
    "kl": ("divergence from the\nunedited prediction (nats)", GREEN),
    "own": ("change of tokens that the family\nof m promotes (nats)", BLUE),
    "other": ("change of tokens that the family\nof o promotes (nats)", ORANGE),
}
CONTROLS = ("remove other", "remove alike", "add again", "swap, same size", "random direction")  # of the edits


def dots(ax: Axes, rows: Sequence[tuple[str, Ends, str]], xlabel: str) -> None:
    """One line per (label, interval, colour), the first on top; a number without an interval has equal ends."""
    for i, (_, ends, colour) in enumerate(rows):
        draw_intervals(ax, [i], rows_of([ends]), across=True, fmt="o", color=colour)
    _table(ax, [label for label, _, _ in rows])
    ax.set_xlabel(xlabel)


def _table(ax: Axes, labels: Sequence[str]) -> None:
    """A row for each label, the first on top, with upright lines to read the numbers by."""
    ax.set_yticks(range(len(labels)), labels)
    ax.set_ylim(len(labels) - 0.5, -0.5)
    ax.grid(axis="x", color="0.9", linewidth=0.8)
    ax.set_axisbelow(True)


def explained_by(ax: Axes, records: Sequence[Mapping], by: str, xlabel: str) -> None:
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
        rows = rows_of(r["explained_variance"] for r in mine)
        style = "-" if kind in ("decoder", "planted") else "--"
        draw_intervals(ax, x, rows, color=colour, marker=marker, linestyle=style, label=label)
    ax.set_xticks(range(len(values)), [f"{v:,}" for v in values])
    ax.set(xlabel=xlabel, ylabel="explained variance of the rows", ylim=(0, 1.04))


def closeness(ax: Axes, curves: Mapping[str, Float[np.ndarray, " m"]], nulls: Sequence[str], threshold: float) -> None:
    """Share of the meta-latents whose largest cosine to a dictionary is above each value; ``nulls`` broken."""
    colours = iter([BLUE, ORANGE, GREEN, PINK, SKY, VERMILION, BLACK])
    styles = iter(["--", ":", "-."])
    for name, cosines in curves.items():
        x = np.sort(cosines)
        share = 1 - np.arange(len(x)) / len(x)
        look = {"color": GREY, "linestyle": next(styles)} if name in nulls else {"color": next(colours)}
        ax.step([*x, 1], [*share, 0], where="pre", label=name, **look)
    ax.axvline(threshold, color=GREY, linewidth=1)
    ax.set(xlabel="largest cosine to a latent of", ylabel="share of meta-latents above it", xlim=(0, 1), ylim=(0, 1.02))
    ax.legend(loc="upper right")


def by_width(
    ax: Axes, widths: Sequence[int], series: Mapping[str, tuple[Sequence[Ends], str, str]], ylabel: str
) -> None:
    """Lines over the widths of dictionaries; ``series`` maps a label to its intervals, colour and line style.

    A point whose estimate is None (nothing to measure) is left out.
    """
    for label, (ends, colour, style) in series.items():
        there = [i for i, e in enumerate(ends) if e["estimate"] is not None]
        rows = rows_of(ends[i] for i in there)
        draw_intervals(ax, there, rows, color=colour, linestyle=style, marker="o", label=label)
    ax.set_xticks(range(len(widths)), [f"{w:,}" for w in widths])
    ax.set(xlabel="latents of the SAE", ylabel=ylabel)
    ax.set_ylim(bottom=0)


def edits(axes: Sequence[Axes], edited: Mapping[str, Ends], names: Mapping[str, str]) -> None:
    """Three panels, a line for each edit: divergence, and the changes of the two families' tokens."""
    for ax, (what, (label, colour)) in zip(axes, PANELS.items(), strict=True):
        rows = [(name, edited[f"{what} {edit}"], GREY if edit in CONTROLS else colour) for edit, name in names.items()]
        dots(ax, rows, label)
        ax.axvline(0, color="black", linewidth=0.8)
    for ax in axes[1:]:
        ax.set_yticklabels([])


def groups(ax: Axes, values: Mapping[str, Sequence[Ends]], labels: Sequence[str], xlabel: str) -> None:
    """Several measures (``labels``, top to bottom) with a dot for each group; the last group is a null, in grey.

    A group may have no more than the first few measures.
    """
    colours = [BLUE, ORANGE, GREEN, PINK][: len(values) - 1] + [GREY]
    for g, ((name, ends), colour) in enumerate(zip(values.items(), colours, strict=True)):
        y = np.arange(len(ends)) + offset(g, len(values), 0.14)
        shape = "s" if colour == GREY else "o"
        draw_intervals(ax, y, rows_of(ends), across=True, capsize=2, fmt=shape, color=colour, label=name)
    _table(ax, labels)
    ax.set(xlabel=xlabel, xlim=(0, 1.02))
