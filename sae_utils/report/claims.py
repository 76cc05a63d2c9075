"""The papers' claims, and what this run says of each: a verdict computed from an interval by the claim's own rule.

``notebooks/claims.yaml`` has one entry per claim. ``number`` is the paper's, and ``known`` says how we know it:
R read in the source, R2 read in someone else's text, C computed from their data, I inferred, M from memory. A
``rule`` holds bounds, ``above`` and ``below``: numbers, or the word ``random`` for the largest value that random
directions reached. A claim holds if the whole interval lies within every bound.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import pandas as pd
import yaml

from sae_utils.analysis.intervals import Interval
from sae_utils.data.errors import InputError
from sae_utils.data.paths import NOTEBOOKS

CLAIMS = NOTEBOOKS / "claims.yaml"
KNOWN = ("R", "R2", "C", "I", "M")
PAPERS = ("A", "B", "C")
RANDOM = "random"
HOLDS, IN_PART, FAILS = "holds", "holds in part", "does not hold at this scale"


@dataclass(frozen=True)
class Claim:
    """One claim of a paper; raises InputError for a field that cannot be."""

    id: str
    paper: str
    section: str  # where in the paper
    text: str
    number: float  # the paper's
    known: str  # how we know that number
    metric: str  # what answers it here: a name among the notebook's statistics
    rule: Mapping[str, float | str]
    note: str = ""

    def __post_init__(self):
        for name, value, allowed in (("paper", self.paper, PAPERS), ("known", self.known, KNOWN)):
            if value not in allowed:
                raise InputError(f"claim {self.id}: {name}={value!r} is unknown; allowed: {', '.join(allowed)}")
        if isinstance(self.number, bool) or not isinstance(self.number, int | float):
            raise InputError(f"claim {self.id}: number={self.number!r} must be a number")
        if not isinstance(self.rule, Mapping) or not self.rule or set(self.rule) - {"above", "below"}:
            raise InputError(f"claim {self.id}: rule={self.rule!r} must have above, below or both")
        for side, bound in self.rule.items():
            if bound != RANDOM and (isinstance(bound, bool) or not isinstance(bound, int | float)):
                raise InputError(f"claim {self.id}: {side}={bound!r} must be a number or {RANDOM!r}")


@dataclass(frozen=True)
class Verdict:
    """What a run says of one claim, with all that the verdict was computed from."""

    id: str
    text: str
    paper_number: float
    known: str
    metric: str
    estimate: float
    low: float
    high: float
    interval: str  # how the interval was found
    needed: str  # the rule, in words and numbers
    verdict: str


def load_claims(path: Path = CLAIMS) -> dict[str, Claim]:
    """Every claim by its id. Raises InputError for an unknown or missing field, an unknown tag, or an id used twice."""
    entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    known = {field.name for field in fields(Claim)}
    claims: dict[str, Claim] = {}
    for entry in entries:
        name = entry.get("id", "without an id")
        unknown, missing = sorted(set(entry) - known), sorted(known - {"note"} - set(entry))
        if unknown or missing:
            fault = f"unknown field {unknown[0]!r}" if unknown else f"no field {missing[0]!r}"
            raise InputError(f"claim {name}: {fault}; the fields are {', '.join(sorted(known))}")
        if name in claims:
            raise InputError(f"claim {name} is there twice")
        claims[name] = Claim(**entry)
    return claims


def verdict(claim: Claim, interval: Interval, null: float | None = None) -> Verdict:
    """Whether the claim holds: the interval wholly within the rule's bounds, astride one (in part), or outside one.

    ``null`` is the largest value of the metric between random dictionaries, for rules that name it.
    """
    if null is None and RANDOM in claim.rule.values():
        raise InputError(f"claim {claim.id}: its rule needs the value of random directions, and none is given")
    bounds = {side: null if bound == RANDOM else bound for side, bound in claim.rule.items()}
    above, below = bounds.get("above", float("-inf")), bounds.get("below", float("inf"))
    if interval.high <= above or interval.low >= below:
        answer = FAILS
    else:
        answer = HOLDS if interval.low > above and interval.high < below else IN_PART
    names = {side: f" ({RANDOM} directions)" if bound == RANDOM else "" for side, bound in claim.rule.items()}
    needed = " and ".join(f"{side} {bound:.3f}{names[side]}" for side, bound in bounds.items())
    return Verdict(
        claim.id,
        claim.text,
        claim.number,
        claim.known,
        claim.metric,
        interval.estimate,
        interval.low,
        interval.high,
        interval.method,
        needed,
        answer,
    )


def judge(ids: Iterable[str], intervals: Mapping[str, Interval], nulls: Mapping[str, float]) -> list[Verdict]:
    """Verdicts on the claims with these ids, from a notebook's statistics and their nulls by name."""
    known = load_claims()
    return [verdict(known[name], intervals[known[name].metric], nulls.get(known[name].metric)) for name in ids]


def verdict_table(verdicts: Iterable[Verdict | Mapping]) -> pd.DataFrame:
    """One row per claim, for a reader; takes verdicts, or the mappings that a results file gives back."""
    rows = [v if isinstance(v, Mapping) else asdict(v) for v in verdicts]
    return pd.DataFrame(
        {
            "paper": [f"{row['paper_number']:g} [{row['known']}]" for row in rows],
            "here": [f"{row['estimate']:.3f} ({row['low']:.3f} to {row['high']:.3f})" for row in rows],
            "needed": [row["needed"] for row in rows],
            "verdict": [row["verdict"] for row in rows],
        },
        index=pd.Index([row["id"] for row in rows], name="claim"),
    )
