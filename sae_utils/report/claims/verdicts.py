"""What this run says of the papers' claims: a verdict computed from an interval by the claim's own rule.

A claim holds if the whole interval lies within every bound of its rule (``entries``).
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from math import isnan

import pandas as pd

from sae_utils.analysis.statistics import Interval
from sae_utils.errors import InputError
from sae_utils.report.claims.entries import RANDOM, Claim, in_words, load_claims, number_here, papers_number

HOLDS, UNDECIDED, FAILS = "holds", "undecided at this scale", "does not hold at this scale"
NOT_JUDGED = "not judged here"


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
    needed: str  # the rule, in words and numbers
    verdict: str


def verdict(claim: Claim, interval: Interval | None, null: float | None = None) -> Verdict:
    """Whether the claim holds: the interval wholly within the rule's bounds, astride one (undecided), or outside one.

    ``null`` is the largest value of the metric between random dictionaries, for rules that name it. ``interval`` is
    None where the run left out what the claim is about, and not a number where it found nothing to measure: then the
    claim is not judged. Raises InputError where a null is missing.
    """
    about = claim.id, claim.text, claim.number, claim.known, claim.metric
    if interval is None or isnan(interval.estimate):
        return Verdict(*about, None, None, None, "", in_words(claim.rule), NOT_JUDGED)
    if null is None and RANDOM in claim.rule.values():
        raise InputError(f"claim {claim.id}: its rule needs the value of random directions, and none is given")
    bounds = {side: null if bound == RANDOM else bound for side, bound in claim.rule.items()}
    above, below = bounds.get("above", float("-inf")), bounds.get("below", float("inf"))
    if interval.high <= above or interval.low >= below:
        answer = FAILS
    else:
        answer = HOLDS if interval.low > above and interval.high < below else UNDECIDED
    names = {side: " (the null)" if bound == RANDOM else "" for side, bound in claim.rule.items()}
    needed = " and ".join(f"{side} {bound:.3f}{names[side]}" for side, bound in bounds.items())
    return Verdict(*about, *interval.ends, interval.method, needed, answer)


def judge(
    ids: Collection[str], intervals: Mapping[str, Interval], nulls: Mapping[str, float], partial: bool = False
) -> list[Verdict]:
    """Verdicts on the claims with these ids, from a notebook's statistics and their nulls by name.

    A claim whose statistic has no value is not judged; nor is, of a ``partial`` run, one whose statistic is missing.
    """
    known = load_claims()
    if partial:
        intervals = {**dict.fromkeys(known[name].metric for name in ids), **intervals}
    return [verdict(known[name], intervals[known[name].metric], nulls.get(known[name].metric)) for name in ids]


def verdict_table(verdicts: Iterable[Verdict | Mapping]) -> pd.DataFrame:
    """One row per claim, for a reader; takes verdicts, or the mappings that a results file gives back."""
    rows = [v if isinstance(v, Mapping) else asdict(v) for v in verdicts]
    return pd.DataFrame(
        {
            "paper": [papers_number(row["paper_number"], row["known"]) for row in rows],
            "here": [number_here(row) for row in rows],
            "needed": [row["needed"] for row in rows],
            "verdict": [row["verdict"] for row in rows],
        },
        index=pd.Index([row["id"] for row in rows], name="claim"),
    )
