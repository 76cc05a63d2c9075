"""Every claim whose verdict is another than it was: before, after, and why."""

import re
from collections.abc import Iterable, Mapping

from sae_utils.report.claims.entries import NOT_RUN, Claim, in_order, number_here
from sae_utils.report.claims.page import table

HEAD = ("claim", "before", "number", "now", "number", "why")
CHANGE = re.compile(r"(Set-up changed|Changed|Made stricter|Added|Worded).*", re.DOTALL)


def changed_page(before: Mapping, claims: Iterable[Claim], verdicts: Iterable[Mapping]) -> str:
    """The page. ``before``: ``made`` says from what, ``verdicts`` has number and verdict by claim, ``why`` reasons.

    Where it has no reason, the claim's note does, from the words on that tell of a change if it has such words.
    """
    claims = {claim.id: claim for claim in in_order(claims)}
    now = {verdict["id"]: verdict for verdict in verdicts if "id" in verdict}
    rows = []
    for name in [*claims, *(name for name in before["verdicts"] if name not in claims)]:
        number, was = before["verdicts"].get(name, ("", "new"))
        here = now.get(name, {"estimate": None, "verdict": NOT_RUN if name in claims else "dropped"})
        if was != here["verdict"]:
            note = claims[name].note if name in claims else ""
            told = CHANGE.search(note)
            why = before["why"].get(name, told[0] if told else note)
            rows.append((name, was, number, here["verdict"], number_here(here), why))
    text = f"Before: {before['made']}. Now: [claims.md](claims.md). Numbers with their 95 % intervals."
    return f"# Claims whose verdict changed\n\n{text}\n\n{table(HEAD, rows)}\n"
