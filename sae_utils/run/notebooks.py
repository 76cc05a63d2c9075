"""The notebook files: which there are, and what one says of its parameters and of the error that stopped it."""

import ast
import json
from collections.abc import Sequence
from pathlib import Path

from sae_utils.errors import InputError

INJECTED = "injected-parameters"  # papermill's tag


def select(folder: Path, only: str = "") -> list[Path]:
    """The notebooks in ``folder``, in order; all, or those whose name or number ``only`` lists. Raises InputError."""
    notebooks = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    if not notebooks:
        raise InputError(f"no notebooks in {folder}")
    if not only:
        return notebooks
    wanted = [part.strip() for part in only.split(",") if part.strip()]
    by_name = by_name_or_number(notebooks)
    unknown = [part for part in wanted if part not in by_name]
    if unknown or not wanted:
        raise InputError(f"no notebook {(unknown or [only])[0]!r}; there are {', '.join(n.stem for n in notebooks)}")
    chosen = {by_name[part] for part in wanted}
    return [path for path in notebooks if path in chosen]


def by_name_or_number(notebooks: Sequence[Path]) -> dict[str, Path]:
    """The notebooks by ``00_language_model`` and by ``00``."""
    return {name: path for path in notebooks for name in (path.stem, path.stem[:2])}


def read_cells(path: Path) -> list[dict]:
    """The notebook's cells. Raises InputError where the file is not a notebook."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))["cells"]
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{path} is not a notebook") from None


def source(cell: dict) -> str:
    """The cell's text; nbformat keeps it as one string or as a list of lines."""
    return "".join(cell["source"])


def own_cells(path: Path) -> list[tuple[str, str]]:
    """Kinds and texts of a notebook's cells, without the one that papermill puts in."""
    kept = [cell for cell in read_cells(path) if INJECTED not in cell["metadata"].get("tags", ())]
    return [(cell["cell_type"], source(cell)) for cell in kept]


def parameters_cells(cells: list[dict]) -> list[dict]:
    """The code cells with the tag ``parameters``."""
    return [c for c in cells if c["cell_type"] == "code" and "parameters" in c["metadata"].get("tags", ())]


def default_parameters(path: Path) -> dict[str, object]:
    """What the ``parameters`` cell assigns. Raises InputError for a line that is not ``name: type = literal``."""
    tagged = parameters_cells(read_cells(path))
    if len(tagged) != 1:
        raise InputError(f"{path.name} has {len(tagged)} cells with the tag 'parameters'; it needs one")
    try:
        return {line.target.id: ast.literal_eval(line.value) for line in ast.parse(source(tagged[0])).body}
    except (AttributeError, SyntaxError, ValueError):
        raise InputError(f"{path.name}: each line of the cell 'parameters' must be 'name: type = literal'") from None


def error_text(path: Path) -> str:
    """The error that stopped an executed notebook, in one line; empty where it holds none."""
    try:
        outputs = [output for cell in read_cells(path) for output in cell.get("outputs", ())]
    except InputError:
        return ""
    errors = [output for output in outputs if output["output_type"] == "error"]
    return brief(errors[0]["ename"], errors[0]["evalue"]) if errors else ""


def brief(name: str, text: str) -> str:
    """An error in one line: an InputError speaks for itself, any other is given as the last line of its traceback."""
    line = " ".join(text.split())
    return line if name == "InputError" else f"{name}: {line}"
