"""Presets: YAML files of parameters for every notebook, checked whole before the first notebook starts.

A preset has a map ``common``, a map for each notebook that wants more, and ``expected_seconds`` by notebook::

    common:
      n_tokens: 2_000_000
    01_seed_divergence:
      n_latents: 1024
    expected_seconds:
      01_seed_divergence: 300

A value in ``common`` reaches the notebooks that have a parameter of that name.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from sae_utils.data.errors import InputError
from sae_utils.run.notebooks import default_parameters
from sae_utils.run.parameters import check, parameter_names, refuse_unknown


@dataclass(frozen=True)
class Preset:
    """``overrides``: the parameters that replace those of a notebook's own cell; both maps are by notebook."""

    name: str
    overrides: dict[str, dict[str, object]]
    expected_seconds: dict[str, float]


def load_preset(name: str, notebooks: Sequence[Path]) -> Preset:
    """Reads ``presets/<name>.yaml`` beside the notebooks and checks every parameter of every notebook.

    Raises InputError, in one line, for a preset that is not there, a name that no notebook has, and a bad value.
    """
    folder = notebooks[0].parent / "presets"
    path = folder / f"{name}.yaml"
    if not path.is_file():
        raise InputError(f"no preset {name!r}; there are {', '.join(sorted(p.stem for p in folder.glob('*.yaml')))}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    names = [notebook.stem for notebook in notebooks]
    maps = sections(path, content, names)
    known = {parameter for notebook in names for parameter in parameter_names(notebook)}
    for parameter in set(maps["common"]) - known:
        raise InputError(f"{path.name}: no notebook has the parameter {parameter!r} of 'common'")
    overrides = {}
    for notebook in notebooks:
        own = maps.get(notebook.stem, {})
        refuse_unknown(notebook.stem, list(own))
        shared = {key: value for key, value in maps["common"].items() if key in parameter_names(notebook.stem)}
        overrides[notebook.stem] = {**shared, **own, "preset": name}
        check(notebook.stem, default_parameters(notebook) | overrides[notebook.stem])
    return Preset(name, overrides, maps["expected_seconds"])


def sections(path: Path, content: object, names: Sequence[str]) -> dict[str, dict]:
    """The preset's maps by name, empty where it leaves one out. Raises InputError for anything else in the file."""
    if not isinstance(content, dict):
        raise InputError(f"{path.name} must be a map of maps")
    allowed = ("common", "expected_seconds", *names)
    for key, value in content.items():
        if key not in allowed:
            raise InputError(f"{path.name}: no notebook {key!r}; allowed are {', '.join(allowed)}")
        if not isinstance(value, dict):
            raise InputError(f"{path.name}: {key} must be a map of names and values")
    for notebook, seconds in content.get("expected_seconds", {}).items():
        if notebook not in names or type(seconds) not in (int, float) or seconds <= 0:
            raise InputError(f"{path.name}: expected_seconds {notebook}: {seconds!r} is no notebook and its seconds")
    return {"common": {}, "expected_seconds": {}, **content}
