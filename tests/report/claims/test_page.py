from dataclasses import asdict

import pytest

from sae_utils.analysis.statistics import JACKKNIFE, Interval
from sae_utils.report.claims.entries import Claim
from sae_utils.report.claims.page import NOT_RUN, claims_page, in_words
from sae_utils.report.claims.verdicts import verdict

ENTRY = {
    "id": "A-1",
    "paper": "A",
    "section": "Figure 1",
    "text": "Some are shared.",
    "number": 0.4159,
    "known": "R",
    "metric": "shared",
    "rule": {"above": "random", "below": 0.9},
}
CLAIMS = [Claim(**ENTRY | {"id": name, "paper": name[0]}) for name in ("C-2", "A-1", "A-2")]


def answer(claim, low, high):
    return asdict(verdict(claim, Interval((low + high) / 2, low, high, JACKKNIFE), null=0.1))


def cells(page):
    """The tables' rows by claim, without head and rule."""
    rows = [[cell.strip() for cell in line.split(" | ")] for line in page.splitlines() if line.startswith("| ")]
    return [[cell.strip("| ") for cell in row] for row in rows if not row[0].startswith("| claim")]


def test_every_claim_has_a_row_under_its_paper():
    page = claims_page(CLAIMS, {"01_seeds": [answer(CLAIMS[1], 0.2, 0.3)], "02_more": []}, "laptop")
    answered, waiting, other = cells(page)
    number = "0.4159 [R]"
    needed = "above 0.100 (the null) and below 0.900"
    here = "0.250 (0.200 to 0.300)"
    assert answered == ["A-1", "Some are shared. (Figure 1)", number, here, needed, "holds", "01_seeds"]
    assert waiting[:1] + waiting[2:] == ["A-2", number, "", "above random and below 0.9", NOT_RUN, ""]
    assert other[0] == "C-2" and page.index("## Paper A") < page.index("| A-2") < page.index("## Paper C")
    assert "## Paper B" not in page and "preset `laptop`" in page and page.endswith("|\n")


def test_a_claim_that_two_notebooks_answer_has_two_rows():
    answers = {"01_seeds": [answer(CLAIMS[1], 0.2, 0.3)], "02_more": [answer(CLAIMS[1], 0.01, 0.05)]}
    rows = [row for row in cells(claims_page(CLAIMS, answers, "laptop")) if row[0] == "A-1"]
    assert [row[-2:] for row in rows] == [["holds", "01_seeds"], ["does not hold at this scale", "02_more"]]


def test_verdicts_on_no_papers_claim_are_left_out():
    own = {"00_language_model": [{"text": "Better than n-grams.", "verdict": "holds"}]}
    assert claims_page([], own, "laptop") == claims_page([], {}, "laptop")


def test_bars_and_line_ends_stay_within_their_cell():
    claim = Claim(**ENTRY | {"text": "P(a|b)\nis large."})
    line = next(line for line in claims_page([claim], {}, "laptop").splitlines() if "A-1" in line)
    assert "P(a\\|b) is large." in line and line.replace("\\|", "").count("|") == 8


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"above": 0}, "above 0"),
        ({"below": 0.5, "above": -1}, "below 0.5 and above -1"),
        ({"below": "random"}, "below random"),
    ],
)
def test_rules_in_words(rule, words):
    assert in_words(rule) == words


def test_a_claim_that_a_run_left_out_says_so():
    page = claims_page(CLAIMS[1:2], {"01_seeds": [asdict(verdict(CLAIMS[1], None))]}, "laptop")
    assert cells(page)[0][3:] == ["", "above random and below 0.9", "not judged here", "01_seeds"]
