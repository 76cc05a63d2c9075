from dataclasses import asdict

import pytest
from helpers.claims_made import claim, interval

from sae_utils.errors import InputError
from sae_utils.report.claims import claims_page, hash_of_rules
from sae_utils.report.claims.entries import FAILS, HOLDS, NOT_RUN, UNDECIDED, number_here
from sae_utils.report.claims.verdicts import verdict

CLAIMS = [claim(id=name, paper=name[0]) for name in ("C-2", "A-1", "A-10", "A-2")]
RULES = hash_of_rules(CLAIMS)


def answer(low, high, name="A-1"):
    return asdict(verdict(claim(id=name), interval(low, high), null=0.1, rules=RULES))


def cells(page):
    """The tables' rows by claim, without head and rule."""
    rows = [[cell.strip() for cell in line.split(" | ")] for line in page.splitlines() if line.startswith("| ")]
    return [[cell.strip("| ") for cell in row] for row in rows if "-" in row[0] and "---" not in row[0]]


def test_every_claim_has_a_row_under_its_paper():
    page = claims_page(CLAIMS, {"01_seeds": [answer(0.2, 0.3)], "02_more": []}, "laptop")
    answered, waiting, tenth, other = cells(page)
    about, rule = ["Some are shared. (Figure 1)", "0.4 [R]", "share"], "above 0.1 and below 0.9"
    link = "[01_seeds](../notebooks/01_seeds.ipynb)"
    assert answered == ["A-1", *about, "0.250 (0.200 to 0.300)", "0.100", rule, "holds", "holds", "", link]
    assert waiting == ["A-2", *about, "", "", rule, NOT_RUN, "", "", ""]
    assert tenth[0] == "A-10" and other[0] == "C-2"
    assert page.index("## Paper A") < page.index("| A-2") < page.index("## Paper C")
    assert "## Paper B" not in page and "preset `laptop`" in page and page.endswith("|\n")
    assert f"hash `{RULES}`" in page


def test_counts_are_by_paper_plain_after_holm_and_replicated():
    answers = {"01_seeds": [answer(0.2, 0.3), answer(0.01, 0.099, "A-2"), answer(0.05, 0.5, "A-10")]}
    places = {
        name: {"rules": RULES, "verdicts": {"A-1": {"place": f"layer {name}", "verdict": HOLDS}}} for name in "24"
    }
    page = claims_page(CLAIMS, answers, "laptop", places)
    assert "| A | 3 | 1 | 1 | 1 | 0 | 1 | 0 | 2 | 1 |\n| C | 1 | 0 | 0 | 0 | 1 | 0 | 0 | 0 | 0 |" in page
    verdicts = {row[0]: row[7:10] for row in cells(page)}
    assert verdicts["A-1"] == [HOLDS, HOLDS, "replicated"]
    assert verdicts["A-2"] == [FAILS, "undecided", ""]  # p is .025 by hand: the bound is an end of the interval
    assert verdicts["A-10"] == [UNDECIDED, "undecided", ""]


def test_other_rules_are_not_mixed_in():
    with pytest.raises(InputError, match=f"^01_seeds was judged by rules old, not {RULES}: run it again$"):
        claims_page(CLAIMS, {"01_seeds": [answer(0.2, 0.3) | {"rules": "old"}]}, "laptop")
    stale = {"replication-1": {"rules": "old", "verdicts": {"A-1": {"place": "layer 4", "verdict": HOLDS}}}}
    page = claims_page(CLAIMS, {"01_seeds": [answer(0.2, 0.3)]}, "laptop", stale)
    assert cells(page)[0][9] == ""
    assert "\nreplication-1 was judged by other rules (hash `old`): left out.\n" in page


def test_a_claim_leads_to_its_figure_its_rule_and_the_numbers_of_other_places():
    records = {"replication-1": {"rules": RULES, "verdicts": {"A-1": {"place": "layer 4", "verdict": HOLDS}}}}
    ways = {
        "figures": {"A": "claims_A.png"},
        "others": {"what changed": "changed.md"},
        "drawn": {"A-1": ["A1_cos.png"]},
    }
    page = claims_page(CLAIMS, {"01_seeds": [answer(0.2, 0.3)]}, "laptop", records, **ways)
    rows = {row[0]: row[-1] for row in cells(page)}
    assert rows["A-1"] == "[01_seeds](../notebooks/01_seeds.ipynb), [A1](A1_cos.png)" and rows["A-2"] == ""
    for link in ("[claims.yaml](../notebooks/claims.yaml)", "[PAPERS.md](../notebooks/PAPERS.md)"):
        assert link in page
    assert "(their numbers: [replication-1](replication-1.json))" in page and "\n[what changed](changed.md).\n" in page


def test_own_questions_have_a_hash_of_their_own_and_records_of_either_are_shown():
    asked = claim(id="E-1", paper="E")
    own, verdicts = hash_of_rules([asked]), {"A-1": {"place": "layer 4", "verdict": HOLDS}}
    found = asdict(verdict(asked, interval(0.2, 0.3), rules=own))
    records = {str(i): {"rules": rules, "verdicts": verdicts} for i, rules in enumerate((RULES, f"{RULES} {own}"))}
    page = claims_page([*CLAIMS, asked], {"01_seeds": [answer(0.2, 0.3)], "11_own": [found]}, "laptop", records)
    assert f"hash `{RULES}` and `{own}`" in page and "left out" not in page
    assert {row[0]: row[9] for row in cells(page)}["A-1"] == "replicated"


def test_a_claim_that_two_notebooks_answer_has_two_rows_and_one_that_a_run_left_out_says_so():
    left_out = asdict(verdict(CLAIMS[1], None, rules=RULES))
    answers = {"01_seeds": [left_out], "02_more": [answer(0.01, 0.05)]}
    first, second, *_ = cells(claims_page(CLAIMS, answers, "laptop", notebooks="../../notebooks"))
    link = "[01_seeds](../../notebooks/01_seeds.ipynb)"
    rule = "above 0.1 and below 0.9"
    assert first[4:] == ["", "", rule, "not judged here", "not judged", "", link]
    assert (second[0], second[7]) == ("A-1", "does not hold at this scale")


def test_verdicts_on_no_papers_claim_are_left_out():
    own = {"00_language_model": [{"text": "Better than n-grams.", "verdict": "holds"}]}
    assert claims_page([], own, "laptop") == claims_page([], {}, "laptop")


def test_bars_and_line_ends_stay_within_their_cell():
    page = claims_page([claim(text="P(a|b)\nis large.")], {}, "laptop")
    line = next(line for line in page.splitlines() if "A-9" in line)
    assert "P(a\\|b) is large." in line and line.replace("\\|", "").count("|") == 12


def test_no_number_is_less_than_nothing_where_it_is_nothing():
    assert number_here({"estimate": -1e-5, "low": -0.001, "high": 1e-5}) == "0.000 (-0.001 to 0.000)"
