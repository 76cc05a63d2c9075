"""The style of all figures, their colours, and where and how they are saved."""

from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from sae_utils.files import whole_file
from sae_utils.results import figures_folder

STYLE = Path(__file__).with_name("paper.mplstyle")

# Okabe and Ito's palette.
BLUE, ORANGE, GREEN, PINK = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
SKY, VERMILION, YELLOW, BLACK = "#56B4E9", "#D55E00", "#F0E442", "#000000"
GREY = "#7F7F7F"  # nulls and guides


def use_style() -> None:
    """Draw what follows in the project's style."""
    plt.style.use(STYLE)


def save_figure(fig: Figure, name: str, preset: str, results_dir: str | Path = "", made_of: str = "") -> Path:
    """Save as ``<name>.png`` in ``results.figures_folder``, whole or not at all.

    The file holds no date and no version, so that equal figures are equal files; ``made_of`` may be a hash that tells
    whether it is to be drawn anew.
    """
    path = figures_folder(preset, results_dir) / f"{name}.png"
    with whole_file(path) as part:
        fig.savefig(part, format="png", metadata={"Software": None, "Source": made_of or None})
    return path
