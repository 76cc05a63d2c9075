"""All claims on one page, in Markdown: what each paper says, what the notebooks found, and which claims wait.

The batch writes it at its end; so that a batch loads nothing heavy, this module does not either.
"""

from collections.abc import Iterable, Mapping

from sae_utils.report.claims.entries import Claim, in_words, number_here, papers_number

PAPERS = {
    "A": "Paulo & Belrose 2025, *Sparse Autoencoders Trained on the Same Data Learn Different Features*"
    " ([2501.16615](https://arxiv.org/abs/2501.16615))",
    "B": "Leask et al. 2025, *Sparse Autoencoders Do Not Find Canonical Units of Analysis*"
    " ([2502.04878](https://arxiv.org/abs/2502.04878))",
    "C": "Gadgil et al. 2025, *Ensembling Sparse Autoencoders* ([2505.16077](https://arxiv.org/abs/2505.16077))",
}
KNOWN = {
    "R": "read in the paper's own text, code or figures",
    "R2": "read in someone else's text",
    "C": "computed from the authors' files",
    "I": "inferred",
    "M": "from memory",
}
NOT_RUN = "not run"
HEAD = "| claim | paper says | paper's number | here | rule | verdict | notebook |\n|---|---|---|---|---|---|---|"


def claims_page(claims: Iterable[Claim], answers: Mapping[str, Iterable[Mapping]], preset: str) -> str:
    """The page. ``answers``: by notebook, the verdicts of its results file (``claims.Verdict`` as a mapping).

    A claim that several notebooks answer has a row for each; one that none does is listed as not run.
    """
    found: dict[str, list[tuple[str, Mapping]]] = {}
    for notebook, verdicts in answers.items():
        for verdict in verdicts:
            if "id" not in verdict:  # notebook 00 tests what no paper claims
                continue
            found.setdefault(verdict["id"], []).append((notebook, verdict))
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
        rows = [row for claim in claims if claim.paper == paper for row in _rows(claim, found.get(claim.id, []))]
        if rows:
            parts += [f"## Paper {paper}: {title}", "\n".join([HEAD, *rows])]
    return "\n\n".join(parts) + "\n"


def _rows(claim: Claim, answers: list[tuple[str, Mapping]]) -> list[str]:
    """The claim's lines of the table."""
    text, number = f"{claim.text} ({claim.section})", papers_number(claim.number, claim.known)
    if not answers:
        return [_row(claim.id, text, number, "", in_words(claim.rule), NOT_RUN, "")]
    return [
        _row(
            claim.id,
            text,
            number,
            number_here(verdict),
            verdict["needed"],
            verdict["verdict"],
            notebook,
        )
        for notebook, verdict in answers
    ]


def _row(*cells: str) -> str:
    # A bar would end the cell.
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
