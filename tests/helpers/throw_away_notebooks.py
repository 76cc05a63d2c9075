"""Notebooks for one test with the parameters of the real one of their name, and the files of their finished runs."""

from pathlib import Path

import nbformat

from sae_utils.files import sha256_of_file, write_json
from sae_utils.results import write_results
from sae_utils.run.jobs import Job, jobs_of
from sae_utils.run.notebooks import select
from sae_utils.run.parameters.checks import parameters_cell
from sae_utils.run.parameters.presets import load_preset

CHECK = """\
from sae_utils.run.parameters import check
p = check("00_language_model", globals())
"""
WRITE = """\
from sae_utils.results import write_results
write_results("00_language_model", p.preset, p.results_dir, p, {"rows": p.n_eval_rows}, [], {})
"""


def make(folder: Path, *body: str, preset: str = "", name: str = "00_language_model") -> Path:
    """A folder with spaces and braces in its name that holds the notebook ``name`` and the preset ``quick``."""
    notebooks = folder / "my {notebooks}"
    (notebooks / "presets").mkdir(parents=True, exist_ok=True)
    (notebooks / "presets" / "quick.yaml").write_text(preset)
    texts = [parameters_cell(name), *(text.replace("00_language_model", name) for text in (CHECK, *body))]
    cells = [nbformat.v4.new_code_cell(text) for text in texts]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), notebooks / f"{name}.ipynb")
    return notebooks


def job_of(notebooks: Path, results: Path) -> Job:
    """The job of the folder's one notebook with the preset ``quick``."""
    return jobs_of(select(notebooks), load_preset("quick", notebooks), results)[0]


def fake_run(job: Job, verdicts=()) -> None:
    """The files of a finished run, without its minutes."""
    path = write_results(job.name, job.folder.name, job.folder.parent, {}, {}, verdicts, {})
    write_json(job.file(".done.json"), {"key": job.key, "results_sha256": sha256_of_file(path), "seconds": 1.0})
