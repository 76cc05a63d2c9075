"""What the published figures were made by, so that a test can tell a stale one: ``figures/made_by.json``.

It holds the hash of each published file, of the code of each notebook, and of the code that draws. Comments and layout
of code do not count. What the numbers themselves depend on is in the keys of the batch's jobs: ``./run_all.sh`` runs a
notebook again when any of it has changed.
"""

import ast
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from sae_utils.files import sha256_of, sha256_of_file, write_json
from sae_utils.paths import OTHER_MODELS, PACKAGE, PUBLISHED
from sae_utils.results import pages_folder
from sae_utils.run.jobs import Job
from sae_utils.run.notebooks import read_cells, source

RECORD = "made_by.json"
PAGES = ("claims.md", "claims_?.png", "papers_figures.md", "changed_verdicts.md", "explorer.html")


def write_made_by(jobs: Sequence[Job]) -> Path | None:
    """Writes the record of the jobs that are done, where they are those of a published preset.

    All of them must be, but for another model's, of which what is not done is shown as not run.
    """
    preset, done = jobs[0].folder.name, [job for job in jobs if job.is_done()]
    folder = pages_folder(preset, jobs[0].folder.parent)
    if folder not in PUBLISHED.values() or not done or (preset not in OTHER_MODELS and len(done) < len(jobs)):
        return None
    files = {Path(figure).name for job in done for figure in job.done()["figures"]}
    files |= {path.name for page in PAGES for path in folder.glob(page)}
    files |= {f"{job.name}.ipynb" for job in done if preset in OTHER_MODELS}
    record = {
        "preset": preset,
        "files": {name: sha256_of_file(folder / name) for name in sorted(files)},
        "notebooks": {job.name: code_of_notebook(job.notebook) for job in done},
        "drawing": code_that_draws(),
    }
    return write_json(folder / RECORD, record)


def code_of_notebook(path: Path) -> str:
    """The hash of a notebook's code, however it is cut into cells."""
    cells = [source(cell) for cell in read_cells(path) if cell["cell_type"] == "code"]
    return sha256_of([_code("\n".join(cells))])


@cache
def code_that_draws() -> str:
    """The hash of the modules of figures and of their style."""
    folder = PACKAGE / "report" / "figures"
    parts = [_code(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.py"))]
    return sha256_of([*parts, (folder / "paper.mplstyle").read_bytes()])


def _code(text: str) -> str:
    """The syntax tree in words. ``ast.dump`` shows other empty fields in each version of Python."""
    return _in_words(ast.parse(text))


def _in_words(node: object) -> str:
    if isinstance(node, ast.AST):
        fields = [f"{name}={_in_words(value)}" for name, value in ast.iter_fields(node) if value not in (None, [])]
        return f"{type(node).__name__}({', '.join(fields)})"
    if isinstance(node, list):
        return f"[{', '.join(map(_in_words, node))}]"
    return repr(node)
