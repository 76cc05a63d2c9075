"""Presets: YAML files of parameters for the notebooks, checked whole before the first notebook starts.

A preset has a map ``common``, a map for each notebook that wants more, and ``expected_seconds`` by notebook::

    base: a-gpt2-small
    notebooks: [01, 02]
    common:
      n_tokens: 2_000_000
    01_seed_divergence:
      n_latents: 1024
    expected_seconds:
      01_seed_divergence: 300

A value in ``common`` reaches the notebooks that have a parameter of that name; a notebook's own map goes before it.
``notebooks`` lists those that the preset is about, by number or name; without it, all. ``base`` names another preset,
which has no base itself: it gives the notebooks, and every parameter of which this file says nothing, in ``common`` or
elsewhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from sae_utils.errors import InputError
from sae_utils.run.notebooks import default_parameters
from sae_utils.run.parameters import check, parameter_names, refuse_unknown
from sae_utils.run.rules import check_value


@dataclass(frozen=True)
class Preset:
    """``overrides``: the parameters that replace those of a notebook's own cell; both maps are by notebook.

    A notebook that is not in ``overrides`` is none of the preset's.
    """

    name: str
    overrides: dict[str, dict[str, object]]
    expected_seconds: dict[str, float]


def load_preset(name: str, notebooks: Sequence[Path]) -> Preset:
    """Reads ``presets/<name>.yaml`` beside the notebooks and checks every parameter of its notebooks.

    Whether this machine has the device is not asked: a preset for another machine can be looked at here. Raises
    InputError, in one line, for a preset that is not there, a name that no notebook has, and a bad value.
    """
    folder = notebooks[0].parent / "presets"
    path = preset_path(folder, name)
    maps = read_sections(path, notebooks)
    layers = [maps]
    if "base" in maps:
        base = read_sections(preset_path(folder, maps["base"]), notebooks)
        if "base" in base:
            raise InputError(f"{path.name}: its base {maps['base']!r} has a base itself; one is allowed")
        layers.insert(0, base)
    chosen = maps.get("notebooks", layers[0].get("notebooks", [notebook.stem for notebook in notebooks]))
    for section in maps:
        if section in {notebook.stem for notebook in notebooks} - set(chosen):
            raise InputError(f"{path.name}: {section} is not among its notebooks {', '.join(chosen)}")
    overrides = {}
    for notebook in notebooks:
        if notebook.stem in chosen:
            values = {key: value for layer in layers for key, value in own_values(layer, notebook.stem).items()}
            overrides[notebook.stem] = {**values, "preset": name}
            check_elsewhere(notebook.stem, default_parameters(notebook) | overrides[notebook.stem])
    return Preset(name, overrides, maps["expected_seconds"])


def preset_path(folder: Path, name: str) -> Path:
    """The preset's file. Raises InputError where it is not there."""
    path = folder / f"{name}.yaml"
    if not path.is_file():
        raise InputError(f"no preset {name!r}; there are {', '.join(sorted(p.stem for p in folder.glob('*.yaml')))}")
    return path


def own_values(maps: Mapping, notebook: str) -> dict[str, object]:
    """What one file says of a notebook's parameters. Raises InputError for a name that the notebook does not have."""
    own = maps.get(notebook, {})
    refuse_unknown(notebook, list(own))
    return {key: value for key, value in maps["common"].items() if key in parameter_names(notebook)} | own


def check_elsewhere(notebook: str, values: Mapping[str, object]) -> None:
    """``check``, for a machine that may have another device than this one. Imports no torch."""
    check_value("device", str, values["device"])
    check(notebook, {**values, "device": "cpu"})


def read_sections(path: Path, notebooks: Sequence[Path]) -> dict:
    """The file's content with names of notebooks in full. Raises InputError for anything that no preset has."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    names = [notebook.stem for notebook in notebooks]
    maps = sections(path, content, names)
    known = {parameter for notebook in names for parameter in parameter_names(notebook)}
    for parameter in set(maps["common"]) - known:
        raise InputError(f"{path.name}: no notebook has the parameter {parameter!r} of 'common'")
    return maps


def sections(path: Path, content: object, names: Sequence[str]) -> dict:
    """The preset's maps by name, empty where it leaves one out. Raises InputError for anything else in the file."""
    if not isinstance(content, dict):
        raise InputError(f"{path.name} must be a map of maps")
    allowed = ("base", "notebooks", "common", "expected_seconds", *names)
    for key, value in content.items():
        if key not in allowed:
            raise InputError(f"{path.name}: no notebook {key!r}; allowed are {', '.join(allowed)}")
        if key not in ("base", "notebooks") and not isinstance(value, dict):
            raise InputError(f"{path.name}: {key} must be a map of names and values")
    for notebook, seconds in content.get("expected_seconds", {}).items():
        if notebook not in names or type(seconds) not in (int, float) or seconds <= 0:
            raise InputError(f"{path.name}: expected_seconds {notebook}: {seconds!r} is no notebook and its seconds")
    if not isinstance(content.get("base", ""), str):
        raise InputError(f"{path.name}: base must be the name of a preset")
    chosen = {"notebooks": full_names(path, content["notebooks"], names)} if "notebooks" in content else {}
    return {"common": {}, "expected_seconds": {}, **content, **chosen}


def full_names(path: Path, listed: object, names: Sequence[str]) -> list[str]:
    """The names of the notebooks listed; YAML reads 01 as the number 1, and 08 as text."""
    by_number = {name[:2]: name for name in names} | {name: name for name in names}
    texts = [f"{one:02d}" if type(one) is int else one for one in listed] if isinstance(listed, list) else []
    if not texts or any(text not in by_number for text in texts):
        raise InputError(f"{path.name}: notebooks must be a list of some of {', '.join(names)}")
    return [by_number[text] for text in texts]
