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


def save_figure(fig: Figure, name: str, p: object, footer: str | None = None) -> Path:
    """Save a notebook's figure, with a footer that says what it is of; by default ``footer_of`` its parameters ``p``."""
    # On the left, below all axes: the layout makes room for it as for a label.
    fig.supxlabel(footer_of(p) if footer is None else footer, fontsize=7, color=GREY, x=0.01, ha="left")
    return save(fig, name, p.preset, p.results_dir)


def footer_of(p: object) -> str:
    """Model, place, widths, k, tokens and number of dictionaries, as far as a notebook's parameters have them."""
    has = p.model_dump()
    place = "several places" if has.get("layers") else f"{has['site']}, layer {has['layer']}" if "site" in has else ""
    widths = has.get("widths") or [has[name] for name in ("n_latents", "member_latents") if name in has]
    tokens = has.get("n_tokens") or has.get("member_tokens")
    if has.get("saes"):
        parts = [place, f"{len(has['saes'])} given SAEs"]
    else:
        parts = [
            place,
            " to ".join(f"{n:,}" for n in (widths[0], widths[-1])[: len(widths)]) + " latents" if widths else "",
            f"k {has['k']}" if "k" in has else "",
            f"{tokens:,} tokens" if tokens else "",
            f"{has['n_seeds']} seeds" if "n_seeds" in has else "",
            f"{has['n_ensembles']} ensembles of {has['n_members']}" if "n_members" in has else "",
        ]
    return " · ".join(part for part in [has["model"], *parts] if part)


def save(fig: Figure, name: str, preset: str, results_dir: str | Path = "", made_of: str = "") -> Path:
    """Save as ``<name>.png`` in ``results.figures_folder``, whole or not at all.

    The file holds no date and no version, so that equal figures are equal files; ``made_of`` may be a hash that tells
    whether it is to be drawn anew.
    """
    path = figures_folder(preset, results_dir) / f"{name}.png"
    with whole_file(path) as part:
        fig.savefig(part, format="png", metadata={"Software": None, "Source": made_of or None})
    return path
