"""What is left of a paper's verdicts after Holm's correction, and after the same claims were judged at other places."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from sae_utils.report.claims.entries import FAILS, HOLDS, UNDECIDED

ALPHA = 0.025  # of one side: half of what a 95 % interval leaves out, so that alone a verdict stays as it is
REPLICATED = "replicated"


def after_holm(verdicts: Sequence[Mapping]) -> list[str]:
    """What Holm's correction (1979) leaves of the verdicts on one paper's claims at one place, in their order.

    The family is every claim that was judged: those that are undecided count, for they could have been decided. A
    decision whose p value is too large becomes undecided, and with it every one whose p value is larger still.
    """
    left = [verdict["verdict"] for verdict in verdicts]
    n_left = sum(verdict["verdict"] in (HOLDS, FAILS, UNDECIDED) for verdict in verdicts)
    decided = sorted((verdict["p"], i) for i, verdict in enumerate(verdicts) if verdict["verdict"] in (HOLDS, FAILS))
    survives = True
    for rank, (p, i) in enumerate(decided):
        survives = survives and p <= ALPHA / (n_left - rank)
        if not survives:
            left[i] = UNDECIDED
    return left


def read_records(folder: Path, presets: Iterable[str]) -> dict[str, Mapping]:
    """The committed records of runs that are there of these presets, by preset (``run.pages`` writes them)."""
    files = {name: folder / f"{name}.json" for name in presets}
    return {name: json.loads(file.read_text(encoding="utf-8")) for name, file in files.items() if file.is_file()}


def by_rules(records: Mapping[str, Mapping], rules: Mapping[str, str]) -> dict[str, Mapping]:
    """The records of other runs, by preset and in its order, that were judged by these rules (``entries.rules_of``)."""
    known = set(rules.values())
    return {name: record for name, record in sorted(records.items()) if set(record["rules"].split()) <= known}


def elsewhere(here: str, others: Sequence[Mapping]) -> str:
    """``replicated`` where a decision was made at two other places or more, too; else what each of them gave."""
    if here in (HOLDS, FAILS) and len(others) > 1 and {other["verdict"] for other in others} == {here}:
        return REPLICATED
    return "; ".join(f"{other['place']}: {short(other['verdict'])}" for other in others)


def short(verdict: str) -> str:
    """A verdict in few words."""
    return verdict.replace(" at this scale", "").replace(" here", "")
