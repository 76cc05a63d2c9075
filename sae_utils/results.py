"""Results of a notebook: ``<results_dir>/<preset>/<name>.npz`` and, written last, ``<name>.json`` that vouches for it.

The JSON file holds the sha256 of the npz file, so a pair torn by a crash is never read as a result.
"""

import dataclasses
import json
import math
import os
import platform
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from sae_utils.errors import InputError
from sae_utils.files import sha256_of_file, whole_file, write_json
from sae_utils.paths import PUBLISHED, RESULTS

RECORDED = ("torch", "numpy", "scipy", "transformers", "transformer-lens", "datasets", "sae_utils")


@dataclass(frozen=True)
class Results:
    """What a notebook wrote: ``parameters`` and ``metrics`` by name, ``verdicts`` on claims, ``arrays`` for figures."""

    parameters: dict
    metrics: dict
    verdicts: list
    arrays: dict[str, np.ndarray]
    environment: dict


def results_folder(preset: str, results_dir: str | Path = "") -> Path:
    """``<results_dir>/<preset>``, ``~`` being one's home; an empty ``results_dir`` is the repository's ``results/``."""
    return (Path(os.path.expanduser(results_dir)) if str(results_dir) else RESULTS) / preset


def pages_folder(preset: str, results_dir: str | Path = "") -> Path:
    """Where a preset's pages go: to their folder in ``PUBLISHED`` for published results, else beside the results.

    Published are the results of these presets in the repository's own ``results/``.
    """
    folder = results_folder(preset, results_dir)
    return PUBLISHED.get(preset, folder) if is_own(folder) else folder


def is_own(folder: Path) -> bool:
    """Whether a preset's folder is that of the repository's own ``results/``."""
    return folder.resolve() == (RESULTS / folder.name).resolve()


def figures_folder(preset: str, results_dir: str | Path = "") -> Path:
    """Where a preset's figures go: beside its pages where these are published, else ``figures/`` below."""
    folder = pages_folder(preset, results_dir)
    return folder if folder in PUBLISHED.values() else folder / "figures"


def write_results(
    name: str,
    preset: str,
    results_dir: str | Path,
    parameters: object,
    metrics: Mapping,
    verdicts: Sequence,
    arrays: Mapping[str, np.ndarray],
) -> Path:
    """Writes the npz file, then the JSON file, each atomically; gives the JSON file's path.

    ``parameters`` is the notebook's model or a mapping. Numbers that are not finite become null.
    Raises InputError for an array of objects (it would need pickle).
    """
    folder = results_folder(preset, results_dir)
    arrays = {key: np.asarray(value) for key, value in arrays.items()}
    for key, value in arrays.items():
        if value.dtype.hasobject:
            raise InputError(f"results of {name}: array {key!r} holds objects; allowed are numbers, booleans and text")
    npz = folder / f"{name}.npz"
    with whole_file(npz) as part:
        with part.open("wb") as file:
            np.savez_compressed(file, **arrays)
        digest = sha256_of_file(part)
    record = {
        "notebook": name,
        "preset": preset,
        "parameters": plain(parameters),
        "metrics": plain(metrics),
        "verdicts": plain(verdicts),
        "environment": environment(),
        "npz_sha256": digest,
    }
    return write_json(folder / f"{name}.json", record)


def read_results(name: str, preset: str, results_dir: str | Path = "") -> Results:
    """What ``write_results`` wrote. Raises InputError where there is none, or where the pair is torn."""
    folder = results_folder(preset, results_dir)
    path, npz = folder / f"{name}.json", folder / f"{name}.npz"
    if not path.is_file() or not npz.is_file():
        raise InputError(f"no results of {name} in {folder}: ./run_all.sh --preset {preset} --only {name[:2]}")
    torn = InputError(f"results of {name} in {folder} are torn: run the notebook again")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["npz_sha256"] != sha256_of_file(npz):
            raise torn
        with np.load(npz, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
        kept = {key: record[key] for key in ("parameters", "metrics", "verdicts", "environment")}
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, zipfile.BadZipFile):
        raise torn from None
    return Results(arrays=arrays, **kept)


def environment() -> dict[str, str]:
    """Versions of Python, of the platform and of the packages that the numbers depend on; imports none of them."""
    versions = {"python": platform.python_version(), "platform": platform.platform()}
    for package in RECORDED:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def plain(value: object) -> object:
    """``value`` in JSON's own types: models and dataclasses become objects, arrays lists, numbers not finite null."""
    if hasattr(value, "model_dump"):
        return plain(value.model_dump())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic) or hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)
