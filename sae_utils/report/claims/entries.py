"""The papers' claims as ``notebooks/claims.yaml`` has them, one entry each.

``number`` is the paper's, null where only the direction is known or the paper does not make the comparison; ``known``
says how we know it, a tag of ``KNOWN``. A ``rule`` holds numbers, ``above`` and ``below``; what is to exceed a null is
a metric of its own, the difference from it. ``unit`` says what the metric is, and ``bounds`` the least and the largest
value that it can have, where its unit's are others: a rule must be one that can hold and can fail.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import TypeVar

import yaml

from sae_utils.errors import InputError
from sae_utils.files import sha256_of
from sae_utils.paths import NOTEBOOKS

CLAIMS = NOTEBOOKS / "claims.yaml"
PAPERS = {
    "A": "Paulo & Belrose 2025, *Sparse Autoencoders Trained on the Same Data Learn Different Features*"
    " ([2501.16615](https://arxiv.org/abs/2501.16615))",
    "B": "Leask et al. 2025, *Sparse Autoencoders Do Not Find Canonical Units of Analysis*"
    " ([2502.04878](https://arxiv.org/abs/2502.04878))",
    "C": "Gadgil et al. 2025, *Ensembling Sparse Autoencoders* ([2505.16077](https://arxiv.org/abs/2505.16077))",
    "D": "this companion's own questions, on activations whose features are known",
    "E": "this companion's own question, which published method of training is the most reproducible",
}
TOGETHER = ("ABCD", "E")  # papers whose rules were written together, and have one hash
KNOWN = {
    "R": "read in something of the authors' own (code, figures, posts, abstract)",
    "R2": "read in someone else's text",
    "C": "computed from the authors' files",
    "I": "inferred",
    "M": "from memory",
    "P": "from a pilot of this project, on other draws",
}
HOLDS, UNDECIDED, FAILS = "holds", "undecided at this scale", "does not hold at this scale"
NOT_JUDGED = "not judged here"
NOT_RUN = "not run"
Entry = TypeVar("Entry")
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml takes a seventh of the time
FREE = (float("-inf"), float("inf"))
UNITS = {  # with the least and the largest value
    "share": (0, 1),
    "difference of shares": (-1, 1),
    "share per doubling": (-1, 1),
    "cosine": (-1, 1),
    "difference of cosines": (-2, 2),
    "cosine less share": (-2, 1),
    "correlation": (-1, 1),
    "difference of correlations": (-2, 2),
    "accuracy": (0, 1),
    "difference of accuracies": (-1, 1),
    "AUC": (0, 1),
    "difference of AUCs": (-1, 1),
    "explained variance": (float("-inf"), 1),
    "difference of explained variances": FREE,
    "ratio": (0, float("inf")),
    "difference of ratios": FREE,
    "relative change": (-1, float("inf")),
    "difference of relative changes": FREE,
    "share of a gain": FREE,  # above 1 where more than all of it is kept, below 0 where it is lost
    "score S": FREE,
    "difference of scores S": FREE,
    "meta-latents per doubling": FREE,
    "log10": FREE,
    "log odds": FREE,
    "nats": FREE,
}


@dataclass(frozen=True)
class Claim:
    """One claim of a paper; raises InputError for a field whose value is not allowed."""

    id: str
    paper: str
    section: str  # where in the paper
    text: str
    number: float | None  # the paper's
    known: str  # how we know that number
    metric: str  # what answers it here: a name among the notebook's statistics
    rule: Mapping[str, float]
    unit: str  # of the metric: one of UNITS
    bounds: tuple[float, float] | None = None  # the least and the largest value of the metric, where not its unit's
    note: str = ""

    def __post_init__(self):
        for name, allowed in (("paper", PAPERS), ("known", KNOWN), ("unit", UNITS)):
            if (value := getattr(self, name)) not in allowed:
                raise InputError(f"claim {self.id}: {name}={value!r} is unknown; allowed: {', '.join(allowed)}")
        if not re.fullmatch(rf"{self.paper}-\d+", self.id):
            raise InputError(f"claim {self.id}: its id must be its paper {self.paper!r}, a hyphen and a number")
        if isinstance(self.number, bool) or not isinstance(self.number, int | float | None):
            raise InputError(f"claim {self.id}: number={self.number!r} must be a number or null")
        if not isinstance(self.rule, Mapping) or not self.rule or set(self.rule) - {"above", "below"}:
            raise InputError(f"claim {self.id}: rule={self.rule!r} must have above, below or both")
        for side, bound in self.rule.items():
            if isinstance(bound, bool) or not isinstance(bound, int | float):
                raise InputError(f"claim {self.id}: {side}={bound!r} must be a number")
        if self.bounds is not None and not (len(self.bounds) == 2 and self.bounds[0] < self.bounds[1]):
            raise InputError(f"claim {self.id}: bounds={self.bounds} must be the least and the largest value")
        low, high = self.limits
        above, below = self.rule.get("above", low), self.rule.get("below", high)
        for room, fault in ((max(low, above) < min(high, below), "hold"), (low < above or below < high, "fail")):
            if not room:
                raise InputError(f"claim {self.id}: rule {in_words(self.rule)} cannot {fault} from {low:g} to {high:g}")

    @property
    def limits(self) -> tuple[float, float]:
        """The least and the largest value that the metric can have."""
        return tuple(self.bounds) if self.bounds else UNITS[self.unit]


def heading(paper: str) -> str:
    """``Paper A``, and ``D`` and ``E``, which are none."""
    return f"Paper {paper}" if paper in "ABC" else paper


def papers_number(number: float | None, known: str = "") -> str:
    """The paper's number, with how it is known where that is given."""
    words = "no number" if number is None else format(number, "g")
    return f"{words} [{known}]" if known else words


def number_here(verdict: Mapping[str, float | None]) -> str:
    """A run's number with its interval, for a table; empty where the run has none."""
    if verdict["estimate"] is None:
        return ""
    return "{estimate:z.3f} ({low:z.3f} to {high:z.3f})".format_map(verdict)  # z: no -0.000


def null_here(verdict: Mapping[str, float | None]) -> str:
    """What the run's null reached, for a table; empty where there is none."""
    return "" if verdict.get("null") is None else format(verdict["null"], "z.3f")


def in_order(claims: Iterable[Claim]) -> list[Claim]:
    """The claims by paper, then by number: A-9 before A-10."""
    return sorted(claims, key=lambda claim: (claim.paper, int(claim.id.partition("-")[2])))


def in_words(rule: Mapping[str, float]) -> str:
    """``above 0.1 and below 0.9``: a claim's rule."""
    return " and ".join(f"{side} {bound:g}" for side, bound in rule.items())


def hash_of_rules(claims: Iterable[Claim]) -> str:
    """A hash of what verdicts follow from: each claim's id, metric and rule, whatever their order; no prose."""
    parts = sorted(f"{claim.id} {claim.metric} {in_words(dict(sorted(claim.rule.items())))}\n" for claim in claims)
    return sha256_of(parts)[:16]


def rules_of(claims: Iterable[Claim]) -> dict[str, str]:
    """By paper, the hash of the rules that were written together with its own: later questions leave it as it was."""
    claims, rules = list(claims), {}
    for papers in TOGETHER:
        some = [claim for claim in claims if claim.paper in papers]
        rules |= dict.fromkeys((claim.paper for claim in some), hash_of_rules(some))
    return rules


def load_claims(path: Path = CLAIMS) -> dict[str, Claim]:
    """Every claim by its id. Raises InputError for an unknown or missing field, an unknown tag, or an id used twice."""
    claims: dict[str, Claim] = {}
    for claim in read_entries(path, Claim, "id"):
        if claim.id in claims:
            raise InputError(f"claim {claim.id} is there twice")
        claims[claim.id] = claim
    return claims


def read_entries(path: Path, kind: type[Entry], name: str) -> Iterator[Entry]:
    """A YAML file's entries as the dataclass ``kind``, each known by its field ``name``.

    Raises InputError for an unknown or missing field.
    """
    known = [field.name for field in fields(kind)]
    needed = [field.name for field in fields(kind) if field.default is MISSING]
    for entry in yaml.load(path.read_text(encoding="utf-8"), LOADER):
        faults = [f"unknown field {field!r}" for field in entry if field not in known]
        faults += [f"no field {field!r}" for field in needed if field not in entry]
        if faults:
            raise InputError(f"{path.name}, {name} {entry.get(name)!r}: {faults[0]}; the fields are {', '.join(known)}")
        yield kind(**entry)
