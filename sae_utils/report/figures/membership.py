"""Figures A4 to A6: in how many dictionaries a latent is found, alone against how many, and every pair of seeds."""

import numpy as np
import seaborn
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from sae_utils.report.figures.style import BLUE, GREY, ORANGE, estimates_and_errors, legend_above


def histogram(ax: Axes, shares: Float[np.ndarray, "S 3"], null: Float[np.ndarray, " S"]) -> Axes:
    """Share of latents in exactly 1 to S dictionaries: bars with intervals, and the null as a mark on each.

    ``shares`` holds estimate, low and high; ``null`` is the largest share that random dictionaries reached.
    """
    n = np.arange(1, len(shares) + 1)
    middle, error = estimates_and_errors(shares)
    ax.bar(n, middle, width=0.7, color=BLUE, label="trained dictionaries")
    ax.errorbar(n, middle, yerr=error, fmt="none", ecolor="black", elinewidth=1, capsize=3)
    ax.hlines(null, n - 0.45, n + 0.45, color=GREY, linewidth=2, label="random directions, largest")
    ax.set(xlabel="number of dictionaries that a latent is found in", ylabel="share of latents", ylim=(0, None))
    ax.set_xticks(n)
    legend_above(ax)
    return ax


def only_in_one(
    ax: Axes,
    shares: Float[np.ndarray, "points 3"],
    null: Float[np.ndarray, " points"],
    curve: Float[np.ndarray, "3 x"] | None = None,
    floor: Float[np.ndarray, " 3"] | None = None,
) -> Axes:
    """Share found in one dictionary only against their number, n = 2 and up, with both fitted laws and the floor.

    The dotted line is what the first share would fall to if every dictionary found latents independently.
    ``curve`` holds x, the law with an offset and the law without; ``floor`` is the offset's estimate, low and high;
    both None where no law was fitted.
    """
    n = np.arange(2, 2 + len(shares))
    middle, error = estimates_and_errors(shares)
    end = n[-1] + 0.4
    if curve is not None and floor is not None:
        x, law, plain = curve
        end = x[-1]
        ax.axhspan(floor[1], floor[2], color=ORANGE, alpha=0.15, linewidth=0)
        ax.axhline(floor[0], color=ORANGE, linewidth=1, label="floor, 95 % interval")
        ax.plot(x, law, color=BLUE, label="power law with a floor")
        ax.plot(x, plain, color=BLUE, linestyle="--", label="power law without")
    ax.errorbar(n, middle, yerr=error, fmt="o", color="black", capsize=3, label="measured")
    ax.plot(n, middle[0] ** (n - 1), ":", color="black", label="if each found independently")
    ax.plot(n, null, "s", color=GREY, markersize=4, label="random directions")
    ax.set(xlim=(1.6, end), ylim=(0, 1.05), xlabel="number of dictionaries", ylabel="share found in one only")
    ax.set_xticks(np.arange(2, int(end) + 1, 2))
    legend_above(ax)
    return ax


def pairwise(ax: Axes, shares: Float[np.ndarray, "S S"], what: str) -> Axes:
    """A share for each pair of dictionaries, row by row as seen from the row's; the diagonal stays empty."""
    bar = {"label": what, "format": PercentFormatter(1, decimals=0), "shrink": 0.85}
    seaborn.heatmap(
        shares, ax=ax, cmap="cividis", annot=True, fmt=".2f", annot_kws={"fontsize": 8}, square=True, cbar_kws=bar
    )
    ax.set(xlabel="seed", ylabel="seed (whose latents are counted)")
    return ax
