"""Stored outputs: whole or as they were, without what differs between runs."""

import nbformat

from sae_utils.run.store import main


def write(folder, *cells):
    path = folder / "00_x.ipynb"
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


def test_a_notebook_that_fails_stays_as_it_was(tmp_path, capsys):
    path = write(tmp_path, "print(1)", "1 / 0")
    before = path.read_bytes()
    assert main("", tmp_path) == 1
    assert path.read_bytes() == before
    assert capsys.readouterr().err == "00_x.ipynb: ZeroDivisionError: division by zero\n"
