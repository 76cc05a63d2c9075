"""The papers' claims as ``notebooks/claims.yaml`` has them, one entry each.

``number`` is the paper's, null where only the direction is known or the paper does not make the comparison; ``known``
says how we know it, a tag of ``KNOWN``. A ``rule`` holds bounds, ``above`` and ``below``: numbers, or the word
``random`` for the largest value that random directions reached.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import yaml

from sae_utils.errors import InputError
from sae_utils.paths import NOTEBOOKS

CLAIMS = NOTEBOOKS / "claims.yaml"
PAPERS = {
    "A": "Paulo & Belrose 2025, *Sparse Autoencoders Trained on the Same Data Learn Different Features*"
    " ([2501.16615](https://arxiv.org/abs/2501.16615))",
    "B": "Leask et al. 2025, *Sparse Autoencoders Do Not Find Canonical Units of Analysis*"
    " ([2502.04878](https://arxiv.org/abs/2502.04878))",
    "C": "Gadgil et al. 2025, *Ensembling Sparse Autoencoders* ([2505.16077](https://arxiv.org/abs/2505.16077))",
    "D": "this companion's own questions, on activations whose features are known",
}
KNOWN = {
    "R": "read in the paper's own text, code or figures",
    "R2": "read in someone else's text",
    "C": "computed from the authors' files",
    "I": "inferred",
    "M": "from memory",
    "P": "from a pilot of this project, on other draws",
}
RANDOM = "random"


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
    rule: Mapping[str, float | str]
    note: str = ""

    def __post_init__(self):
        for name, value, allowed in (("paper", self.paper, PAPERS), ("known", self.known, KNOWN)):
            if value not in allowed:
                raise InputError(f"claim {self.id}: {name}={value!r} is unknown; allowed: {', '.join(allowed)}")
        if isinstance(self.number, bool) or not isinstance(self.number, int | float | None):
            raise InputError(f"claim {self.id}: number={self.number!r} must be a number or null")
        if not isinstance(self.rule, Mapping) or not self.rule or set(self.rule) - {"above", "below"}:
            raise InputError(f"claim {self.id}: rule={self.rule!r} must have above, below or both")
        for side, bound in self.rule.items():
            if bound != RANDOM and (isinstance(bound, bool) or not isinstance(bound, int | float)):
                raise InputError(f"claim {self.id}: {side}={bound!r} must be a number or {RANDOM!r}")


def papers_number(number: float | None, known: str) -> str:
    """The paper's number with how it is known, for a table."""
    return f"{'no number' if number is None else format(number, 'g')} [{known}]"


def number_here(verdict: Mapping[str, float | None]) -> str:
    """A run's number with its interval, for a table; empty where the run has none."""
    if verdict["estimate"] is None:
        return ""
    return f"{verdict['estimate']:.3f} ({verdict['low']:.3f} to {verdict['high']:.3f})"


def in_words(rule: Mapping[str, float | str]) -> str:
    """``above random and below 0.9``: a claim's rule without a run's numbers."""
    return " and ".join(f"{side} {bound if bound == RANDOM else format(bound, 'g')}" for side, bound in rule.items())


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
