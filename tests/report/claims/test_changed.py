from dataclasses import asdict

from helpers.claims_made import claim, interval

from sae_utils.report.claims import changed_page
from sae_utils.report.claims.verdicts import verdict


def test_every_claim_whose_verdict_changed_is_there_with_the_reason():
    notes = {"A-10": "A share. Set-up changed: wider.", "A-1": "", "A-9": "A share.", "A-3": "Changed: told otherwise."}
    claims = [claim(id=name, note=note) for name, note in notes.items()]
    found = [asdict(verdict(entry, interval(0.2, 0.3))) for entry in claims[:3]]
    old = {"A-1": ["0.5", "holds"], "A-2": ["1", "holds"], "A-9": ["", "not run"], "A-3": ["0", "holds"]}
    why = {"A-2": "It could not fail.", "A-3": "No number."}
    page = changed_page({"made": "an old page", "verdicts": old, "why": why}, claims, [*found, {"text": "of no paper"}])
    assert page.splitlines()[6:] == [
        "| A-3 | holds | 0 | not run |  | No number. |",
        "| A-9 | not run |  | holds | 0.250 (0.200 to 0.300) | A share. |",
        "| A-10 | new |  | holds | 0.250 (0.200 to 0.300) | Set-up changed: wider. |",
        "| A-2 | holds | 1 | dropped |  | It could not fail. |",
    ]
