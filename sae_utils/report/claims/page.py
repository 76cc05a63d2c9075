"""All claims on one page, in Markdown: what each paper says, what the notebooks found, and which claims wait.

The batch writes it at its end; so that a batch loads nothing heavy, this module does not either.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from types import MappingProxyType

from sae_utils.errors import InputError
from sae_utils.report.claims.entries import (
    FAILS,
    HOLDS,
    KNOWN,
    NOT_RUN,
    PAPERS,
    UNDECIDED,
    Claim,
    heading,
    in_order,
    in_words,
    null_here,
    number_here,
    papers_number,
    rules_of,
)
from sae_utils.report.claims.family import REPLICATED, after_holm, by_rules, elsewhere, short

COUNTED = (HOLDS, FAILS, UNDECIDED)
NO_ENTRIES: Mapping = MappingProxyType({})
HEAD = (
    "claim",
    "paper says",
    "paper's number",
    "unit",
    "here",
    "null",
    "rule",
    "verdict",
    "after Holm",
    "elsewhere",
    "notebook",
)
COUNTS_HEAD = (
    *("paper", "claims", *map(short, COUNTED), "not judged or run"),
    *(f"after Holm: {short(verdict)}" for verdict in COUNTED),
    REPLICATED,
)


def claims_page(
    claims: Iterable[Claim],
    answers: Mapping[str, Iterable[Mapping]],
    preset: str,
    replications: Mapping[str, Mapping] = NO_ENTRIES,
    models: Mapping[str, Mapping] = NO_ENTRIES,
    notebooks: str = "../notebooks",
    figures: Mapping[str, str] = NO_ENTRIES,
    others: Mapping[str, str] = NO_ENTRIES,
    drawn: Mapping[str, Sequence[str]] = NO_ENTRIES,
) -> str:
    """The page. ``answers``: by notebook, the verdicts of its results file (``verdicts.Verdict`` as a mapping).

    A claim that several notebooks answer has a row for each; one that none does is listed as not run. ``replications``
    are the records of other places by preset, ``models`` those of other models, ``notebooks`` the way to the notebooks
    from the page, ``figures`` those to the figures of the papers' claims, ``others`` those to other pages by what they
    are, ``drawn`` those to the notebooks' figures by claim.

    Raises InputError for an answer by other rules than those of the claims; a record by other rules is named, and left
    out.
    """
    claims, records = in_order(claims), {**replications, **models}
    rules = rules_of(claims)
    hashes = " and ".join(f"`{one}`" for one in dict.fromkeys(rules.values()))
    stale = sorted(records.keys() - by_rules(records, rules))
    places = [record["verdicts"] for record in by_rules(replications, rules).values()]
    models = by_rules(models, rules)
    beside = {record["model"]: record["verdicts"] for record in models.values()}
    found = defaultdict(list)
    for notebook, verdicts in answers.items():
        for verdict in verdicts:
            if "id" in verdict:  # notebook 00 tests what no paper claims
                own = rules.get(verdict["id"][0])
                if verdict["rules"] != own:
                    raise InputError(f"{notebook} was judged by rules {verdict['rules']}, not {own}: run it again")
                found[verdict["id"]].append((notebook, verdict))
    head = [*HEAD[:-1], *beside, HEAD[-1]]
    counts, tables = [], []
    for paper, title in PAPERS.items():
        answered = [
            (claim, *answer) for claim in claims if claim.paper == paper for answer in found[claim.id] or [("", None)]
        ]
        if answered:
            rows = _rows(answered, places, beside, notebooks, drawn)
            counts.append(_counts(paper, rows))
            tables += [f"## {heading(paper)}: {title}", table(head, rows)]
    parts = [
        "# What the papers claim, and what was found here",
        f"Made by `./run_all.sh` with the preset `{preset}`; the verdicts are computed by the rules in "
        f"[claims.yaml]({notebooks}/claims.yaml) (hash {hashes}), whose notes say how each number is computed, what "
        f"changed and why. What the papers did, and how it is known: [PAPERS.md]({notebooks}/PAPERS.md).",
        table(COUNTS_HEAD, counts),
        _how_to_read(replications),
        *(
            f"*{record['model']}*: the same notebooks and rules on that model ([page]({name}/claims.md)). The worlds "
            "of D are of no model; there they are trained on in that preset's batches."
            for name, record in models.items()
        ),
        *(f"{name} was judged by other rules (hash `{records[name]['rules']}`): left out." for name in stale),
        "How the paper's number is known: " + ", ".join(f"{tag} {words}" for tag, words in KNOWN.items()) + ".",
    ]
    if others:
        parts.append("; ".join(f"[{words}]({way})" for words, way in others.items()) + ".")
    if figures:
        parts.append(
            "The figures have a row for each claim, on an axis of its own between the two numbers at its ends. Most "
            "differences are taken from their null, which is then no place on the axis and is left out."
        )
        parts += [f"![{heading(paper)}: numbers, rules and verdicts]({way})" for paper, way in figures.items()]
    return "\n\n".join([*parts, *tables]) + "\n"


def _rows(
    answered: Sequence[tuple[Claim, str, Mapping | None]],
    places: Sequence[Mapping],
    beside: Mapping[str, Mapping],
    notebooks: str,
    drawn: Mapping[str, Sequence[str]],
) -> list[list[str]]:
    """The lines of one paper's table: a claim, who answers it, and the answer."""
    judged = [verdict for _, _, verdict in answered if verdict]
    corrected = iter(after_holm(judged))
    rows = []
    for claim, notebook, verdict in answered:
        links = [f"[{notebook}]({notebooks}/{notebook}.ipynb)"] if notebook else []
        links += [f"[{PurePath(way).stem.partition('_')[0]}]({way})" for way in drawn.get(claim.id, ()) if notebook]
        others = [place[claim.id] for place in places if claim.id in place]
        here = verdict or {"estimate": None, "verdict": NOT_RUN}
        rows.append(
            [
                claim.id,
                f"{claim.text} ({claim.section})",
                papers_number(claim.number, claim.known),
                claim.unit,
                number_here(here),
                null_here(here),
                in_words(claim.rule),
                here["verdict"],
                short(next(corrected)) if verdict else "",
                elsewhere(here["verdict"], others),
                *(on_a_model(verdicts.get(claim.id)) for verdicts in beside.values()),
                ", ".join(links),
            ]
        )
    return rows


def _how_to_read(replications: Iterable[str]) -> str:
    """What the columns and verdicts of the tables mean; the records of the other places lie beside the page."""
    links = ", ".join(f"[{name}]({name}.json)" for name in replications)
    numbers = f" (their numbers: {links})" if links else ""
    return (
        "*Here* is the estimate with its 95 % interval. A claim *holds* if the whole interval is within its rule, "
        "*does not hold at this scale* if the whole interval is outside, and is *undecided* if the interval straddles "
        "a bound. *Null* is what random directions, latents or dictionaries reached; no rule depends on it. *After "
        "Holm*: what Holm's correction over all judged claims of the paper leaves, at 2.5 % on a side. *Elsewhere*: "
        "the same notebooks and rules at other places of the model, in another order of the same text; a claim is "
        f"*{REPLICATED}* where it was decided and each of them gives the same verdict{numbers}. "
        "*Not judged here*: the number does not answer the claim, for the reason beside it. *Not run*: no notebook of "
        "this preset had a number for it, and the notebook says why. Numbers of claims have gaps: each notebook's "
        "begin anew, and a claim that was dropped leaves its number."
    )


def on_a_model(verdict: Mapping | None) -> str:
    """A record's verdict with its number; ``not run`` where it has none."""
    verdict = verdict or {"estimate": None, "verdict": NOT_RUN}
    return ": ".join(part for part in (number_here(verdict), short(verdict["verdict"])) if part)


def _counts(paper: str, rows: Sequence[Sequence[str]]) -> list[str]:
    """How many claims of a paper have which verdict, plain, after Holm and elsewhere."""
    plain, holm, others = (Counter(row[HEAD.index(name)] for row in rows) for name in HEAD[7:10])
    decided = [plain[verdict] for verdict in COUNTED]
    counts = [len(rows), *decided, len(rows) - sum(decided), *(holm[short(verdict)] for verdict in COUNTED)]
    return [paper, *map(str, [*counts, others[REPLICATED]])]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown, whose cells are each of one line and hold no bar that would end them."""
    lines = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *lines])
