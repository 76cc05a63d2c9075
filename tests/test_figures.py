"""The published figures are those that were drawn, and the code that drew them is the code that is here."""

import json

import pytest

from sae_utils.files import sha256_of_file
from sae_utils.paths import FIGURES, NOTEBOOKS, PUBLISHED, REPLICATIONS
from sae_utils.report.claims import hash_of_rules, load_claims
from sae_utils.run import made_by

RECORD = json.loads((FIGURES / made_by.RECORD).read_text(encoding="utf-8"))
BY_HAND = {"explorer.png", "before_verdicts.json"}  # a screenshot of explorer.html for the README; an old page
OF_OTHER_RUNS = {made_by.RECORD, *(f"{name}.json" for name in REPLICATIONS)}
ADVICE = "./run_all.sh makes figures/ anew"


def test_every_figure_is_the_one_that_was_drawn():
    there = {path.name for path in FIGURES.iterdir()} - BY_HAND - OF_OTHER_RUNS
    assert PUBLISHED[RECORD["preset"]] == FIGURES
    assert {name: sha256_of_file(FIGURES / name) for name in there} == RECORD["files"], ADVICE


@pytest.mark.parametrize("notebook", sorted(path.stem for path in NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")))
def test_the_notebook_s_code_has_not_changed_since(notebook):
    assert made_by.code_of_notebook(NOTEBOOKS / f"{notebook}.ipynb") == RECORD["notebooks"][notebook], ADVICE


def test_the_code_that_draws_has_not_changed_since():
    assert made_by.code_that_draws() == RECORD["drawing"], ADVICE


@pytest.mark.parametrize("name", REPLICATIONS)
def test_replications_are_by_the_rules_and_the_code_that_are_here(name):
    file = PUBLISHED[REPLICATIONS[name]] / f"{name}.json"
    if not file.exists():
        pytest.skip(f"{name} has not been run by these rules: ./run_all.sh --preset {name}")
    record = json.loads(file.read_text(encoding="utf-8"))
    assert record["rules"] == hash_of_rules(load_claims().values()), f"./run_all.sh --preset {name}"
    code = {notebook: made_by.code_of_notebook(NOTEBOOKS / f"{notebook}.ipynb") for notebook in record["notebooks"]}
    assert record["notebooks"] == code, f"./run_all.sh --preset {name}"


def test_every_changed_verdict_has_its_reason():
    page = (FIGURES / "changed_verdicts.md").read_text(encoding="utf-8")
    assert not [line for line in page.splitlines() if line.endswith("|  |")], "write it in before_verdicts.json"


def test_comments_and_layout_do_not_count_and_values_do():
    one, same, other = (made_by._code(text) for text in ("x = [1, 2]", "x = [\n    1,\n    2,\n]  # two", "x = [1, 3]"))
    assert one == same != other
