"""Notebooks for one test, which take a real notebook's parameters."""

from pathlib import Path

import nbformat

PARAMETERS = """\
model: str = "pycode-2m"
corpus: str = "installed-python"
context: int = 0
device: str = "cpu"
dtype: str = "float32"
results_dir: str = ""
preset: str = "tiny"
n_eval_rows: int = 4
n_ngram_tokens: int = 9
batch_size: int = 2
"""
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
    cells = [nbformat.v4.new_code_cell(text) for text in (PARAMETERS, CHECK, *body)]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), notebooks / f"{name}.ipynb")
    return notebooks
