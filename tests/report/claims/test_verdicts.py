from dataclasses import asdict

import numpy as np
import pytest
import yaml
from helpers.claims_made import ENTRY, claim, interval

from sae_utils.analysis.statistics import Interval
from sae_utils.errors import InputError
from sae_utils.report.claims import load_claims
from sae_utils.report.claims.entries import hash_of_rules, rules_of
from sae_utils.report.claims.verdicts import FAILS, HOLDS, NOT_JUDGED, UNDECIDED, judge, verdict, verdict_table

ABOVE, BELOW, BOTH = {"above": 0.5}, {"below": 0.05}, {"above": 0.1, "below": 0.9}


@pytest.mark.parametrize(
    ("rule", "ends", "expected", "bound"),
    [
        (ABOVE, (0.6, 0.7), HOLDS, 0.5),
        (ABOVE, (0.4, 0.7), UNDECIDED, None),
        (ABOVE, (0.3, 0.5), FAILS, 0.5),
        (BELOW, (0.0, 0.04), HOLDS, 0.05),
        (BELOW, (0.04, 0.06), UNDECIDED, None),
        (BELOW, (0.05, 0.06), FAILS, 0.05),
        (BOTH, (0.11, 0.4), HOLDS, 0.1),  # the nearer bound, so the larger p of the two
        (BOTH, (0.7, 0.89), HOLDS, 0.9),
        (BOTH, (0.09, 0.5), UNDECIDED, None),
        (BOTH, (0.5, 0.95), UNDECIDED, None),
        (BOTH, (0.92, 0.95), FAILS, 0.9),
        (BOTH, (0.01, 0.1), FAILS, 0.1),
    ],
)
def test_verdict_follows_from_interval_and_rule_and_p_is_of_the_bound_that_decides(rule, ends, expected, bound):
    judged = interval(*ends)
    found = verdict(claim(rule=rule), judged)
    assert (found.verdict, found.low, found.high) == (expected, *ends)
    assert found.p == (None if bound is None else judged.p_value(bound))


RULES = load_claims().values()


@pytest.mark.parametrize("entry", RULES, ids=[entry.id for entry in RULES])
def test_every_rule_can_hold_and_can_fail_within_the_bounds_of_its_metric(entry):
    least, largest = (max(min(limit, 99.0), -99.0) for limit in entry.limits)
    above, below = entry.rule.get("above", least), entry.rule.get("below", largest)

    def found(*ends):
        return verdict(entry, interval(*sorted(ends))).verdict

    outside = [(low, high) for low, high in ((least, above), (below, largest)) if low < high]
    assert outside and found(above + 1e-3, below - 1e-3) == HOLDS
    for low, high in outside:
        assert found(low, high) == FAILS
        assert found(np.mean((low, high)), np.mean((above, below))) == UNDECIDED


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"known": "R3"}, "known='R3' is unknown; allowed: R, R2"),
        ({"paper": "F"}, "paper='F' is unknown"),
        ({"unit": "miles"}, "unit='miles' is unknown; allowed: share, "),
        ({"paper": "B"}, "its id must be its paper 'B', a hyphen and a number"),
        ({"colour": "red"}, "unknown field 'colour'"),
        ({"metric": None}, "no field 'metric'"),
        ({"number": "0.4"}, "must be a number or null"),
        ({"rule": {}}, "must have above, below or both"),
        ({"rule": {"near": 0.4}}, "must have above, below or both"),
        ({"rule": {"above": "chance"}}, "above='chance' must be a number"),
        ({"rule": {"above": 0}}, "rule above 0 cannot fail from 0 to 1"),
        ({"rule": {"below": 1}, "bounds": [0, 1]}, "rule below 1 cannot fail from 0 to 1"),
        ({"rule": {"above": 0.5}, "bounds": [-1, 0.5]}, "rule above 0.5 cannot hold from -1 to 0.5"),
        ({"rule": {"above": 0.6, "below": 0.4}}, "cannot hold"),
        ({"bounds": [1, 0]}, r"bounds=\[1, 0\] must be the least and the largest value"),
        ({"text": "Another."}, "is there twice"),
    ],
)
def test_bad_claims_are_refused_in_one_line(tmp_path, change, message):
    entry = {key: value for key, value in (ENTRY | change).items() if value is not None}
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump([entry, ENTRY]))
    with pytest.raises(InputError, match=message) as error:
        load_claims(path)
    assert "A-9" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(("number", "shown"), [(0.4, "0.4 [R]"), (None, "no number [R]")])
@pytest.mark.parametrize(("null", "reached"), [(None, []), (0.15, ["0.150"])])
def test_table_is_the_same_from_verdicts_and_from_a_results_file(number, shown, null, reached):
    found = verdict(claim(number=number), interval(0.2, 0.3), null)
    table = verdict_table([found])
    assert table.equals(verdict_table([asdict(found)]))
    rule = "above 0.1 and below 0.9"
    assert table.loc["A-9"].tolist() == [shown, "0.250 (0.200 to 0.300)", *reached, rule, HOLDS]


def test_judge_takes_each_claims_metric():
    intervals = {"gated_above_topk": interval(0.2, 0.3), "agree": interval(0.1, 0.2)}
    found = judge(["A-2", "A-16"], intervals, {"agree": 1.0})
    expected = [("A-2", "agree", FAILS, 1.0), ("A-16", "gated_above_topk", HOLDS, None)]
    assert [(v.id, v.metric, v.verdict, v.null) for v in found] == expected
    assert {v.rules for v in found} == {rules_of(load_claims().values())["A"]}


def test_the_hash_of_the_rules_is_of_ids_metrics_and_rules_alone():
    one, other = claim(), claim(id="A-8")
    same = hash_of_rules([one, other])
    prose = claim(text="Reworded.", note="Why.", rule={"below": 0.9, "above": 0.1})
    assert hash_of_rules([other, prose]) == same
    for change in ({"id": "A-7"}, {"metric": "agree"}, {"rule": {"above": 0.1}}):
        assert hash_of_rules([claim(**change), other]) != same


def test_later_questions_leave_the_hash_of_earlier_rules_as_it_was():
    papers, own = [claim(id=f"{paper}-1", paper=paper) for paper in "ABCD"], claim(id="E-1", paper="E")
    assert rules_of([*papers, own]) == dict.fromkeys("ABCD", hash_of_rules(papers)) | {"E": hash_of_rules([own])}
    assert rules_of(papers) == dict.fromkeys("ABCD", hash_of_rules(papers))


def test_what_a_run_cannot_judge_keeps_its_number_and_says_why():
    intervals = {"meta_explained_variance": interval(0.6, 0.7), "exchange_cost": interval(0.1, 0.2)}
    found = judge(["B-20", "B-29"], intervals, {}, unfit={"B-29": "not reproducible"})
    assert [v.verdict for v in found] == [HOLDS, f"{NOT_JUDGED}: not reproducible"]
    assert (found[1].estimate, found[1].p) == (pytest.approx(0.15), None)


def test_a_partial_run_says_what_it_does_not_judge():
    nothing = Interval(float("nan"), float("nan"), float("nan"), "none")
    intervals = {"gated_above_topk": interval(0.2, 0.3), "agree": nothing}
    found = judge(["A-16", "A-2", "A-3"], intervals, {}, partial=True)
    assert [v.verdict for v in found] == [HOLDS, NOT_JUDGED, NOT_JUDGED]
    assert (found[1].estimate, found[1].low, found[1].high, found[1].needed) == (None, None, None, "above 0.5")
    assert verdict_table(found)["here"].tolist() == ["0.250 (0.200 to 0.300)", "", ""]
    with pytest.raises(KeyError):
        judge(["A-3"], {}, {})
