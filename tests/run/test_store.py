"""Stored outputs: whole or as they were, without what differs between runs."""

import base64
import io

import nbformat
import numpy as np
import pytest
from helpers.throw_away_notebooks import make
from PIL import Image

from sae_utils.errors import InputError
from sae_utils.run.notebooks import own_cells
from sae_utils.run.store import in_few_colours, keep, main, put_outputs


def write(folder, *cells):
    path = folder / "00_x.ipynb"
    folder.mkdir(exist_ok=True)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells])
    notebook.cells[0].metadata.update(tags=["parameters"], papermill={"duration": 1})
    nbformat.write(notebook, path)
    return path


def test_stores_a_tiny_copy_without_progress_bars_and_timing_and_with_figures_in_few_colours(tmp_path):
    figure = "import matplotlib.pyplot as plt; plt.plot([0, 1]); plt.show()"
    notebooks = make(tmp_path, "import sys; print('9 s', file=sys.stderr); print(p.n_eval_rows)", figure)
    copies = tmp_path / "copies"
    before = {path: path.read_bytes() for path in notebooks.glob("*.ipynb")}
    assert main("00", notebooks, copies) == 0
    (copy,) = copies.iterdir()
    notebook = nbformat.read(copy, 4)
    assert own_cells(copy) == own_cells(notebooks / copy.name)
    assert [cell.execution_count for cell in notebook.cells] == [1, 2, 3, 4, 5]
    assert [[output.text for output in cell.outputs] for cell in notebook.cells[:4]] == [[], [], [], ["48\n"]]
    (output,) = notebook.cells[4].outputs
    assert Image.open(io.BytesIO(base64.b64decode(output.data["image/png"]))).mode == "P"
    tags = [{"tags": ["parameters"]}, {"tags": ["injected-parameters"]}, {}, {}, {}]
    assert [cell.metadata for cell in notebook.cells] == tags
    assert notebook.metadata.kernelspec.name == "python3" and "papermill" not in notebook.metadata
    assert {path: path.read_bytes() for path in notebooks.glob("*.ipynb")} == before


def test_what_a_batch_executed_is_kept_without_what_papermill_wrote(tmp_path):
    executed = write(tmp_path / "results", "1 + 1")
    notebook = nbformat.read(executed, 4)
    notebook.metadata["papermill"] = {"output_path": str(executed)}
    nbformat.write(notebook, executed)
    kept = keep(executed, tmp_path / "figures")
    assert kept == tmp_path / "figures" / "00_x.ipynb"
    assert "papermill" not in kept.read_text() and nbformat.read(kept, 4).cells[0].source == "1 + 1"


@pytest.fixture
def executed(tmp_path):
    """A notebook, and what papermill would leave of it: a cell more, counts that include it, and an output."""
    path = write(tmp_path, "n: int = 3", "1 + 1")
    notebook = nbformat.read(path, 4)
    injected = nbformat.v4.new_code_cell("# Parameters\nn = 3\n", metadata={"tags": ["injected-parameters"]})
    notebook.cells.insert(1, injected)
    for count, cell in enumerate(notebook.cells, 1):
        cell.execution_count = count
    result = nbformat.v4.new_output("execute_result", {"text/plain": "2"}, execution_count=3)
    notebook.cells[2].outputs = [result, nbformat.v4.new_output("stream", name="stderr", text="9 s")]
    (tmp_path / "executed").mkdir()
    nbformat.write(notebook, tmp_path / "executed" / path.name)
    return path, tmp_path / "executed" / path.name


def test_outputs_of_a_run_are_put_into_the_notebook(executed):
    path, ran = executed
    cells = own_cells(path)
    put_outputs(ran, path)
    notebook = nbformat.read(path, 4)
    assert own_cells(path) == cells and len(notebook.cells) == 2
    assert [cell.execution_count for cell in notebook.cells] == [1, 2]
    (output,) = notebook.cells[1].outputs
    assert (output.data["text/plain"], output.execution_count) == ("2", 2)
    time = path.stat().st_mtime_ns
    put_outputs(ran, path)
    assert path.stat().st_mtime_ns == time, "nothing has changed"


def test_outputs_of_other_cells_are_refused(executed):
    path, ran = executed
    path.write_text(path.read_text().replace("1 + 1", "1 + 2"))
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"executed/00_x\.ipynb has other cells than .*/00_x\.ipynb: run it again$"):
        put_outputs(ran, path)
    assert path.read_bytes() == before


def test_a_copy_stays_as_it_was_where_the_notebook_fails(tmp_path, capsys):
    notebooks, copies = make(tmp_path, "1 / 0"), tmp_path / "copies"
    copies.mkdir()
    (copies / "00_language_model.ipynb").write_text("before")
    assert main("", notebooks, copies) == 1
    assert (copies / "00_language_model.ipynb").read_text() == "before"
    assert capsys.readouterr().err == "00_language_model.ipynb: ZeroDivisionError: division by zero\n"


def test_figures_keep_their_size_and_look_in_fewer_bytes():
    rng = np.random.default_rng(0)
    pixels = np.full((60, 80, 4), 255, dtype=np.uint8)
    pixels[10:50, 10:70, :3] = rng.choice([[0, 114, 178], [230, 159, 0]], (40, 60))
    pixels[20:30, 20:30, 3] = 0  # transparent, as nothing in a figure with a white face is
    pixels[20:30, 20:30, :3] = 255
    before = io.BytesIO()
    Image.fromarray(pixels).save(before, format="png", dpi=(100, 100))
    small = in_few_colours(base64.b64encode(before.getvalue()).decode())
    image = Image.open(io.BytesIO(base64.b64decode(small)))
    assert image.mode == "P" and len(base64.b64decode(small)) < len(before.getvalue())
    assert image.info["dpi"] == pytest.approx((100, 100), abs=0.01)
    np.testing.assert_array_equal(np.asarray(image.convert("RGB")), pixels[..., :3])
