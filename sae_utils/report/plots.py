"""What every figure has in common: the style, and where and how it is saved."""

import os
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from sae_utils.data.paths import FIGURES, PUBLISHED_PRESET, RESULTS

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
