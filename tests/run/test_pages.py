"""What a run leaves beside its results: the page of claims, the changed verdicts, a replication's record."""

import json
from dataclasses import asdict, replace

import nbformat
import pytest
from helpers.claims_made import ENTRY, claim, interval
from helpers.throw_away_notebooks import WRITE, fake_run, job_of, make

from sae_utils.files import sha256_of_file
from sae_utils.report.claims import hash_of_rules
from sae_utils.report.claims.verdicts import verdict
from sae_utils.run import made_by, pages


@pytest.fixture
def place(tmp_path, monkeypatch, style):
    """A repository with one claim, whose preset ``quick`` is published and replicated by ``again``."""
    figures = tmp_path / "figures"
    monkeypatch.setattr("sae_utils.results.RESULTS", tmp_path / "results")
    for module in ("results", "run.pages"):
        monkeypatch.setattr(f"sae_utils.{module}.PUBLISHED", {"quick": figures})
    monkeypatch.setattr(pages, "REPLICATIONS", {"again": "quick", "once_more": "quick"})
    monkeypatch.setattr(pages, "OTHER_MODELS", {"larger": "quick"})
    monkeypatch.setattr(made_by, "PUBLISHED", {"quick": figures})
    make(tmp_path, WRITE)
    (tmp_path / "claims.yaml").write_text(json.dumps([ENTRY]))
    return tmp_path


def run(place, preset, low, high):
    """A finished run of the preset; gives the page of claims."""
    job = job_of(make(place, WRITE), place / "results")
    parameters = {"model": preset, "site": "mlp_out", "layer": 4}
    job = replace(job, parameters=parameters, folder=place / "results" / preset)
    executed = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("3 + 4")])
    job.folder.mkdir(parents=True, exist_ok=True)
    nbformat.write(executed, job.file(".ipynb"))
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


def test_another_model_has_a_column_with_its_numbers_and_its_executed_notebooks(place, monkeypatch):
    for module in ("results", "run.pages"):
        published = {"quick": place / "figures", "larger": place / "figures" / "larger"}
        monkeypatch.setattr(f"sae_utils.{module}.PUBLISHED", published)
    job, _ = run(place, "larger", 0.2, 0.3)
    assert "3 + 4" in (place / "figures" / "larger" / f"{job.name}.ipynb").read_text()
    _, page = run(place, "quick", 0.0, 0.05)
    text = page.read_text()
    assert "| elsewhere | larger | notebook |" in text and "on that model ([page](larger/claims.md))" in text
    assert "| does not hold |  | 0.250 (0.200 to 0.300): holds | [" in text


def test_the_page_has_the_figures_of_claims_and_of_papers_and_the_record_has_them_too(place):
    figures = place / "figures"
    listed = [{"paper": "A", "what": "two seeds", "ours": ["A1.png"]}]
    (place / "paper_figures.yaml").write_text(json.dumps(listed))
    _, page = run(place, "larger", 0.2, 0.3)
    assert "papers_figures" not in page.read_text()
    (figures / "A1.png").touch()
    job, page = run(place, "quick", 0.0, 0.05)
    text, link = page.read_text(), "\n![Paper A: numbers, rules and verdicts](claims_A.png)\n"
    assert text.index("| paper | claims |") < text.index(link) < text.index("## Paper A")
    assert "here that answer them](papers_figures.md)" in text
    assert "| in the paper | quick | not shown, and why |" in (figures / "papers_figures.md").read_text()
    job.file(".done.json").write_text(json.dumps(job.done() | {"figures": []}))
    record = json.loads(made_by.write_made_by([job]).read_text())
    made = ("claims_A.png", "claims.md", "papers_figures.md")
    assert record["files"] == {name: sha256_of_file(figures / name) for name in made}


def test_a_figure_is_drawn_anew_only_where_what_it_shows_has_changed(place, monkeypatch):
    figure, calls = place / "figures" / "claims_A.png", []
    monkeypatch.setattr("sae_utils.report.figures.style.use_style", lambda: calls.append(figure))
    changes = {
        "nothing": lambda: None,
        "a replication": lambda: run(place, "again", 0.3, 0.4),
        "no figure": figure.unlink,
        "the code": lambda: monkeypatch.setattr(pages, "code_that_draws", lambda: "other"),
    }
    run(place, "quick", 0.2, 0.3)
    drawn = {}
    for name, change in changes.items():
        change()
        calls.clear()
        run(place, "quick", 0.2, 0.3)
        drawn[name] = len(calls)
    assert drawn == {"nothing": 0, "a replication": 1, "no figure": 1, "the code": 1}


SAVE, FIND, FOUND = (
    'save_figure(draw("x"), "A1_cosines", p, "said")',
    "findings(r, *ids)",
    "A-9: 0.250 (0.200 to 0.300) holds",
)


@pytest.mark.parametrize("first", [[(f"{SAVE}\n{FIND}", FOUND)], [(SAVE, "<Figure>"), (FIND, FOUND)]])
def test_a_claim_leads_to_the_figure_in_whose_cell_or_the_next_it_is_found(place, first):
    job, _ = run(place, "quick", 0.2, 0.3)
    cells = [*first, ('save_figure(fig, "A2_other", p)', "A-9 is not at the start of a line: A-9: of")]
    nodes = []
    for text, shown in cells:
        output = nbformat.v4.new_output("execute_result", {"text/plain": shown}, execution_count=1)
        nodes.append(nbformat.v4.new_code_cell(text, outputs=[output]))
    nbformat.write(nbformat.v4.new_notebook(cells=nodes), job.file(".ipynb"))
    page = pages.write_claims_page(place / "claims.yaml", [job]).read_text()
    assert f"{job.name}.ipynb), [A1](A1_cosines.png) |" in page and "A2" not in page


def test_a_paper_without_a_number_here_has_no_figure(place):
    _, page = run(place, "quick", float("nan"), float("nan"))
    assert "![" not in page.read_text() and not (place / "figures" / "claims_A.png").exists()


def test_no_record_is_left_by_an_unfinished_run_or_one_elsewhere(place):
    job, _ = run(place, "again", 0.2, 0.3)
    (place / "figures" / "again.json").unlink()
    job.file(".done.json").unlink()
    pages.write_claims_page(place / "claims.yaml", [job])
    other = replace(job, folder=place / "elsewhere" / "again")
    fake_run(other)
    pages.write_claims_page(place / "claims.yaml", [other])
    assert not (place / "figures" / "again.json").exists()


def test_changed_verdicts_are_told_where_the_folder_holds_those_before(place):
    before = {"made": "an old page", "verdicts": {"A-9": ["", "not run"]}, "why": {}}
    (place / "figures").mkdir()
    (place / "figures" / pages.BEFORE).write_text(json.dumps(before))
    run(place, "quick", 0.2, 0.3)
    assert "| A-9 | not run |  | holds | 0.250" in (place / "figures" / "changed_verdicts.md").read_text()
