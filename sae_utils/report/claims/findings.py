"""What was found, in a notebook beside what shows it: on this run, on the published ones, and in the paper.

Both functions give what Jupyter shows as HTML. As plain text, which the tests of the notebooks compare, it holds this
run's numbers alone: those of published runs change when these do.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape

from sae_utils.paths import FIGURES, PUBLISHED
from sae_utils.report.claims.entries import FAILS, HOLDS, load_claims, number_here, papers_number
from sae_utils.report.claims.family import read_records, short
from sae_utils.results import Results

# Okabe and Ito's green and vermilion, darkened to be read as text; the word says the same as the colour.
COLOURS = {HOLDS: "#00664A", FAILS: "#A34700"}


@dataclass(frozen=True)
class Shown:
    """HTML for a reader, and the plain text in its place."""

    html: str
    text: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.text


def published_verdicts(*ids: str) -> Shown:
    """A table of claims: what the paper says, its number, and what each published run found."""
    claims, records = load_claims(), read_records(FIGURES, PUBLISHED)
    head = ["claim", "the paper", *(record["model"] for record in records.values())]
    rows = []
    for name in ids:
        found = [in_colour(record["verdicts"].get(name)) for record in records.values()]
        paper = papers_number(claims[name].number)
        rows.append([f"<b>{name}</b> {escape(claims[name].text)}", paper, *found])
    lines = [_row("th", head), *(_row("td", row) for row in rows)]
    return Shown(f"<table>{''.join(lines)}</table>", f"claims {', '.join(ids)}: figures/claims.md has them, too")


def findings(r: Results, *ids: str) -> Shown:
    """Claim by claim: what this run found, what the published runs of other models and places did, and the paper."""
    claims, here = load_claims(), {verdict["id"]: verdict for verdict in r.verdicts if "id" in verdict}
    beside = {
        name: record for name, record in read_records(FIGURES, PUBLISHED).items() if name != r.parameters["preset"]
    }
    lines, texts = [], []
    for name in ids:
        found = here.get(name)
        others = [f"{record['model']} {in_colour(record['verdicts'].get(name))}" for record in beside.values()]
        parts = [f"here {in_colour(found)}", *others, f"paper: {papers_number(claims[name].number)}"]
        lines.append(f"<li><b>{name}</b> {escape(claims[name].text)}<br>{claims[name].unit}: {'; '.join(parts)}</li>")
        texts.append(f"{name}: {number_here(found)} {short(found['verdict'])}" if found else f"{name}: not run")
    return Shown(f"<ul>{''.join(lines)}</ul>", "\n".join(texts))


def in_colour(verdict: Mapping | None) -> str:
    """A verdict's word in its colour, and its number."""
    if verdict is None:
        return "not run"
    word = f'<b style="color: {COLOURS.get(verdict["verdict"], "#555555")}">{escape(short(verdict["verdict"]))}</b>'
    return " ".join(part for part in (number_here(verdict), word) if part)


def _row(tag: str, cells: Iterable[str]) -> str:
    # Left, for Jupyter sets cells of tables to the right.
    shown = "".join(f'<{tag} style="text-align: left">{cell}</{tag}>' for cell in cells)
    return f"<tr>{shown}</tr>"
