"""Figures A12 to A14, of notebook 08: what shared latents and orphans are like, and what tells them apart."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Shaped
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sae_utils.report.figures.parts import Intervals, draw_intervals, legend_above, log_axis
from sae_utils.report.figures.style import BLACK, BLUE, GREY, ORANGE

SHARED, ORPHAN = "shared", "orphans"
COLOURS = {SHARED: BLUE, ORPHAN: ORANGE}
SMALLEST = 1e-7  # of what is drawn on a logarithmic axis
COLUMNS = 4
# Name in LatentProperties: what is on the axis, and whether the axis is logarithmic.
LABELS = {
    "firing_frequency": ("firing frequency\n(share of tokens)", True),
    "mean_activation": ("mean activation\n(normalised units)", True),
    "encoder_decoder_cosine": ("encoder-decoder\ncosine", False),
    "pc_alignment": ("share in top\nprincipal components", False),
    "token_entropy": ("entropy over tokens\n(0 one token, 1 all equally)", False),
    "loss_contribution": ("rise of the FVU\nwithout it", True),
    "interpretability": ("interpretability (balanced\naccuracy of best rule)", False),
}


def one_line(name: str) -> str:
    """What a property is called in a table: its label without what is in brackets."""
    return LABELS[name][0].replace("\n", " ").split(" (")[0]


def in_groups(
    arrays: Mapping[str, np.ndarray], values: Shaped[np.ndarray, "S n"]
) -> dict[str, Shaped[np.ndarray, " m"]]:
    """What of ``values`` is of shared latents and what of orphans, by a results file's arrays."""
    return {SHARED: values[arrays["shared"]], ORPHAN: values[arrays["orphan"]]}


def distributions(
    fig: Figure, values: Mapping[str, Mapping[str, Float[np.ndarray, " n"]]], alone: Mapping[str, Sequence[float]]
) -> None:
    """A panel for each property with the histograms of ``SHARED`` and ``ORPHAN`` latents, whose heights add up to one.

    ``values`` maps a name of ``LABELS`` to values by group; ``alone`` to the chance that a shared latent's value is the
    larger one, with the ends of its interval.
    """
    axes = fig.subplots(-(-len(values) // COLUMNS), COLUMNS, squeeze=False).ravel()
    for ax, (name, groups) in zip(axes, values.items(), strict=False):
        _histograms(ax, name, {group: v[~np.isnan(v)] for group, v in groups.items()})
        estimate, low, high = 100 * np.asarray(alone[name])
        ax.set_title(f"shared larger in {estimate:.0f} % ({low:.0f} to {high:.0f})", fontsize="small")
        ax.set_xlabel(LABELS[name][0])
    for ax in axes[::COLUMNS]:
        ax.set_ylabel("share of latents")
    for ax in axes[len(values) :]:
        ax.axis("off")
    axes[-1].legend(*axes[0].get_legend_handles_labels(), loc="center", frameon=False)


def _histograms(ax: Axes, name: str, groups: Mapping[str, Float[np.ndarray, " n"]]) -> None:
    """One property's values by group, on its own kind of axis; what is beyond a logarithmic axis is at its end."""
    pooled = np.concatenate(list(groups.values()))
    if LABELS[name][1]:
        low, high = np.log10(max(SMALLEST, pooled.min())), np.log10(max(10 * SMALLEST, pooled.max()))
        bins = np.logspace(low, max(high, low + 1e-3), 25)
        log_axis(ax.xaxis, high - low)
    else:
        bins = np.histogram_bin_edges(pooled, 24)
    for group, v in groups.items():
        weights = np.full(len(v), 1 / max(1, len(v)))
        v = np.clip(v, bins[0], bins[-1])
        # One group is filled, the other a line: two fills would make a third colour where they overlap.
        look = {"histtype": "stepfilled", "alpha": 0.35} if group == SHARED else {"histtype": "step", "linewidth": 1.8}
        ax.hist(v, bins, weights=weights, color=COLOURS[group], label=group, **look)


def coefficients(ax: Axes, names: Sequence[str], rows: Intervals, null: Float[np.ndarray, "draws P"]) -> None:
    """Standardised coefficients with their intervals, largest first; grey: the middle 95 % of the null's."""
    order, y = np.argsort(rows[:, 0]), np.arange(len(names))
    low, high = np.quantile(null[:, order], [0.025, 0.975], axis=0)
    ax.barh(y, high - low, left=low, height=0.5, color=GREY, alpha=0.35, label="properties dealt anew")
    draw_intervals(ax, y, rows[order], across=True, fmt="o", color=BLUE, label="measured")
    ax.axvline(0, color=GREY, linewidth=0.8)
    ax.set_yticks(y, [one_line(names[i]) for i in order])
    ax.locator_params(axis="x", nbins=6)
    ax.set_xlabel("change of the log odds of being shared\nper standard deviation of the property")
    legend_above(ax)


def scores(
    fig: Figure,
    measured: Mapping[str, Float[np.ndarray, " n"]],
    random: Mapping[str, Float[np.ndarray, " m"]],
    shuffled: Float[np.ndarray, " k"],
) -> None:
    """The share of latents whose rule scores at least x, in a panel for each group, beside the nulls.

    ``random`` are the scores of random directions that fire as often as the latents of the group. ``shuffled`` are
    scores beside shuffled text.
    """
    axes = fig.subplots(1, len(measured), sharey=True)
    for ax, group in zip(axes, measured, strict=True):
        lines = {group: (measured[group], COLOURS[group], "-")}
        lines["random directions that fire as often"] = (random[group], BLACK, "--")
        lines["shuffled text"] = (shuffled, GREY, ":")
        for label, (values, colour, style) in lines.items():
            x = np.sort(values[~np.isnan(values)])
            share = 1 - np.arange(len(x)) / max(1, len(x))
            ax.step([0, *x, 1], [1, *share, 0], where="pre", color=colour, linestyle=style, label=label)
        ax.set(xlim=(0.45, 1), ylim=(0, 1.02), xlabel="balanced accuracy of the best rule\non held-out text")
        legend_above(ax, 1)
    axes[0].set_ylabel("share of latents at or above")
