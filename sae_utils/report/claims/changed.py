"""Every claim whose verdict is another than it was: before, after, and why."""

from collections.abc import Iterable, Mapping

from sae_utils.report.claims.entries import NOT_RUN, Claim, in_order, number_here
from sae_utils.report.claims.page import table

NEW, DROPPED = "new", "dropped"


def changed_page(before: Mapping, claims: Iterable[Claim], verdicts: Iterable[Mapping]) -> str:
    """The page. ``before``: ``made`` says from what, ``verdicts`` has number and verdict by claim.

    Why a verdict changed is the claim's ``changed``, and for a claim that has no entry any more what ``dropped`` says.
    """
    now = {verdict["id"]: verdict for verdict in verdicts if "id" in verdict}
    rows = []
    for claim in in_order(claims):
        number, was = before["verdicts"].get(claim.id, ("", NEW))
        here = now.get(claim.id, {"estimate": None, "verdict": NOT_RUN})
        if was != here["verdict"]:
            rows.append((claim.id, was, number, here["verdict"], number_here(here), claim.changed))
    rows += [(name, *before["verdicts"][name][::-1], DROPPED, "", why) for name, why in before["dropped"].items()]
    text = f"Before: {before['made']}. Now: [claims.md](claims.md). Numbers with their 95 % intervals."
    head = ("claim", "before", "number", "now", "number", "why")
    return f"# Claims whose verdict changed\n\n{text}\n\n{table(head, rows)}\n"
