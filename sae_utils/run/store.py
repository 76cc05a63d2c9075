"""Stored outputs of notebooks. The tests' tiny copies are made anew by ``python -m sae_utils.run.store [00,01]``.

Those are the notebooks with the tiny preset's values as papermill hands them over. The repository's own notebooks have
the outputs of the laptop preset's run, which a whole ``./run_all.sh`` gives them.

What differs from run to run or from machine to machine is left out: progress bars (stderr), timing, widgets. Figures
are kept in few colours, a third of the bytes.
"""

import base64
import io
import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from sae_utils.errors import InputError
from sae_utils.files import write_text
from sae_utils.paths import NOTEBOOKS, TINY_NOTEBOOKS
from sae_utils.report.figures.style import write_in_few_colours
from sae_utils.run.notebooks import INJECTED, brief, own_cells, select
from sae_utils.run.parameters.presets import values_of


def store(path: Path, folder: Path) -> Path:
    """Writes a copy of the notebook, executed with the tiny preset, into the folder; gives its path there.

    Raises InputError with the error of the cell that failed, in one line; the copy that is there stays then.
    """
    notebook = parameterize_notebook(load_notebook_node(str(path)), values_of("tiny", path.stem))
    folder.mkdir(parents=True, exist_ok=True)
    client = NotebookClient(notebook, kernel_name="python3", timeout=None, record_timing=False)
    try:
        client.execute(cwd=str(folder))
    except CellExecutionError as error:
        raise InputError(f"{path.name}: {brief(error.ename, error.evalue)}") from None
    return _write(notebook, folder / path.name)


def keep(executed: Path, folder: Path) -> Path:
    """Writes a notebook that a batch executed into a folder of what is published; gives its path there."""
    return _write(nbformat.read(executed, as_version=4), folder / executed.name)


def put_outputs(executed: Path, path: Path) -> None:
    """Gives a notebook the outputs that it has where a batch executed it with the values of its own cell.

    Raises InputError where other cells than its own were executed.
    """
    if own_cells(executed) != own_cells(path):
        raise InputError(f"{executed} has other cells than {path}: run it again")
    notebook = nbformat.read(executed, as_version=4)
    notebook.cells = [cell for cell in notebook.cells if INJECTED not in cell.metadata.get("tags", ())]
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for count, cell in enumerate(code, 1):
        cell.execution_count = count
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = count
    _write(notebook, path)


def _write(notebook: nbformat.NotebookNode, path: Path) -> Path:
    """Cleaned and whole; one that is there with the same bytes is left alone."""
    clean(notebook)
    text = nbformat.writes(notebook) + "\n"
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)
    return path


def clean(notebook: nbformat.NotebookNode) -> None:
    """Leaves cells, tags and outputs, without stderr and with figures in few colours."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata = {"tags": cell.metadata["tags"]} if cell.metadata.get("tags") else {}
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
            for output in cell.outputs:
                if "image/png" in output.get("data", {}):
                    output.data["image/png"] = in_few_colours(output.data["image/png"])


def in_few_colours(png: str) -> str:
    """A PNG image in base64 in few colours (``write_in_few_colours``)."""
    small = io.BytesIO()
    write_in_few_colours(io.BytesIO(base64.b64decode(png)), small, n_colours=128)
    return base64.b64encode(small.getvalue()).decode("ascii")


def main(only: str = "", notebooks: Path = NOTEBOOKS, folder: Path = TINY_NOTEBOOKS) -> int:
    """Stores tiny copies of all notebooks, or of those that ``only`` lists; gives the exit code."""
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
    try:
        for path in select(notebooks, only):
            print(path.name, flush=True)
            store(path, folder)
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
