"""The notebooks of a batch: with which parameters, what their results depend on, and which are done."""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sae_utils.data import mixture
from sae_utils.errors import InputError
from sae_utils.files import sha256_of, sha256_of_file
from sae_utils.paths import PACKAGE
from sae_utils.report.claims import CLAIMS, load_claims
from sae_utils.results import figures_folder, read_results
from sae_utils.run.notebooks import read_cells, source
from sae_utils.run.parameters.presets import Preset
from sae_utils.run.parameters.rules import local_path


@dataclass(frozen=True)
class Job:
    """One notebook to run; ``key`` stands for all that its results depend on."""

    notebook: Path
    parameters: dict[str, object]
    folder: Path
    key: str
    first_expected: float | None

    @property
    def name(self) -> str:
        """The notebook's name, without ``.ipynb``."""
        return self.notebook.stem

    def file(self, ending: str) -> Path:
        """A file of this job's results."""
        return self.folder / f"{self.name}{ending}"

    def done(self) -> dict:
        """What the last finished run left: ``key``, ``results_sha256``, ``figures``; empty where there is none.

        ``figures`` are paths from the results' folder. ``seconds`` is there unless the run went on from a stopped one.
        """
        try:
            record = json.loads(self.file(".done.json").read_text(encoding="utf-8"))
            return record if isinstance(record, dict) else {}
        except (OSError, ValueError):
            return {}

    @property
    def expected(self) -> float | None:
        """Seconds that the last finished run took; before the first one, the preset's number, if it has one."""
        return self.done().get("seconds", self.first_expected)

    def torn(self) -> str:
        """Why the results on disk cannot be read, in one line; empty where they can."""
        try:
            read_results(self.name, self.folder.name, self.folder.parent)
        except InputError as error:
            return str(error)
        return ""

    def is_done(self) -> bool:
        """Whether the results on disk are whole, and those of this notebook, these parameters and these sources."""
        record = self.done()
        if record.get("key") != self.key or self.torn():
            return False
        # Without normpath, ".." of a results folder that is a link would lead out of the repository.
        figures = [Path(os.path.normpath(self.folder / figure)) for figure in record.get("figures", ())]
        same = record.get("results_sha256") == sha256_of_file(self.file(".json"))
        return same and all(path.is_file() for path in figures)

    def figures_since(self, started: float) -> list[str]:
        """The figures that the notebook names and that were written since ``started``, as ``done`` has them."""
        folder = figures_folder(self.folder.name, self.folder.parent)
        code = "\n".join(source(cell) for cell in read_cells(self.notebook))
        named = [path for path in folder.glob("*.png") if f'"{path.stem}"' in code]  # others may be drawing beside it
        paths = [path for path in named if path.stat().st_mtime >= started]
        return sorted(os.path.relpath(path, self.folder) for path in paths)


def jobs_of(notebooks: Sequence[Path], preset: Preset, results: Path) -> list[Job]:
    """One job for each of the notebooks that the preset has."""
    common = sources_digest(notebooks[0].parent)
    contents: dict[str, str] = {}
    jobs = []
    for path in notebooks:
        if path.stem not in preset.overrides:
            continue
        parameters = preset.overrides[path.stem]
        read = [parameters["model"], *mixture.sources(parameters["corpus"]), *parameters.get("saes", ())]
        for name in read:
            if name not in contents:
                contents[name] = digest(local_files(name))
        cells = [source(cell) for cell in read_cells(path)]
        depends_on = [common, path.stem, cells, parameters, [contents[name] for name in read]]
        key = sha256_of([json.dumps(depends_on, sort_keys=True)])
        jobs.append(Job(path, parameters, results / preset.name, key, preset.expected_seconds.get(path.stem)))
    return jobs


def sources_digest(notebooks: Path) -> str:
    """sha256 over what every notebook depends on: the package's code and style, the bundled models, the claims.

    Of the claims what results hold counts. Their notes do not, which may be written when a verdict is known.
    """
    patterns = ("**/*.py", "report/figures/*.mplstyle", "models/*/*")
    claims = load_claims(notebooks / CLAIMS.name).values() if (notebooks / CLAIMS.name).is_file() else []
    held = [[claim.id, claim.text, claim.number, claim.known, claim.metric, claim.rule] for claim in claims]
    code = digest(path for pattern in patterns for path in PACKAGE.glob(pattern))
    return sha256_of([code, json.dumps(held, sort_keys=True)])


def local_files(name: str) -> list[Path]:
    """The files of a model, corpus or SAE that is on this machine; none for a name on the hub or in the package."""
    path = local_path(name)
    beside = [path.with_name(name) for name in ("mapping.yaml", "cfg.json")]  # that say what a file of weights is
    return [path, *beside] if path.is_file() else list(path.rglob("*"))


def digest(paths: Iterable[Path]) -> str:
    """sha256 over the names and the bytes of the files among ``paths``, in order; README.md is prose and left out."""
    files = sorted(path for path in paths if path.is_file() and path.name != "README.md")
    return sha256_of(f"{path.name} {sha256_of_file(path)}\n" for path in files)
