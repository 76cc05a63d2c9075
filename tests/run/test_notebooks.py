"""The form of every committed notebook. That its numbers still hold is nbval's part: ``pytest --nbval notebooks``."""

import ast
import json
import os
import re
import subprocess
import sys

import pytest
import yaml

from sae_utils.paths import NOTEBOOKS, PRESETS
from sae_utils.run.notebooks import default_parameters, parameters_cells, read_cells, source
from sae_utils.run.parameters import check, parameter_names, parameters_cell
from sae_utils.run.presets import load_preset
from sae_utils.run.schemas import NOTEBOOKS as MODELS

PATHS = sorted(NOTEBOOKS.glob("*.ipynb"))
MACHINE_PATH = re.compile(r"/(?:home|root|Users|work|tmp|mnt|private|opt|content)/|[A-Z]:\\\\|site-packages|\.venv")
each_notebook = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def code_cells(path):
    return [cell for cell in read_cells(path) if cell["cell_type"] == "code"]


def test_every_notebook_has_a_model():
    assert [path.stem for path in PATHS] == sorted(MODELS)


@each_notebook
def test_every_code_cell_was_executed_in_order_and_something_is_compared(path):
    cells = code_cells(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [out for cell in cells for out in cell["outputs"]]
    assert not [out for out in outputs if out["output_type"] == "error"]
    assert [out for out in outputs if out.get("name") == "stdout" or "text/plain" in out.get("data", {})]


@each_notebook
def test_metadata_are_those_of_any_machine(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert not {"papermill", "widgets", "vscode", "colab"} & set(notebook["metadata"])
    for cell in notebook["cells"]:
        assert not {"papermill", "widgets", "vscode", "execution", "ExecuteTime"} & set(cell["metadata"])
        assert "injected-parameters" not in cell["metadata"].get("tags", [])


@each_notebook
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


@each_notebook
def test_smaller_than_300_kb(path):
    assert path.stat().st_size < 300_000


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
    """A model's defaults, types and help are the cell's: ``parameters_cell`` renders the text to put there."""
    assert len(parameters_cells(read_cells(path))) == 1
    cell = code_cells(path)[1]
    assert "parameters" in cell["metadata"]["tags"]
    assert source(cell) == parameters_cell(path.stem)
    defaults = default_parameters(path)
    assert list(defaults) == parameter_names(path.stem)
    assert check(path.stem, defaults) == MODELS[path.stem]()
    assert defaults["preset"] == "tiny"


@each_notebook
def test_parameters_are_checked_before_anything_heavy_is_imported(path):
    checks = source(code_cells(path)[2])
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
            assert len(source(cell).splitlines()) <= 30, source(cell)
    assert cells[0]["cell_type"] == "markdown"
    assert source(cells[0]).startswith("# ")


@each_notebook
def test_figure_cells_begin_with_their_figure(path):
    for cell in code_cells(path):
        if any("image/png" in out.get("data", {}) for out in cell["outputs"]):
            assert re.match(r"# Figure [A-Z]?\d+[a-z]?: \S", source(cell)), source(cell)


@pytest.mark.parametrize("path", sorted(PRESETS.glob("*.yaml")), ids=lambda path: path.stem)
def test_presets_name_only_what_there_is(path):
    preset = load_preset(path.stem)
    assert preset.name == path.stem
    assert set(preset.overrides) <= {notebook.stem for notebook in PATHS}
    assert "results_dir" not in yaml.safe_load(path.read_text()).get("common", {})


def test_there_are_the_presets_that_run_all_needs():
    assert {"tiny", "laptop"} <= {path.stem for path in PRESETS.glob("*.yaml")}
