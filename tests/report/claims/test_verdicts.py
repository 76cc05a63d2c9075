from dataclasses import asdict

import pytest
import yaml
from helpers.claims_made import ENTRY, claim, interval

from sae_utils.analysis.matching.criteria import CONTRASTS, CRITERIA
from sae_utils.analysis.statistics import Interval
from sae_utils.errors import InputError
from sae_utils.report.claims import load_claims
from sae_utils.report.claims.verdicts import FAILS, HOLDS, NOT_JUDGED, UNDECIDED, judge, verdict, verdict_table


@pytest.mark.parametrize(
    ("rule", "ends", "expected"),
    [
        ({"above": 0.5}, (0.6, 0.7), HOLDS),
        ({"above": 0.5}, (0.4, 0.7), UNDECIDED),
        ({"above": 0.5}, (0.3, 0.5), FAILS),
        ({"below": 0.05}, (0.0, 0.04), HOLDS),
        ({"below": 0.05}, (0.04, 0.06), UNDECIDED),
        ({"below": 0.05}, (0.05, 0.06), FAILS),
        ({"above": "random", "below": 0.9}, (0.11, 0.89), HOLDS),
        ({"above": "random", "below": 0.9}, (0.09, 0.5), UNDECIDED),
        ({"above": "random", "below": 0.9}, (0.5, 0.95), UNDECIDED),
        ({"above": "random", "below": 0.9}, (0.92, 0.95), FAILS),
        ({"above": "random", "below": 0.9}, (0.01, 0.1), FAILS),
    ],
)
def test_verdict_follows_from_interval_and_rule(rule, ends, expected):
    found = verdict(claim(rule=rule), interval(*ends), null=0.1)
    assert found.verdict == expected
    assert (found.low, found.high) == ends


def test_verdict_says_what_was_needed():
    assert verdict(claim(), interval(0.2, 0.3), null=0.1).needed == "above 0.100 (the null) and below 0.900"
    with pytest.raises(InputError, match="needs the value of random directions"):
        verdict(claim(), interval(0.2, 0.3))


def test_what_has_no_value_is_not_judged():
    found = verdict(claim(), interval(float("nan"), float("nan")), null=0.1)
    assert found.verdict == NOT_JUDGED and found.estimate is found.low is found.high is None


def test_claims_of_the_repository_load_and_name_statistics_that_exist():
    claims = load_claims()
    assert {"A-1", "A-2", "A-3"} <= set(claims)
    for name, entry in claims.items():
        assert name.startswith(entry.paper) and entry.text.endswith(".")
    by_criteria = {claims[name].metric for name in ("A-1", "A-2", "A-3", "A-7", "A-8", "B-0")}
    assert by_criteria <= {*CRITERIA, *CONTRASTS}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"known": "R3"}, "known='R3' is unknown; allowed: R, R2"),
        ({"paper": "E"}, "paper='E' is unknown"),
        ({"colour": "red"}, "unknown field 'colour'"),
        ({"metric": None}, "no field 'metric'"),
        ({"number": "0.4"}, "must be a number or null"),
        ({"rule": {}}, "must have above, below or both"),
        ({"rule": {"near": 0.4}}, "must have above, below or both"),
        ({"rule": {"above": "chance"}}, "above='chance' must be a number or 'random'"),
        ({"text": "Another."}, "is there twice"),
    ],
)
def test_bad_claims_are_refused_in_one_line(tmp_path, change, message):
    entry = {key: value for key, value in (ENTRY | change).items() if value is not None}
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump([entry, ENTRY]))
    with pytest.raises(InputError, match=message) as error:
        load_claims(path)
    assert str(error.value).startswith("claim A-9") and "\n" not in str(error.value)


def test_table_is_the_same_from_verdicts_and_from_a_results_file():
    found = verdict(claim(), interval(0.2, 0.3), null=0.0)
    table = verdict_table([found])
    assert table.equals(verdict_table([asdict(found)]))
    needed = "above 0.000 (the null) and below 0.900"
    assert table.loc["A-9"].tolist() == ["0.4 [R]", "0.250 (0.200 to 0.300)", needed, HOLDS]


def test_a_claim_without_a_number_says_so():
    table = verdict_table([verdict(claim(number=None), interval(0.4, 0.6), 0.0)])
    assert table.loc["A-9", "paper"] == "no number [R]"


def test_judge_takes_each_claims_metric():
    intervals = {"shared_notebook": interval(0.2, 0.3), "agree": interval(0.1, 0.2)}
    found = judge(["A-2", "A-1"], intervals, {"shared_notebook": 0.0, "agree": 1.0})
    assert [(v.id, v.metric, v.verdict) for v in found] == [("A-2", "agree", FAILS), ("A-1", "shared_notebook", HOLDS)]


def test_a_partial_run_says_what_it_does_not_judge():
    nothing = Interval(float("nan"), float("nan"), float("nan"), "none")
    nulls = {"shared_notebook": 0.0}
    found = judge(["A-1", "A-2", "A-3"], {"shared_notebook": interval(0.2, 0.3), "agree": nothing}, nulls, partial=True)
    assert [v.verdict for v in found] == [HOLDS, NOT_JUDGED, NOT_JUDGED]
    assert (found[1].estimate, found[1].low, found[1].high, found[1].needed) == (None, None, None, "above 0.5")
    assert verdict_table(found)["here"].tolist() == ["0.250 (0.200 to 0.300)", "", ""]
    with pytest.raises(KeyError):
        judge(["A-3"], {}, nulls)
