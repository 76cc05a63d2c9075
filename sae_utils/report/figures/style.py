"""What figures have in common: the style, intervals, legends and axes, and where and how they are saved."""

import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from sae_utils.paths import FIGURES, PUBLISHED_PRESET, RESULTS

STYLE = Path(__file__).with_name("paper.mplstyle")

BLUE, ORANGE, GREEN, PINK = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
GREY = "#7F7F7F"  # nulls and guides


def use_style() -> None:
    """Draw what follows in the project's style."""
    plt.style.use(STYLE)


def save_figure(fig: Figure, name: str, preset: str, results_dir: str | Path = "") -> Path:
    """Save as ``<name>.png``: in the repository's ``figures/`` for the laptop preset, else beside the results.

    The file is written whole or not at all, and holds no date and no version, so that equal figures are equal
    files. A laptop run with a ``results_dir`` of its own leaves the repository's figures alone.
    """
    published = preset == PUBLISHED_PRESET and not str(results_dir)
    folder = FIGURES if published else Path(results_dir or RESULTS) / preset / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.png"
    part = path.with_suffix(".png.part")
    fig.savefig(part, format="png", metadata={"Software": None})
    os.replace(part, path)
    return path


def estimates_and_errors(
    rows: Float[np.ndarray, "n 3"],
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "2 n"]]:
    """From estimate, low and high: the estimates, and the lengths of their error bars as matplotlib takes them."""
    middle, low, high = np.asarray(rows, dtype=float).T
    return middle, np.array([middle - low, high - middle])


def legend_above(ax: Axes, ncols: int = 2, **options) -> None:
    """A legend over the axes, since data may be anywhere in them."""
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=ncols, borderaxespad=0.2, **options)


def log_axis(axis: Axis, decades: float | None = None) -> None:
    """A logarithmic axis with plain numbers: powers of ten and, where these are few, some multiples of them.

    ``decades`` is how many the axis covers; None: as many as it shows now.
    """
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    if decades is None:
        axis.axes.autoscale_view()
        low, high = np.log10(axis.get_view_interval())
        decades = high - low
    subs = (1,) if decades > 2 else (1, 3) if decades > 1 else (1, 2, 5)
    axis.set_major_locator(LogLocator(subs=subs, numticks=4 if decades > 4 else None))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())
