"""Notebooks for one test, which take a real notebook's parameters."""

from pathlib import Path

import nbformat

from sae_utils.run.parameters import parameters_cell

CHECK = """\
from sae_utils.run.parameters import check
p = check("00_language_model", globals())
"""
WRITE = """\
from sae_utils.results import write_results
write_results("00_language_model", p.preset, p.results_dir, p, {"rows": p.n_eval_rows}, [], {})
"""


def make(folder: Path, *body: str, preset: str = "", name: str = "00_language_model") -> Path:
    """A folder with spaces and braces in its name that holds one notebook and the preset ``quick``."""
    notebooks = folder / "my {notebooks}"
    (notebooks / "presets").mkdir(parents=True, exist_ok=True)
    (notebooks / "presets" / "quick.yaml").write_text(preset)
    cells = [nbformat.v4.new_code_cell(text) for text in (parameters_cell("00_language_model"), CHECK, *body)]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), notebooks / f"{name}.ipynb")
    return notebooks
