import json

import pytest

from sae_utils.report.claims import findings as found
from sae_utils.report.claims.entries import FAILS, HOLDS
from sae_utils.results import Results

VERDICT = {"estimate": 0.5, "low": 0.4, "high": 0.6}


@pytest.fixture(autouse=True)
def records(tmp_path, monkeypatch):
    """One published run, where A-1 holds; the other has left no record."""
    monkeypatch.setattr(found, "FIGURES", tmp_path)
    record = {"model": "a-model", "verdicts": {"A-1": VERDICT | {"verdict": HOLDS}}}
    (tmp_path / "smollm2.json").write_text(json.dumps(record), encoding="utf-8")


def results(preset):
    verdicts = [{"id": "A-1", **VERDICT, "estimate": 0.45, "verdict": FAILS}, {"question": "of no claim"}]
    return Results(parameters={"preset": preset}, metrics={}, verdicts=verdicts, arrays={}, environment={})


def test_what_was_published_stands_beside_the_paper():
    table = found.published_verdicts("A-1", "A-2")
    rows = table.html.split("<tr>")[1:]
    assert "a-model" in rows[0] and len(rows) == 3
    assert "<b>A-1</b>" in rows[1] and "0.500 (0.400 to 0.600)" in rows[1] and "holds</b>" in rows[1]
    assert "<b>A-2</b>" in rows[2] and "not run" in rows[2]


def test_findings_of_this_run_come_first_and_alone_in_the_text():
    shown = found.findings(results("mine"), "A-1", "A-2")
    assert repr(shown) == "A-1: 0.450 (0.400 to 0.600) does not hold\nA-2: not run"
    assert shown.html.index("here 0.450") < shown.html.index("a-model 0.500") < shown.html.index("paper: ")
    assert "..<br>" not in shown.html and "of their latents.<br>difference of shares: here 0.450" in shown.html


def test_a_published_run_is_not_shown_beside_itself():
    assert "a-model" not in found.findings(results("smollm2"), "A-1").html
