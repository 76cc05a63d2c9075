"""All claims on one page, in Markdown: what each paper says, what the notebooks found, and which claims wait.

The batch writes it at its end; so that a batch loads nothing heavy, this module does not either.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from sae_utils.report.claims.entries import KNOWN, PAPERS, Claim, in_words, number_here, papers_number

NOT_RUN = "not run"
HEAD = "| claim | paper says | paper's number | here | rule | verdict | notebook |\n|---|---|---|---|---|---|---|"


def claims_page(claims: Iterable[Claim], answers: Mapping[str, Iterable[Mapping]], preset: str) -> str:
    """The page. ``answers``: by notebook, the verdicts of its results file (``verdicts.Verdict`` as a mapping).

    A claim that several notebooks answer has a row for each; one that none does is listed as not run.
    """
    found = defaultdict(list)
    for notebook, verdicts in answers.items():
        for verdict in verdicts:
            if "id" in verdict:  # notebook 00 tests what no paper claims
                found[verdict["id"]].append((notebook, verdict))
    claims = list(claims)
    parts = [
        "# What the papers claim, and what was found here",
        f"Made by `./run_all.sh` with the preset `{preset}`; the verdicts are computed by the rules in "
        "`notebooks/claims.yaml`. *Here* is the estimate with its 95 % interval. A claim *holds* if the whole interval "
        "is within its rule, *does not hold at this scale* if the whole interval is outside, and is *undecided* if the "
        "interval straddles a bound. *The null* is the largest value that random dictionaries or latents reached. "
        "*Not run*: no notebook of this preset had a number for it, and the notebook says why. Whether a number is a "
        "share, a ratio or a logarithm stands in the notes of `notebooks/claims.yaml`.",
        "How the paper's number is known: " + ", ".join(f"{tag} {words}" for tag, words in KNOWN.items()) + ".",
    ]
    for paper, title in PAPERS.items():
        rows = [row for claim in claims if claim.paper == paper for row in _rows(claim, found[claim.id])]
        if rows:
            heading = f"Paper {paper}" if paper in "ABC" else paper
            parts += [f"## {heading}: {title}", "\n".join([HEAD, *rows])]
    return "\n\n".join(parts) + "\n"


def _rows(claim: Claim, answers: list[tuple[str, Mapping]]) -> list[str]:
    """The claim's lines of the table."""
    waiting = {"estimate": None, "needed": in_words(claim.rule), "verdict": NOT_RUN}
    about = claim.id, f"{claim.text} ({claim.section})", papers_number(claim.number, claim.known)
    rows = []
    for notebook, found in answers or [("", waiting)]:
        cells = *about, number_here(found), found["needed"], found["verdict"], notebook
        # A bar would end the cell.
        rows.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    return rows
