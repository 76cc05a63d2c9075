"""What a run leaves beside its results: the page of claims, the changed verdicts, a replication's record."""

import json
from dataclasses import asdict

import pytest
from helpers.claims_made import ENTRY, claim, interval
from helpers.throw_away_notebooks import WRITE, fake_run, job_of, make

from sae_utils.report.claims import hash_of_rules
from sae_utils.report.claims.verdicts import verdict
from sae_utils.run import made_by, pages


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A repository with one claim, whose preset ``quick`` is published and replicated by ``again``."""
    figures = tmp_path / "figures"
    monkeypatch.setattr("sae_utils.results.RESULTS", tmp_path / "results")
    for module in ("results", "run.pages"):
        monkeypatch.setattr(f"sae_utils.{module}.PUBLISHED", {"quick": figures})
    monkeypatch.setattr(pages, "REPLICATIONS", {"again": "quick", "once_more": "quick"})
    monkeypatch.setattr(pages, "OTHER_MODELS", {"larger": "quick"})
    make(tmp_path, WRITE)
    (tmp_path / "claims.yaml").write_text(json.dumps([ENTRY]))
    return tmp_path


def run(place, preset, low, high):
    """A finished run of the preset; gives the page of claims."""
    job = job_of(make(place, WRITE), place / "results")
    job = type(job)(
        job.notebook, {"model": preset, "site": "mlp_out", "layer": 4}, place / "results" / preset, job.key, None
    )
    fake_run(job, [asdict(verdict(claim(), interval(low, high), rules=hash_of_rules([claim()])))])
    return job, pages.write_claims_page(place / "claims.yaml", [job])


def test_replications_leave_a_record_that_the_published_page_shows(place):
    figures = place / "figures"
    job, page = run(place, "again", 0.2, 0.3)
    assert page == place / "results" / "again" / "claims.md"
    record = json.loads((figures / "again.json").read_text())
    assert record["rules"] == hash_of_rules([claim()])
    assert record["notebooks"] == {job.name: made_by.code_of_notebook(job.notebook)}
    assert record["verdicts"]["A-9"] | {"p": 0} == {
        "place": "mlp_out, layer 4",
        **{"estimate": 0.25, "low": 0.2, "high": 0.3, "verdict": "holds", "p": 0},
    }
    _, page = run(place, "quick", 0.2, 0.3)
    assert page == figures / "claims.md" and "| mlp_out, layer 4: holds |" in page.read_text()
    run(place, "once_more", 0.3, 0.5)
    _, page = run(place, "quick", 0.2, 0.3)
    assert "| replicated |" in page.read_text() and not (figures / "changed_verdicts.md").exists()


def test_another_model_has_a_column_with_its_numbers(place):
    run(place, "larger", 0.2, 0.3)
    _, page = run(place, "quick", 0.0, 0.05)
    text = page.read_text()
    assert "| elsewhere | larger | notebook |" in text and "on that model ([page](larger/claims.md))" in text
    assert "| does not hold |  | 0.250 (0.200 to 0.300): holds | [" in text


def test_no_record_is_left_by_an_unfinished_run_or_one_elsewhere(place):
    job, _ = run(place, "again", 0.2, 0.3)
    (place / "figures" / "again.json").unlink()
    job.file(".done.json").unlink()
    pages.write_claims_page(place / "claims.yaml", [job])
    other = type(job)(job.notebook, job.parameters, place / "elsewhere" / "again", job.key, None)
    fake_run(other)
    pages.write_claims_page(place / "claims.yaml", [other])
    assert not (place / "figures" / "again.json").exists()


def test_changed_verdicts_are_told_where_the_folder_holds_those_before(place):
    before = {"made": "an old page", "verdicts": {"A-9": ["", "not run"]}, "why": {}}
    (place / "figures").mkdir()
    (place / "figures" / pages.BEFORE).write_text(json.dumps(before))
    run(place, "quick", 0.2, 0.3)
    assert "| A-9 | not run |  | holds | 0.250" in (place / "figures" / "changed_verdicts.md").read_text()
