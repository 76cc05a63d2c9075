"""Writes ``site/``, pages that need no server and no network: ``python -m sae_utils.run.site``.

The first has the question and a picture from the README, the counts from the pages of claims, and links to these, to
the explorers, and to the notebooks as a run executed them. What a page links to comes along, at the place that it has
in the repository, so that a link to a notebook or to Markdown takes another ending and nothing else.
"""

import html
import io
import posixpath
import re
import shutil
import sys
from base64 import b64encode
from collections.abc import Callable, Mapping
from pathlib import Path
from string import Template

import nbformat
from matplotlib.font_manager import FontProperties
from matplotlib.mathtext import math_to_image
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from pygments.formatters import HtmlFormatter

from sae_utils.errors import InputError
from sae_utils.files import write_text
from sae_utils.paths import OTHER_MODELS, ROOT
from sae_utils.report.claims.entries import FAILS, HOLDS, PAPERS, UNDECIDED, heading
from sae_utils.report.claims.family import short
from sae_utils.report.paper_figures import PAGE
from sae_utils.run.notebooks import own_cells, select
from sae_utils.run.store import clean

PRESET = "laptop"
FOLDERS = {PRESET: "figures"} | {name: f"figures/{name}" for name in OTHER_MODELS}
LINKED = {
    "claims.md": "Claims: each with its number, its rule and its verdict",
    PAGE: "The papers' figures, and the ones here that answer them",
    "explorer.html": "Explorer: every latent of one dictionary",
}
INDEX = "index.md"
FROM_ROOT = "site/index.html"  # the first page, as notebooks name it
LINK = re.compile(r'(<(?:a|img)\b[^>]*) (href|src)="([^":#]*)(#[^"]*)?"')
FONT = FontProperties(size=13, math_fontfamily="stix")  # as high as the text of 16 pixels beside it
TEMPLATE = Template(Path(__file__).with_suffix(".html").read_text(encoding="utf-8"))


class _Renderer(IPythonRenderer):
    """Formulas are pictures that are drawn here: MathJax would be a request to the network, or a megabyte."""

    def inline_math(self, body: str) -> str:
        return drawn(body)

    def block_math(self, body: str) -> str:
        return f'<p class="math">{drawn(body)}</p>'


def drawn(formula: str) -> str:
    """A formula in LaTeX as an ``<img>``; as its text where matplotlib cannot draw it."""
    text, svg = " ".join(formula.split()), io.BytesIO()
    known = re.sub(r"\\[bB]igg?[lr]?(?![a-zA-Z])", "", text)  # matplotlib has no brackets of a size that is asked for
    try:
        depth = math_to_image(f"${known}$", svg, FONT, dpi=72, format="svg")
    except ValueError:
        return f"<code>{html.escape(text)}</code>"
    shown = f'alt="{html.escape(text)}" style="vertical-align: -{depth:.1f}pt"'
    return f'<img class="math" {shown} src="data:image/svg+xml;base64,{b64encode(svg.getvalue()).decode()}">'


def in_html(markdown: str) -> str:
    """Markdown as HTML, a verdict's cell in a class of its own."""
    text = MarkdownWithMath(_Renderer(escape=False, exclude_anchor_links=True)).render(markdown)
    return re.sub(r"<td>(?=(holds|does|undecided)\b)", r'<td class="\1">', text)


def notebook_in_html(path: Path) -> str:
    """An executed notebook's cells and outputs as HTML, without progress bars."""
    notebook = nbformat.read(path, as_version=4)
    clean(notebook)
    options = {"exclude_input_prompt": True, "exclude_output_prompt": True, "filters": {"markdown2html": in_html}}
    return HTMLExporter(template_name="basic", **options).from_notebook_node(notebook)[0]


def executed_notebooks(root: Path) -> dict[str, Path]:
    """By their place on the site, the notebooks of the laptop preset's run, then those kept of other models.

    Raises InputError where the run has not executed one, or one with other cells. Of another model such is left out.
    """
    found, others = {}, {}
    for path in select(root / "notebooks"):
        executed = root / "results" / PRESET / path.name
        if not executed.is_file():
            raise InputError(f"no executed notebook {executed}: ./run_all.sh makes it")
        if own_cells(executed) != own_cells(path):
            raise InputError(f"{executed} has other cells than notebooks/{path.name}: ./run_all.sh makes it anew")
        found[f"notebooks/{path.name}"] = executed
        for place in (f"{FOLDERS[name]}/{path.name}" for name in OTHER_MODELS):
            if (root / place).is_file() and own_cells(root / place) == own_cells(path):
                others[place] = root / place
            elif (root / place).is_file():
                print(f"{place} is left out: its cells are not those of notebooks/{path.name}")
    return found | others


def counts(page: Path) -> dict[str, str]:
    """By paper, how many of its claims have which verdict, from the first table of a page of claims."""
    lines = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    head, *rows = [line.strip("| ").split(" | ") for line in lines]
    found = {row[0]: dict(zip(head, row, strict=True)) for row in rows if row[0] in PAPERS}
    verdicts = {HOLDS: "hold", FAILS: "do not", UNDECIDED: "are undecided"}
    return {
        paper: f"of {row['claims']} claims "
        + ", ".join(f"{row[short(verdict)]} {words}" for verdict, words in verdicts.items())
        for paper, row in found.items()
    }


def index(root: Path, notebooks: Mapping[str, Path]) -> str:
    """The first page, in Markdown. Raises InputError where there is no page of claims."""
    pages = {name: f"{folder}/claims.md" for name, folder in FOLDERS.items() if (root / folder / "claims.md").is_file()}
    if PRESET not in pages:
        raise InputError(f"no page {root / FOLDERS[PRESET] / 'claims.md'}: ./run_all.sh makes it")
    found = {name: counts(root / page) for name, page in pages.items()}
    readme = (root / "README.md").read_text(encoding="utf-8")
    picture = re.search(r"^!\[.*?\]\(.*?\)(\n\n\*(?!\*).*?(?=\n\n))?", readme, re.MULTILINE | re.DOTALL)
    answers = []
    for paper in found[PRESET]:
        said = "; ".join(f"`{name}`: {answer[paper]}" for name, answer in found.items() if paper in answer)
        answers.append(f"- **{heading(paper)}**, {PAPERS[paper]}. {said}.")
    parts = [*readme.split("\n\n")[:2], "## What was found", "\n".join(answers)]
    parts += ['<div class="picture">', picture.group(), "</div>"] if picture else []
    for name in pages:
        beside = [(f"{FOLDERS[name]}/{file}", said) for file, said in LINKED.items()]
        links = [f"- [{said}]({place})" for place, said in beside if (root / place).is_file()]
        folder = "notebooks" if name == PRESET else FOLDERS[name]
        own = [place for place in notebooks if posixpath.dirname(place) == folder]
        links += [f"- {Path(place).name[:2]} [{title(notebooks[place])}]({place})" for place in own]
        parts += [f"## The run `{name}`", "\n".join(links)]
    return "\n\n".join(parts) + "\n"


def title(notebook: Path) -> str:
    """The first line of a notebook, without its number."""
    return re.sub(r"^#* *(\d\d )?", "", own_cells(notebook)[0][1].splitlines()[0])


def on_site(place: str) -> str:
    """Where a file of the repository is on the site: notebooks and Markdown as HTML."""
    return str(Path(place).with_suffix(".html")) if place.endswith((".ipynb", ".md")) else place


def with_links(text: str, page: str, home: str, there: Callable[[str], bool]) -> tuple[str, list[str]]:
    """HTML whose relative links, written for the folder ``home``, lead from ``page`` on the site; and their targets.

    A link to what is not ``there`` loses its target.
    """
    met = []

    def turned(found: re.Match) -> str:
        tag, attribute, link, anchor = found.groups()
        target = posixpath.normpath(posixpath.join(home, link))
        target = INDEX if target == FROM_ROOT else target
        if not link or not there(target):
            return tag if link else found.group()
        met.append(target)
        return f'{tag} {attribute}="{posixpath.relpath(on_site(target), posixpath.dirname(page) or ".")}{anchor or ""}"'

    return LINK.sub(turned, text), met


def make_site(root: Path = ROOT) -> Path:
    """Writes the site of a repository in place of the one that is there; gives its folder. Raises InputError."""
    notebooks = executed_notebooks(root)
    first, site = index(root, notebooks), root / "site"
    numbered = [(Path(place).name[:2], place) for place in notebooks if place.startswith("notebooks/")]
    shown = [("Start", INDEX), ("Claims", f"{FOLDERS[PRESET]}/claims.md"), *numbered]
    nav = "\n".join(f'<a href="{place}">{name}</a>' for name, place in shown)

    def there(place: str) -> bool:
        other = (root / place).is_file() and not place.startswith("..") and not place.endswith(".ipynb")
        return place in notebooks or place == INDEX or other

    shutil.rmtree(site, ignore_errors=True)
    waiting = [INDEX]
    for place in waiting:  # it grows as links are met
        file, home = site / on_site(place), posixpath.dirname(place)
        if place in notebooks:
            name, body, home = title(notebooks[place]), notebook_in_html(notebooks[place]), "notebooks"
        elif place.endswith(".md"):
            text = first if place == INDEX else (root / place).read_text(encoding="utf-8")
            name, body = text.splitlines()[0].lstrip("# "), in_html(text)
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / place, file)
            continue
        body, met = with_links(body, place, home, there)
        waiting += [target for target in dict.fromkeys(met) if target not in waiting]
        parts = {"title": html.escape(name), "nav": with_links(nav, place, "", there)[0], "body": body}
        write_text(file, TEMPLATE.substitute(parts, code_style=HtmlFormatter().get_style_defs(".highlight")))
    return site


def main(root: Path = ROOT) -> int:
    """Writes the site and says where; gives the exit code."""
    try:
        print(f"{make_site(root) / 'index.html'} opens with a double click")
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
