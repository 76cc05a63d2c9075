"""The published figures are those that were drawn, and the code that drew them is the code that is here."""

import json

import pytest

from sae_utils.files import sha256_of_file
from sae_utils.paths import NOTEBOOKS, OTHER_MODELS, PUBLISHED, REPLICATIONS
from sae_utils.report.claims import load_claims, rules_of
from sae_utils.report.claims.family import by_rules
from sae_utils.run import made_by

BY_HAND = {"before_verdicts.json"}  # an old page
SHOWN_BESIDE = {"laptop": "laptop"} | REPLICATIONS | OTHER_MODELS
OF_OTHER_RUNS = {made_by.RECORD, *(f"{name}.json" for name in SHOWN_BESIDE)}


def advice(preset):
    return f"./run_all.sh --preset {preset} makes {PUBLISHED[preset].name}/ anew"


@pytest.fixture(params=PUBLISHED)
def record(request):
    return json.loads((PUBLISHED[request.param] / made_by.RECORD).read_text(encoding="utf-8"))


def test_every_figure_is_the_one_that_was_drawn(record):
    folder = PUBLISHED[record["preset"]]
    there = {path.name for path in folder.iterdir() if path.is_file()} - BY_HAND - OF_OTHER_RUNS
    assert {name: sha256_of_file(folder / name) for name in there} == record["files"], advice(record["preset"])


def test_the_notebooks_code_has_not_changed_since(record):
    code = {path.stem: made_by.code_of_notebook(path) for path in NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")}
    assert record["notebooks"].items() <= code.items(), advice(record["preset"])
    assert record["preset"] in OTHER_MODELS or record["notebooks"] == code


def test_the_code_that_draws_has_not_changed_since(record):
    assert made_by.code_that_draws() == record["drawing"], advice(record["preset"])


@pytest.mark.parametrize(("name", "shown_on"), SHOWN_BESIDE.items())
def test_what_is_shown_beside_is_by_the_rules_and_the_code_that_are_here(name, shown_on):
    shown = json.loads((PUBLISHED[shown_on] / f"{name}.json").read_text(encoding="utf-8"))
    assert by_rules({name: shown}, rules_of(load_claims().values())), f"./run_all.sh --preset {name}"
    code = {notebook: made_by.code_of_notebook(NOTEBOOKS / f"{notebook}.ipynb") for notebook in shown["notebooks"]}
    assert shown["notebooks"] == code, f"./run_all.sh --preset {name}"


def test_every_changed_verdict_has_its_reason():
    page = (PUBLISHED["laptop"] / "changed_verdicts.md").read_text(encoding="utf-8")
    assert not [line for line in page.splitlines() if line.endswith("|  |")], "write it in before_verdicts.json"


def test_comments_and_layout_do_not_count_and_values_do():
    one, same, other = (made_by._code(text) for text in ("x = [1, 2]", "x = [\n    1,\n    2,\n]  # two", "x = [1, 3]"))
    assert one == same != other
