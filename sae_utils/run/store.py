"""Makes the stored outputs of the notebooks anew, with their own parameters: ``python -m sae_utils.run.store [00,01]``.

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
from PIL import Image

from sae_utils.errors import InputError
from sae_utils.files import whole_file
from sae_utils.paths import NOTEBOOKS
from sae_utils.run.notebooks import brief, select


def store(path: Path) -> None:
    """Executes the notebook in its folder and replaces it whole, with its outputs; one that fails stays as it was.

    Raises InputError with the error of the cell that failed, in one line.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, kernel_name="python3", timeout=None, record_timing=False)
    try:
        client.execute(cwd=str(path.parent))
    except CellExecutionError as error:
        raise InputError(f"{path.name}: {brief(error.ename, error.evalue)}") from None
    clean(notebook)
    with whole_file(path) as part:
        nbformat.write(notebook, part)


def keep(executed: Path, folder: Path) -> Path:
    """Writes a notebook that a batch executed into a folder of what is published; gives its path there."""
    notebook = nbformat.read(executed, as_version=4)
    clean(notebook)
    with whole_file(folder / executed.name) as part:
        nbformat.write(notebook, part)
    return folder / executed.name


def clean(notebook: nbformat.NotebookNode) -> None:
    """Leaves cells, tags and outputs, without stderr and with figures in few colours."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata = {"tags": cell.metadata["tags"]} if "tags" in cell.metadata else {}
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
            for output in cell.outputs:
                if "image/png" in output.get("data", {}):
                    output.data["image/png"] = in_few_colours(output.data["image/png"])


def in_few_colours(png: str, n_colours: int = 128) -> str:
    """A PNG image in base64 with a palette of its own and without transparency."""
    image = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    small = io.BytesIO()
    image.quantize(n_colours, dither=Image.Dither.NONE).save(small, format="png", optimize=True)
    return base64.b64encode(small.getvalue()).decode("ascii")


def main(only: str = "", notebooks: Path = NOTEBOOKS) -> int:
    """Stores the outputs of all notebooks, or of those that ``only`` lists; gives the exit code."""
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
    try:
        for path in select(notebooks, only):
            print(path.name, flush=True)
            store(path)
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
