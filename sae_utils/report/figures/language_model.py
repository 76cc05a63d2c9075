"""Figures L1 to L5, of notebook 00: what the language model is worth. Arrays in, artists out."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from sae_utils.report.figures.parts import log_axis
from sae_utils.report.figures.style import BLUE, GREY, ORANGE, PINK

RIVALS = {"model": "language model", "trigram": "trigram", "unigram": "unigram", "xz": "xz -9e"}
MOST_LABELS = 12  # layers: of more, only some are named


def bits_per_byte(ax: Axes, bits: Mapping[str, float]) -> None:
    """One bar for the model and one for each of what it has to beat, the best on top, the number at its end."""
    names = sorted(RIVALS, key=bits.get)
    values = [bits[name] for name in names]
    colours = [BLUE if name == "model" else GREY for name in names]
    bars = ax.barh([RIVALS[name] for name in names], values, color=colours)
    ax.bar_label(bars, fmt="%.2f", padding=3)
    ax.invert_yaxis()
    ax.set(xlabel="bits per byte of the start of held-out files (less is better)", xlim=(0, 1.12 * max(values)))


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
    """The median of each site by layer, and the range between the two outer quantiles as a band.

    What a layer leaves in the residual stream is what the next one finds there. So that is one curve, from what the
    first layer finds (``resid_pre``) to what the last one leaves (``resid_post``), between the layers.
    """
    stream = np.concatenate([sites["resid_pre"][:1], sites["resid_post"]])
    layers = np.arange(len(stream) - 1)
    between = np.arange(len(stream)) - 0.5
    curves = ("residual stream", BLUE, "^", between, stream), ("MLP output", ORANGE, "o", layers, sites["mlp_out"])
    for label, colour, marker, x, norms in curves:
        low, median, high = norms.T
        ax.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
        ax.plot(x, median, color=colour, marker=marker, markersize=4, label=label)
        middle = (len(x) - 1) // 2
        at, beyond, side = (low[middle], -5, "top") if colour == ORANGE else (high[middle], 5, "bottom")
        where = {"xytext": (0, beyond), "textcoords": "offset points", "ha": "center", "va": side}
        ax.annotate(label, (x[middle], at), color=colour, **where)
    ax.set(xlabel="layer (the residual stream between layers)", ylabel="Euclidean norm of the activation")
    ax.set_xticks(_named(len(layers)))
    log_axis(ax.yaxis)
    ax.set_title(f"median, and from the {100 * quantiles[0]:.0f}th to the {100 * quantiles[-1]:.0f}th percentile")


def ablation(ax: Axes, clean: float, ablated: Float[np.ndarray, " n_layers"]) -> None:
    """What the loss rises by when the MLP of one layer is silent."""
    rise = ablated - clean
    beside = np.pad(rise, 1, constant_values=-np.inf)
    is_peak = (rise > beside[:-2]) & (rise > beside[2:])  # what is beside a higher one has no room for its number
    is_labelled = (rise > 0.1 * rise.max()) & is_peak | (len(rise) <= MOST_LABELS)
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
        ax.set(xlabel="tokens seen (millions)", ylabel="cross-entropy (nats per token)")
    else:
        ax.text(0.5, 0.5, "this model comes without a training log", ha="center", transform=ax.transAxes)
        ax.set_axis_off()
