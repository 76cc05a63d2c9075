"""Stored outputs: whole or as they were, without what differs between runs."""

import base64
import io

import nbformat
import numpy as np
from PIL import Image

from sae_utils.run.store import in_few_colours, keep, main


def write(folder, *cells):
    path = folder / "00_x.ipynb"
    folder.mkdir(exist_ok=True)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells])
    notebook.cells[0].metadata.update(tags=["parameters"], papermill={"duration": 1})
    nbformat.write(notebook, path)
    return path


def test_stores_outputs_without_progress_bars_and_timing(tmp_path):
    path = write(tmp_path, "n: int = 3  # a number", "import sys; print('9 s', file=sys.stderr); print(n)")
    assert main("00", tmp_path) == 0
    notebook = nbformat.read(path, 4)
    assert [cell.execution_count for cell in notebook.cells] == [1, 2]
    assert [output.text for output in notebook.cells[1].outputs] == ["3\n"]
    assert [cell.metadata for cell in notebook.cells] == [{"tags": ["parameters"]}, {}]
    assert notebook.metadata.kernelspec.name == "python3"
    assert [file.name for file in tmp_path.iterdir()] == ["00_x.ipynb"]


def test_what_a_batch_executed_is_kept_without_what_papermill_wrote(tmp_path):
    executed = write(tmp_path / "results", "1 + 1")
    notebook = nbformat.read(executed, 4)
    notebook.metadata["papermill"] = {"output_path": str(executed)}
    nbformat.write(notebook, executed)
    kept = keep(executed, tmp_path / "figures")
    assert kept == tmp_path / "figures" / "00_x.ipynb"
    assert "papermill" not in kept.read_text() and nbformat.read(kept, 4).cells[0].source == "1 + 1"


def test_a_notebook_that_fails_stays_as_it_was(tmp_path, capsys):
    path = write(tmp_path, "print(1)", "1 / 0")
    before = path.read_bytes()
    assert main("", tmp_path) == 1
    assert path.read_bytes() == before
    assert capsys.readouterr().err == "00_x.ipynb: ZeroDivisionError: division by zero\n"


def test_figures_keep_their_size_and_look_in_fewer_bytes(tmp_path):
    rng = np.random.default_rng(0)
    pixels = np.full((60, 80, 4), 255, dtype=np.uint8)
    pixels[10:50, 10:70, :3] = rng.choice([[0, 114, 178], [230, 159, 0]], (40, 60))
    pixels[20:30, 20:30, 3] = 0  # transparent, as nothing in a figure with a white face is
    pixels[20:30, 20:30, :3] = 255
    before = io.BytesIO()
    Image.fromarray(pixels).save(before, format="png")
    small = in_few_colours(base64.b64encode(before.getvalue()).decode())
    image = Image.open(io.BytesIO(base64.b64decode(small)))
    assert image.mode == "P" and len(base64.b64decode(small)) < len(before.getvalue())
    np.testing.assert_array_equal(np.asarray(image.convert("RGB")), pixels[..., :3])
    path = write(tmp_path, "import matplotlib.pyplot as plt; plt.plot([0, 1]); plt.show()")
    assert main("00", tmp_path) == 0
    (output,) = nbformat.read(path, 4).cells[0].outputs
    assert Image.open(io.BytesIO(base64.b64decode(output.data["image/png"]))).mode == "P"
