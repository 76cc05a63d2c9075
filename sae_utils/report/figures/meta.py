"""Figures B8 to B14: meta-SAEs beside their nulls. Intervals come as a results file has them: estimate, low, high."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from sae_utils.report.figures.parts import draw_intervals, draw_shares, offset, rows_from_top, rows_of
from sae_utils.report.figures.style import BLACK, BLUE, GREEN, GREY, ORANGE, PINK, VERMILION

Ends = Mapping[str, float]  # estimate, low, high
KINDS = {
    "decoder": (BLUE, "o", "decoder rows"),
    "covariance": (GREY, "^", "null: same covariance"),
    "shuffled": (GREY, "v", "null: shuffled within dimensions"),
    "random": (GREY, "s", "null: random directions"),
    "planted": (GREEN, "D", "sums of known parts"),
}
PAPER, REPLICATION = 0.5547, (0.11, 0.21)  # explained variance: Leask et al.; a replication on GPT-2 and Gemma [R2]
PANELS = {  # of the edits: title, label, colour
    "kl": ("the whole prediction", "divergence from the\nunedited one (nats)", BLACK),
    "own": ("tokens of m's family", "change of their log\nprobability (nats)", BLUE),
    "other": ("tokens of o's family", "change of their log\nprobability (nats)", VERMILION),
}
EDITS = (  # groups of edits, what is looked at first; d is the latent's row, m its meta-latent, o another
    {"remove": "take m out", "remove other": "take o out", "remove alike": "take out what is as close as m"},
    {"add other": "put o in", "add again": "put m in again"},
    {"exchange": "m out, o in", "swap": "all of another latent that has o", "swap, same size": "a step to it as long"},
    {"random direction": "a random direction in"},
)
CONTROLS = ("remove other", "remove alike", "add again", "swap, same size", "random direction")  # of the edits


def dots(ax: Axes, rows: Sequence[tuple[str, Ends, str]], xlabel: str) -> None:
    """One line per (label, interval, colour), the first on top; a number without an interval has equal ends."""
    for i, (_, ends, colour) in enumerate(rows):
        draw_intervals(ax, [i], rows_of([ends]), across=True, fmt="o", color=colour)
    _table(ax, [label for label, _, _ in rows])
    ax.locator_params(axis="x", nbins=5)
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
    ax.axhline(PAPER, color=ORANGE, linestyle=":")
    ax.axhspan(*REPLICATION, color=ORANGE, alpha=0.15, linewidth=0)
    left = {"transform": ax.get_yaxis_transform(), "fontsize": 8}
    ax.text(0.02, PAPER + 0.01, "Leask et al.", va="bottom", **left)
    ax.text(0.02, REPLICATION[0] + 0.01, "replication", va="bottom", **left)
    values = sorted({record[by] for record in records})
    for i, (kind, (colour, marker, label)) in enumerate(KINDS.items()):
        mine = sorted((r for r in records if r["kind"] == kind), key=lambda r: r[by])
        if not mine:
            continue
        x = np.array([values.index(r[by]) for r in mine]) + 0.06 * (i - 2)
        rows = rows_of(r["explained_variance"] for r in mine)
        style = "-" if kind in ("decoder", "planted") else "--"
        draw_intervals(ax, x, rows, color=colour, marker=marker, linestyle=style, label=label)
    ax.set_xticks(range(len(values)), [f"{v:,}" for v in values])
    ax.set(xlabel=xlabel, ylabel="explained variance of the rows", ylim=(0, 1.04), xlim=(-0.5, len(values) - 0.5))


def regression(ax: Axes, found: Mapping[str, Ends], nulls: Sequence[str]) -> None:
    """Explained variance of rows by what they are written with; blue: meta-latents, green: latents, grey: ``nulls``."""
    rows = []
    for name, ends in found.items():
        colour = GREY if name in nulls else BLUE if "meta-" in name else GREEN
        rows.append((name.replace("OMP:", "best sum,"), ends, colour))
    dots(ax, rows, "explained variance of decoder rows")
    ax.axvline(PAPER, color=ORANGE, linestyle=":")
    ax.text(PAPER, -0.52, "Leask et al.", ha="center", va="bottom", fontsize=8)
    ax.set_xlim(0, max(PAPER + 0.1, ax.get_xlim()[1]))


def closeness(ax: Axes, found: Mapping[str, Float[np.ndarray, " m"]], nulls: Sequence[str], threshold: float) -> None:
    """Each meta-latent's largest cosine to a dictionary, a row of points for each; ``nulls`` grey; upright: the median.

    Right of the axes stands the share above ``threshold``.
    """
    rng = np.random.default_rng(0)
    for y, (name, cosines) in zip(rows_from_top(ax, list(found)), found.items(), strict=True):
        colour = GREY if name in nulls else BLUE
        ax.plot(cosines, y + rng.uniform(-0.25, 0.25, len(cosines)), ".", color=colour, alpha=0.4, markersize=4)
        ax.plot(2 * [np.median(cosines)], [y - 0.32, y + 0.32], color=BLACK, linewidth=2)
        ax.text(1.04, y, f"{np.mean(cosines > threshold):.1%}", va="center", fontsize=9)
    ax.axvline(threshold, color=BLACK, linestyle="--", linewidth=1)
    above = {"transform": ax.get_xaxis_transform(), "fontsize": 9, "va": "bottom"}
    ax.text(1.04, 1.01, f"above {threshold:g}", **above)
    ax.text(threshold, 1.01, f"paper's {threshold:g}", ha="center", **above)
    ax.set(xlabel="largest cosine of each meta-latent", xlim=(0, 1.02))


def by_width(ax: Axes, widths: Sequence[int], series: Mapping[str, tuple[Sequence[Ends], str]], ylabel: str) -> None:
    """Numbers by the width of dictionaries, side by side; ``series`` maps a label to its intervals and colour.

    A point whose estimate is None (nothing to measure) is left out.
    """
    for i, (label, (ends, colour)) in enumerate(series.items()):
        there = np.array([at for at, e in enumerate(ends) if e["estimate"] is not None], dtype=int)
        rows, shape = rows_of(ends[at] for at in there), "s" if colour == GREY else "o"
        draw_intervals(ax, there + offset(i, len(series), 0.15), rows, color=colour, fmt=shape, label=label)
    ax.set_xticks(range(len(widths)), [f"{w:,}" for w in widths])
    ax.set(xlabel="latents of the SAE", ylabel=ylabel, xlim=(-0.5, len(widths) - 0.5))
    ax.set_ylim(bottom=0)


def edits(axes: Sequence[Axes], edited: Mapping[str, Ends]) -> None:
    """Three panels, a row for each edit: divergence, and the changes of the two families' tokens; grey: controls."""
    names = {edit: words for group in EDITS for edit, words in group.items()}
    ends = np.cumsum([len(group) for group in EDITS])[:-1]
    for ax, (what, (title, label, colour)) in zip(axes, PANELS.items(), strict=True):
        colours = [GREY if edit in CONTROLS else colour for edit in names]
        dots(ax, [(names[e], edited[f"{what} {e}"], c) for e, c in zip(names, colours, strict=True)], label)
        ax.axvline(0, color="black", linewidth=0.8)
        ax.hlines(ends - 0.5, 0, 1, color="0.6", linewidth=0.6, transform=ax.get_yaxis_transform())
        ax.set_title(title)
    for ax in axes[1:]:
        ax.set_yticklabels([])


def groups(ax: Axes, values: Mapping[str, Sequence[Ends]], labels: Sequence[str], xlabel: str) -> None:
    """Several measures (``labels``, top to bottom) with a dot for each group; the last group is a null, in grey.

    A group may have no more than the first few measures.
    """
    colours = [BLUE, ORANGE, GREEN, PINK][: len(values) - 1] + [GREY]
    for g, ((name, ends), colour) in enumerate(zip(values.items(), colours, strict=True)):
        y, shape = np.arange(len(ends)) + offset(g, len(values), 0.14), "s" if colour == GREY else "o"
        draw_shares(ax, y, rows_of(ends), capsize=2, marker=shape, color=colour, label=name)
    _table(ax, labels)
    ax.set(xlabel=xlabel, xlim=(-0.02, 1.02))
