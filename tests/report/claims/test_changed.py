from dataclasses import asdict

from helpers.claims_made import claim, interval

from sae_utils.report.claims import changed_page
from sae_utils.report.claims.verdicts import verdict


def test_every_claim_whose_verdict_changed_is_there_with_the_reason():
    claims = [
        claim(id="A-10", changed="Wider."),
        claim(id="A-1"),
        claim(id="A-9", changed="The null."),
        claim(id="A-3"),
    ]
    found = [asdict(verdict(entry, interval(0.2, 0.3))) for entry in claims[:3]]
    before = {
        "made": "an old page",
        "verdicts": {
            "A-1": ["0.5 (0.4 to 0.6)", "holds"],
            "A-2": ["1", "holds"],
            "A-9": ["", "not run"],
            "A-3": ["0", "holds"],
        },
        "dropped": {"A-2": "It could not fail."},
    }
    page = changed_page(before, claims, [*found, {"text": "no paper's claim"}])
    assert page.splitlines()[6:] == [
        "| A-3 | holds | 0 | not run |  |  |",
        "| A-9 | not run |  | holds | 0.250 (0.200 to 0.300) | The null. |",
        "| A-10 | new |  | holds | 0.250 (0.200 to 0.300) | Wider. |",
        "| A-2 | holds | 1 | dropped |  | It could not fail. |",
    ]
