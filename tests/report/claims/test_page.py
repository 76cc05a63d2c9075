from dataclasses import asdict

import pytest
from helpers.claims_made import claim, interval

from sae_utils.report.claims import claims_page
from sae_utils.report.claims.entries import in_words
from sae_utils.report.claims.page import NOT_RUN
from sae_utils.report.claims.verdicts import verdict

CLAIMS = [claim(id=name, paper=name[0]) for name in ("C-2", "A-1", "A-2")]


def answer(low, high):
    return asdict(verdict(CLAIMS[1], interval(low, high), null=0.1))


def cells(page):
    """The tables' rows by claim, without head and rule."""
    rows = [[cell.strip() for cell in line.split(" | ")] for line in page.splitlines() if line.startswith("| ")]
    return [[cell.strip("| ") for cell in row] for row in rows if not row[0].startswith("| claim")]


def test_every_claim_has_a_row_under_its_paper():
    page = claims_page(CLAIMS, {"01_seeds": [answer(0.2, 0.3)], "02_more": []}, "laptop")
    answered, waiting, other = cells(page)
    about, here = ["Some are shared. (Figure 1)", "0.4 [R]"], "0.250 (0.200 to 0.300)"
    assert answered == ["A-1", *about, here, "above 0.100 (the null) and below 0.900", "holds", "01_seeds"]
    assert waiting == ["A-2", *about, "", "above random and below 0.9", NOT_RUN, ""]
    assert other[0] == "C-2" and page.index("## Paper A") < page.index("| A-2") < page.index("## Paper C")
    assert "## Paper B" not in page and "preset `laptop`" in page and page.endswith("|\n")


def test_a_claim_that_two_notebooks_answer_has_two_rows():
    answers = {"01_seeds": [answer(0.2, 0.3)], "02_more": [answer(0.01, 0.05)]}
    rows = [row for row in cells(claims_page(CLAIMS, answers, "laptop")) if row[0] == "A-1"]
    assert [row[-2:] for row in rows] == [["holds", "01_seeds"], ["does not hold at this scale", "02_more"]]


def test_a_claim_that_a_run_left_out_says_so():
    page = claims_page(CLAIMS[1:2], {"01_seeds": [asdict(verdict(CLAIMS[1], None))]}, "laptop")
    assert cells(page)[0][3:] == ["", "above random and below 0.9", "not judged here", "01_seeds"]


def test_verdicts_on_no_papers_claim_are_left_out():
    own = {"00_language_model": [{"text": "Better than n-grams.", "verdict": "holds"}]}
    assert claims_page([], own, "laptop") == claims_page([], {}, "laptop")


def test_bars_and_line_ends_stay_within_their_cell():
    page = claims_page([claim(text="P(a|b)\nis large.")], {}, "laptop")
    line = next(line for line in page.splitlines() if "A-9" in line)
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
