"""The style of all figures, their colours, and where and how they are saved."""

import io
import textwrap
from pathlib import Path
from typing import BinaryIO

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from sae_utils.files import whole_file
from sae_utils.report.figures.parts import in_names
from sae_utils.report.figures.questions import NOTES, QUESTIONS
from sae_utils.results import figures_folder

STYLE = Path(__file__).with_name("paper.mplstyle")

# Okabe and Ito's palette.
BLUE, ORANGE, GREEN, PINK = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
SKY, VERMILION, YELLOW, BLACK = "#56B4E9", "#D55E00", "#F0E442", "#000000"
GREY = "#7F7F7F"  # nulls and guides

FOOTER = {"fontsize": 7, "color": GREY, "x": 0.01, "ha": "left"}
TITLE = {"fontsize": 10, "weight": "bold", "x": 0.01, "ha": "left"}
LETTER = 3.75, 6.6  # mean width of a letter in points: footer, title
MARGIN, LINE_HEIGHT = 12, 1.3  # points beside a line; of a line, as a multiple of its type's size


def use_style() -> None:
    """Draw what follows in the project's style."""
    plt.style.use(STYLE)


def save_figure(fig: Figure, name: str, p: object, footer: str | None = None) -> Path:
    """Save a notebook's figure, under its question and over a footer that says what it is of.

    The name begins with the figure's number, as ``QUESTIONS`` has it. The footer is by default ``footer_of`` the
    parameters ``p``.
    """
    number = name.partition("_")[0]
    below = [NOTES[number]] if number in NOTES else []
    _frame(fig, QUESTIONS.get(number, ""), [*below, *in_names(footer_of(p) if footer is None else footer).split("\n")])
    return save(fig, name, p.preset, p.results_dir)


def _frame(fig: Figure, question: str, footer: list[str]) -> None:
    """The question over all axes and the footer's lines below, as wide as the figure, which grows by their height."""
    in_footer, in_title = (int((72 * fig.get_figwidth() - MARGIN) / letter) for letter in LETTER)
    lines = [part for line in footer for part in _wrapped(line, in_footer)]
    title = textwrap.wrap(question, in_title)
    added = TITLE["fontsize"] * len(title) + FOOTER["fontsize"] * (len(lines) - 1)
    fig.set_figheight(fig.get_figheight() + LINE_HEIGHT * added / 72)
    # The layout makes room for both. Legends over all axes begin lower by a title of theirs that is empty.
    fig.supxlabel("\n".join(lines), **FOOTER)
    for legend in fig.legends:
        legend.set_title("\n".join(" " for _ in title), prop={"size": TITLE["fontsize"], "weight": "bold"})
    fig.suptitle("\n".join([*title, fig.get_suptitle()]).strip(), **TITLE)


def _wrapped(line: str, width: int) -> list[str]:
    """A line in lines of so many letters; one whose parts are joined by a dot is broken at dots alone."""
    if " · " in line:
        line = line.replace(" ", "\xa0").replace("\xa0·\xa0", "\xa0· ")
    return textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False)


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
            f"compared at L0 {has['at_l0']:g}" if "at_l0" in has else "",
            f"{has['n_seeds']} seeds" if "n_seeds" in has else "",
            f"{has['n_ensembles']} ensembles of {has['n_members']}" if "n_members" in has else "",
        ]
    return " · ".join(part for part in [has["model"], *parts] if part)


def save(fig: Figure, name: str, preset: str, results_dir: str | Path = "", made_of: str = "") -> Path:
    """Save as ``<name>.png`` in ``results.figures_folder``, whole or not at all.

    The file holds no date and no version, so that equal figures are equal files, and has 256 colours at most, a third
    of the bytes. ``made_of`` may be a hash that tells whether it is to be drawn anew.
    """
    path = figures_folder(preset, results_dir) / f"{name}.png"
    drawn, told = io.BytesIO(), PngInfo()
    fig.savefig(drawn, format="png", metadata={"Software": None})
    if made_of:
        told.add_text("Source", made_of)
    with whole_file(path) as part:
        write_in_few_colours(drawn, part, 256, told)
    return path


def write_in_few_colours(png: BinaryIO, target: Path | BinaryIO, n_colours: int, told: PngInfo | None = None) -> None:
    """Write a PNG image with a palette of its own and without transparency; ``told`` is text to keep in it."""
    image = Image.open(png)
    few = image.convert("RGB").quantize(n_colours, dither=Image.Dither.NONE)
    few.save(target, format="png", optimize=True, dpi=image.info.get("dpi"), pnginfo=told)
