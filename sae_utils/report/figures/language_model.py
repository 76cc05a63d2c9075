"""Figures L1 to L5, of notebook 00: what the language model is worth. Arrays in, artists out."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from sae_utils.report.figures.parts import draw_intervals
from sae_utils.report.figures.style import BLUE, GREEN, GREY, ORANGE, PINK

RIVALS = {"model": "language model", "trigram": "trigram", "unigram": "unigram", "xz": "xz -9e"}
MOST_LABELS = 12  # layers: of more, only some are named
SITE_STYLES = {
    "mlp_out": ("MLP output", ORANGE, "o"),
    "resid_pre": ("residual stream before", GREEN, "s"),
    "resid_post": ("residual stream after", BLUE, "^"),
}


def bits_per_byte(ax: Axes, bits: Mapping[str, float]) -> None:
    """One bar for the model and one for each of what it has to beat, the number at its end."""
    values = [bits[name] for name in RIVALS]
    bars = ax.barh(list(RIVALS.values()), values, color=[BLUE, GREY, GREY, GREY])
    ax.bar_label(bars, fmt="%.2f", padding=3)
    ax.invert_yaxis()
    ax.set(xlabel="bits per byte of held-out text (less is better)", xlim=(0, 1.12 * max(values)))


def loss_by_position(ax: Axes, loss: Float[np.ndarray, " context-1"], window: int) -> None:
    """The mean at each position, and the mean over ``window`` positions around it."""
    position = np.arange(1, len(loss) + 1)
    ax.plot(position, loss, ".", color=GREY, markersize=3, label="one position")
    smooth = np.convolve(loss, np.ones(window) / window, mode="valid")
    middle = position[: len(smooth)] + (window - 1) / 2
    ax.plot(middle, smooth, color=BLUE, label=f"mean of {window}")
    ax.set(xlabel="position in the row (tokens before)", ylabel="cross-entropy (nats per token)", xscale="log")
    ax.legend()


def activation_norms(
    ax: Axes, sites: Mapping[str, Float[np.ndarray, "n_layers 3"]], quantiles: Float[np.ndarray, " 3"]
) -> None:
    """The median of each site by layer, with the two outer quantiles as bars."""
    for i, (site, norms) in enumerate(sites.items()):
        label, colour, marker = SITE_STYLES[site]
        layer = np.arange(len(norms)) + 0.12 * (i - 1)
        draw_intervals(ax, layer, norms[:, [1, 0, 2]], capsize=2, color=colour, marker=marker, label=label)
    ax.set(xlabel="layer", ylabel="Euclidean norm of the activation", yscale="log", xticks=_named(len(norms)))
    ax.set_title(f"median, bars from the {100 * quantiles[0]:.0f}th to the {100 * quantiles[-1]:.0f}th percentile")
    ax.legend()


def ablation(ax: Axes, clean: float, ablated: Float[np.ndarray, " n_layers"]) -> None:
    """What the loss rises by when the MLP of one layer is silent."""
    rise = ablated - clean
    is_labelled = (rise > 0.1 * rise.max()) | (len(rise) <= MOST_LABELS)
    labels = [f"{value:.2f}" if shown else "" for value, shown in zip(rise, is_labelled, strict=True)]
    ax.bar_label(ax.bar(range(len(rise)), rise, color=BLUE), labels, padding=2)
    ax.set(xlabel="layer whose MLP output is set to zero", xticks=_named(len(rise)))
    ax.set_ylabel("rise in cross-entropy (nats per token)")
    ax.margins(y=0.12)
    ax.set_title(f"loss of the whole model: {clean:.2f} nats per token")


def _named(n_layers: int) -> range:
    """The layers that an axis names."""
    return range(0, n_layers, 1 if n_layers <= MOST_LABELS else 5)


def training_curve(ax: Axes, log: Mapping[str, Float[np.ndarray, " n"]]) -> None:
    """Training and held-out loss over the tokens seen; says so where the model has no log."""
    if len(log["tokens"]):
        ax.plot(log["tokens"] / 1e6, log["train"], color=PINK, linestyle="--", label="training (running mean)")
        ax.plot(log["tokens"] / 1e6, log["held_out"], color=BLUE, label="held out")
        ax.legend()
    else:
        ax.text(0.5, 0.5, "this model comes without a training log", ha="center", transform=ax.transAxes)
    ax.set(xlabel="tokens seen (millions)", ylabel="cross-entropy (nats per token)")
