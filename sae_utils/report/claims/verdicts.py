"""What this run says of the papers' claims: a verdict computed from an interval by the claim's own rule.

A claim holds if the whole interval lies within every bound of its rule (``entries``).
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from math import isnan
from types import MappingProxyType

import pandas as pd

from sae_utils.analysis.statistics import Interval
from sae_utils.report.claims.entries import (
    FAILS,
    HOLDS,
    NOT_JUDGED,
    UNDECIDED,
    Claim,
    in_words,
    load_claims,
    null_here,
    number_here,
    papers_number,
    rules_of,
)


@dataclass(frozen=True)
class Verdict:
    """What a run says of one claim, with all that the verdict was computed from."""

    id: str
    text: str
    paper_number: float | None
    known: str
    metric: str
    estimate: float | None  # these three None where the run has no such number
    low: float | None
    high: float | None
    interval: str  # how the interval was found
    null: float | None  # what random directions, latents or dictionaries reach; shown, no part of the rule
    needed: str  # the rule, in words and numbers
    verdict: str
    p: float | None  # one-sided, of the bound that decides; None where nothing is decided
    rules: str = ""  # hash of its paper's rules at that time (``entries.rules_of``)


def verdict(claim: Claim, interval: Interval | None, null: float | None = None, rules: str = "") -> Verdict:
    """Whether the claim holds: the interval wholly within the rule's bounds, astride one (undecided), or outside one.

    ``interval`` is None where the run left out what the claim is about, and not a number where it found nothing to
    measure: then the claim is not judged. A claim within two bounds has the larger of their two p values.
    """
    about = claim.id, claim.text, claim.number, claim.known, claim.metric
    if interval is None or isnan(interval.estimate):
        return Verdict(*about, None, None, None, "", null, in_words(claim.rule), NOT_JUDGED, None, rules)
    above, below = claim.rule.get("above", float("-inf")), claim.rule.get("below", float("inf"))
    p = None
    if interval.low == interval.high and interval.low in claim.rule.values():
        answer = UNDECIDED  # a floor, such as no change where nothing is shared
    elif interval.high <= above or interval.low >= below:
        answer, p = FAILS, interval.p_value(above if interval.high <= above else below)
    elif interval.low > above and interval.high < below:
        answer, p = HOLDS, max(interval.p_value(bound) for bound in claim.rule.values())
    else:
        answer = UNDECIDED
    return Verdict(*about, *interval.ends, interval.method, null, in_words(claim.rule), answer, p, rules)


def judge(
    ids: Collection[str],
    intervals: Mapping[str, Interval],
    nulls: Mapping[str, float],
    partial: bool = False,
    unfit: Mapping[str, str] = MappingProxyType({}),
) -> list[Verdict]:
    """Verdicts on the claims with these ids, from a notebook's statistics and their nulls, to be shown, by name.

    A claim whose statistic has no value is not judged; nor is, of a ``partial`` run, one whose statistic is missing.
    ``unfit`` has, by id, why this run cannot judge a claim whose statistic it has.
    """
    known = load_claims()
    rules = rules_of(known.values())
    if partial:
        intervals = {**dict.fromkeys(known[name].metric for name in ids), **intervals}
    found = [
        verdict(claim, intervals[claim.metric], nulls.get(claim.metric), rules[claim.paper])
        for claim in map(known.get, ids)
    ]
    return [replace(v, verdict=f"{NOT_JUDGED}: {unfit[v.id]}", p=None) if v.id in unfit else v for v in found]


def verdict_table(verdicts: Iterable[Verdict | Mapping]) -> pd.DataFrame:
    """One row per claim, for a reader; takes verdicts, or the mappings that a results file gives back."""
    rows = [v if isinstance(v, Mapping) else asdict(v) for v in verdicts]
    table = pd.DataFrame(
        {
            "paper": [papers_number(row["paper_number"], row["known"]) for row in rows],
            "here": [number_here(row) for row in rows],
            "null": [null_here(row) for row in rows],
            "needed": [row["needed"] for row in rows],
            "verdict": [row["verdict"] for row in rows],
        },
        index=pd.Index([row["id"] for row in rows], name="claim"),
    )
    return table if table["null"].any() else table.drop(columns="null")
