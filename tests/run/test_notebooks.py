"""The form of every committed notebook and of its tiny copy, and that what is stored is what was found.

That its numbers still hold is nbval's part: ``pytest --nbval tests/notebooks``.
"""

import ast
import io
import json
import os
import re
import subprocess
import sys
from base64 import b64decode

import pytest
from PIL import Image

from sae_utils.paths import NOTEBOOKS, PUBLISHED, TINY_NOTEBOOKS
from sae_utils.report.claims.entries import number_here
from sae_utils.report.claims.family import short
from sae_utils.report.claims.page import HEAD
from sae_utils.run.notebooks import INJECTED, default_parameters, own_cells, parameters_cells, read_cells, source
from sae_utils.run.parameters.checks import check, parameter_names, parameters_cell
from sae_utils.run.parameters.presets import OF_CELLS, values_of

PATHS = sorted(NOTEBOOKS.glob("*.ipynb"))
COPIES = [TINY_NOTEBOOKS / path.name for path in PATHS]
MACHINE_PATH = re.compile(r"/(?:home|root|Users|work|tmp|mnt|private|opt|content)/|[A-Z]:\\\\|site-packages|\.venv")
FOUND = re.compile(r"^([A-Z]-\d+): +(.+)$", re.M)  # as ``findings`` prints it
each_notebook = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
each_copy = pytest.mark.parametrize("path", COPIES, ids=lambda path: path.stem)
each_stored = pytest.mark.parametrize("path", PATHS + COPIES, ids=lambda path: path.stem + " tiny" * (path in COPIES))


def code_cells(path):
    return [cell for cell in read_cells(path) if cell["cell_type"] == "code"]


def texts_of(path):
    """What the outputs of a notebook are as plain text."""
    outputs = [out for cell in code_cells(path) for out in cell["outputs"]]
    return ["".join(out["data"]["text/plain"]) for out in outputs if "text/plain" in out.get("data", {})]


def figures_of(path):
    """The pictures among the outputs of a notebook."""
    outputs = [out for cell in code_cells(path) for out in cell["outputs"]]
    pictures = [out["data"]["image/png"] for out in outputs if "image/png" in out.get("data", {})]
    return [Image.open(io.BytesIO(b64decode("".join(picture)))) for picture in pictures]


@each_copy
def test_a_tiny_copy_has_the_notebooks_cells_and_the_tiny_presets_values(path):
    advice = f"python -m sae_utils.run.store {path.stem[:2]} makes it anew"
    assert path.is_file() and own_cells(path) == own_cells(NOTEBOOKS / path.name), advice
    (injected,) = [cell for cell in read_cells(path) if INJECTED in cell["metadata"].get("tags", ())]
    lines = ast.parse(source(injected)).body
    values = {line.targets[0].id: ast.literal_eval(line.value) for line in lines}
    assert values == values_of("tiny", path.stem), advice


def test_there_is_no_other_copy():
    assert {path.name for path in TINY_NOTEBOOKS.glob("*")} <= {path.name for path in COPIES}


@each_stored
def test_every_code_cell_was_executed_in_order_and_something_is_compared(path):
    cells = code_cells(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [out for cell in cells for out in cell["outputs"]]
    assert not [out for out in outputs if out["output_type"] == "error"]
    assert [out for out in outputs if out.get("name") == "stdout" or "text/plain" in out.get("data", {})]


@each_stored
def test_metadata_are_those_of_any_machine(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert not {"papermill", "widgets", "vscode", "colab"} & set(notebook["metadata"])
    for cell in notebook["cells"]:
        assert not {"papermill", "widgets", "vscode", "execution", "ExecuteTime"} & set(cell["metadata"])
        assert path in COPIES or INJECTED not in cell["metadata"].get("tags", [])


@each_stored
def test_no_machine_paths(path):
    for cell in read_cells(path):
        texts = [source(cell)]
        for out in cell.get("outputs", []):
            texts += [
                "".join(out.get("text", "")),
                *("".join(v) for k, v in out.get("data", {}).items() if "text" in k),
            ]
        found = [match.group() for text in texts for match in MACHINE_PATH.finditer(text)]
        assert not found, (found, source(cell))


@each_copy
def test_a_tiny_copy_is_smaller_than_400_kb(path):
    assert path.stat().st_size < 400_000


def test_the_notebooks_are_smaller_than_8_mb_together_and_their_figures_sharp_enough():
    assert sum(path.stat().st_size for path in PATHS) < 8_000_000
    soft = [path.stem for path in PATHS for figure in figures_of(path) if min(figure.info.get("dpi", (0,))) < 99.9]
    assert not soft, "./run_all.sh writes the outputs anew"


def test_stored_verdicts_the_page_of_claims_and_the_record_are_of_one_run():
    stored, advice = {}, "./run_all.sh --fresh writes all of them anew"
    for path in PATHS:
        found = [pair for text in texts_of(path) for pair in FOUND.findall(text)]
        stored |= {(name, path.stem): verdict for name, verdict in found if verdict != "not run"}
    page, folder = {}, PUBLISHED[OF_CELLS]
    at = [HEAD.index(column) for column in ("claim", "here", "verdict")]
    for line in (folder / "claims.md").read_text(encoding="utf-8").splitlines():
        row = line.strip("| ").split(" | ")
        notebook = re.match(r"\[(\w+)\]", row[-1])
        if notebook and re.fullmatch(r"[A-Z]-\d+", row[0]):
            name, number, verdict = (row[i] for i in at)
            page[name, notebook[1]] = f"{number} {short(verdict)}".strip()
    assert {notebook for _, notebook in page} == {notebook for _, notebook in stored}, advice
    assert stored.items() <= page.items(), advice
    record = json.loads((folder / f"{OF_CELLS}.json").read_text(encoding="utf-8"))["verdicts"]
    for name, verdict in record.items():
        texts = [text for (claim, _), text in page.items() if claim == name]
        assert f"{number_here(verdict)} {short(verdict['verdict'])}".strip() in texts, advice


@each_notebook
def test_first_code_cell_says_in_one_line_how_to_get_the_module(path, tmp_path):
    """The same text in all; where sae_utils is there, nothing happens."""
    first = source(code_cells(path)[0])
    assert first == source(code_cells(PATHS[0])[0])
    if path != PATHS[0]:
        return
    commands = [sys.executable, "-c", first], [sys.executable, "-S", "-c", first]  # -S: without what is installed
    environments = None, {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    here, elsewhere = (
        subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
        for command, env in zip(commands, environments, strict=True)
    )
    assert (here.returncode, here.stdout + here.stderr) == (0, "")
    assert (elsewhere.returncode, elsewhere.stderr.count("\n")) == (1, 1)
    assert elsewhere.stderr.startswith("sae_utils is not here: ./run_all.sh setup in its repository's folder")


@each_notebook
def test_parameters_cell_is_the_model_to_the_letter(path):
    """The laptop preset's values and a model's types and help: ``parameters_cell`` renders the text to put there."""
    (cell,) = parameters_cells(read_cells(path))
    assert source(cell) == parameters_cell(path.stem)
    defaults = default_parameters(path)
    assert list(defaults) == parameter_names(path.stem)
    assert defaults == values_of(OF_CELLS, path.stem)
    assert check(path.stem, defaults).model_dump() == defaults


@each_notebook
def test_parameters_are_checked_in_the_next_cell_which_imports_nothing_heavy(path):
    cells = code_cells(path)
    (at,) = [i for i, cell in enumerate(cells) if "parameters" in cell["metadata"].get("tags", ())]
    checks = source(cells[at + 1])
    assert f'check("{path.stem}", globals())' in checks
    modules = [node.module for node in ast.walk(ast.parse(checks)) if isinstance(node, ast.ImportFrom)]
    assert modules == ["sae_utils.run.parameters"]
    assert not [node for node in ast.walk(ast.parse(checks)) if isinstance(node, ast.Import)]


@each_notebook
def test_cells_are_short_and_prose_comes_first(path):
    cells = read_cells(path)
    for cell in cells:
        if cell["cell_type"] == "code":
            assert source(cell).strip()
            is_list = "parameters" in cell["metadata"].get("tags", [])  # a line each, however many
            assert is_list or len(source(cell).splitlines()) <= 30, source(cell)
    assert cells[0]["cell_type"] == "markdown"
    assert source(cells[0]).startswith("# ")


@each_notebook
def test_figure_cells_begin_with_their_figure(path):
    for cell in code_cells(path):
        if any("image/png" in out.get("data", {}) for out in cell["outputs"]):
            assert re.match(r"# Figure [A-Z]?\d+[a-z]?: \S", source(cell)), source(cell)


@each_notebook
def test_links_lead_to_files_and_the_last_cell_to_the_claims_and_the_site(path):
    prose = [source(cell) for cell in read_cells(path) if cell["cell_type"] == "markdown"]
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", "\n".join(prose))
    assert [link for link in links if not (path.parent / link).is_file()] in ([], ["../site/index.html"])  # if made
    assert "](../figures/claims.md)" in prose[-1] and "](../site/index.html)" in prose[-1]
