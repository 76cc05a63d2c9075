"""The papers' figures and tables, and the figure here that answers each, or why none does: a page in Markdown.

The batch writes it beside the page of claims; so that a batch loads nothing heavy, this module does not either.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sae_utils.errors import InputError
from sae_utils.paths import NOTEBOOKS
from sae_utils.report.claims.entries import PAPERS, heading, read_entries
from sae_utils.report.claims.page import table

LISTED = NOTEBOOKS / "paper_figures.yaml"
PAGE = "papers_figures.md"


@dataclass(frozen=True)
class PaperFigure:
    """One figure or table of a paper, and the names of our files that answer it."""

    paper: str
    what: str
    ours: Sequence[str] = ()
    why_not: str = ""  # what none of ours shows, and why

    def __post_init__(self):
        if self.paper not in PAPERS:
            raise InputError(f"{LISTED.name}: {self.what!r} needs a paper; allowed: {', '.join(PAPERS)}")
        if not self.ours and not self.why_not:
            raise InputError(f"{LISTED.name}: {self.what!r} needs ours, names of figures, or why_not")


def load_paper_figures(path: Path = LISTED) -> list[PaperFigure]:
    """The entries in the file's order. Raises InputError for an unknown field or paper, and where nothing answers."""
    return list(read_entries(path, PaperFigure, "what"))


def paper_figures_page(listed: Sequence[PaperFigure], folders: Mapping[str, Path], page: Path) -> str:
    """The page. ``folders``: by model, where its figures are; ``page``: the folder that the page is in.

    A figure that is in no folder of a model was not made with it.
    """
    answered = sum(bool(one.ours) for one in listed)
    parts = [
        "# The papers' figures, and the ones here that answer them",
        "Made by `./run_all.sh` from `notebooks/paper_figures.yaml`: all figures and tables of the papers that we "
        f"know of, {len(listed)}; {answered} have an answer here, some in part. Their texts were not at hand: "
        "what has no number is named by its section or subject. *Not run*: no figure of that model is there.",
    ]
    for paper, title in PAPERS.items():
        rows = []
        for one in (one for one in listed if one.paper == paper):
            links = [_links(one.ours, folder, page) for folder in folders.values()]
            rows.append([one.what, *links, one.why_not])
        if rows:
            parts += [f"## {heading(paper)}: {title}", table(["in the paper", *folders, "not shown, and why"], rows)]
    return "\n\n".join(parts) + "\n"


def _links(names: Sequence[str], folder: Path, page: Path) -> str:
    """Links to those of the figures that are in a folder."""
    there = [name for name in names if (folder / name).is_file()]
    links = [f"[{Path(name).stem.partition('_')[0]}]({os.path.relpath(folder / name, page)})" for name in there]
    return ", ".join(links) or ("not run" if names else "none")
