"""Presets: YAML files of parameters for the notebooks, checked whole before the first notebook starts.

notebooks/presets/README.md shows one. A value in ``common`` reaches the notebooks that have a parameter of that name; a
notebook's own map goes before it. What a preset leaves out is as in its ``base``, which has no base itself, or else the
default in ``schemas``, as in the preset ``tiny``. A ``base`` gives the list of ``notebooks``, too, but no
``expected_seconds``: those were measured.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sae_utils.errors import InputError
from sae_utils.paths import NOTEBOOKS, PUBLISHED, REPLICATIONS
from sae_utils.results import is_own, results_folder
from sae_utils.run.notebooks import by_name_or_number, default_parameters, select
from sae_utils.run.parameters.checks import check_elsewhere, parameter_names, read_map, refuse_unknown
from sae_utils.run.parameters.schemas import NOTEBOOKS as MODELS
from sae_utils.run.parameters.schemas import Parameters

OF_CELLS = "laptop"  # the preset whose values the notebooks' own cells have


@dataclass(frozen=True)
class Preset:
    """``overrides``: all parameters, in the place of those of a notebook's own cell; both maps are by notebook.

    A notebook that is not in ``overrides`` is none of the preset's.
    """

    name: str
    overrides: dict[str, dict[str, object]]
    expected_seconds: dict[str, float]


def load_preset(name: str, folder: Path = NOTEBOOKS) -> Preset:
    """Reads ``presets/<name>.yaml`` in the notebooks' folder and checks every parameter of its notebooks.

    Whether this machine has the device is not asked: a preset for another machine can be looked at here. Raises
    InputError, in one line, for a preset that is not there, a name that no notebook has, and a bad value.
    """
    notebooks = {path.stem: path for path in select(folder)}
    layers = read_layers(folder, name)
    chosen, overrides = chosen_of(layers, notebooks), {}
    for notebook, path in notebooks.items():
        if notebook in chosen:
            default_parameters(path)  # raises for a cell that papermill's values would not replace
            overrides[notebook] = all_values(layers, notebook, name)
            check_elsewhere(notebook, overrides[notebook])
        elif notebook in layers[-1]:
            raise InputError(f"{name}.yaml: {notebook} is not among its notebooks {', '.join(chosen)}")
    return Preset(name, overrides, layers[-1]["expected_seconds"])


def of_preset(notebook: str, namespace: Mapping[str, object], injected: Container[str]) -> dict[str, object]:
    """What replaces the values that the notebook's cell has of its own: those of the preset that it names.

    What papermill ``injected`` or somebody changed stays; so does all where there is no such preset.
    """
    name = namespace.get("preset")
    if name not in names_of_presets(NOTEBOOKS):
        return {}
    cell, preset = values_of(OF_CELLS, notebook), values_of(name, notebook)
    replaced = {}
    for key, value in preset.items():
        as_in_cell = key not in injected and namespace.get(key) == cell[key]
        if as_in_cell and value != cell[key]:
            replaced[key] = value
    return replaced


def refuse_other_values(notebook: str, p: Parameters) -> None:
    """Raises InputError for a value that is not a published preset's under its name, in the repository's own results.

    Elsewhere, and under any other name, a value may be what one likes.
    """
    if p.preset not in (*PUBLISHED, *REPLICATIONS) or not is_own(results_folder(p.preset, p.results_dir)):
        return
    for key, value in values_of(p.preset, notebook).items():
        if key != "results_dir" and getattr(p, key) != value:
            said = f"parameter {key} = {getattr(p, key)!r} is {value!r} in the published preset {p.preset!r}"
            raise InputError(f"{said}; for results of other values name another preset, such as mine")


def values_of(name: str, notebook: str) -> dict[str, object]:
    """All parameters of a notebook as a preset has them, unchecked. Raises InputError where it leaves that one out."""
    layers = read_layers(NOTEBOOKS, name)
    chosen = chosen_of(layers, MODELS)
    if notebook not in chosen:
        raise InputError(f"preset {name!r} leaves out {notebook}; it has {', '.join(chosen)}")
    return all_values(layers, notebook, name)


def names_of_presets(folder: Path) -> list[str]:
    """Those in the notebooks' folder."""
    return sorted(path.stem for path in (folder / "presets").glob("*.yaml"))


def read_layers(folder: Path, name: str) -> list[dict]:
    """A preset's file, after that of its base where it has one."""
    layers = [read_maps(folder, name)]
    if "base" in layers[0]:
        layers.insert(0, read_maps(folder, layers[0]["base"]))
        if "base" in layers[0]:
            raise InputError(f"{name}.yaml: its base {layers[1]['base']!r} has a base itself; one is allowed")
    return layers


def chosen_of(layers: Sequence[Mapping], notebooks: Iterable[str]) -> list[str]:
    """The notebooks that a preset is about."""
    return layers[-1].get("notebooks", layers[0].get("notebooks", list(notebooks)))


def all_values(layers: Sequence[Mapping], notebook: str, name: str) -> dict[str, object]:
    """A notebook's parameters: the defaults in ``schemas``, then what each layer says."""
    defaults = {key: field.default for key, field in MODELS[notebook].model_fields.items()}
    values = {key: value for layer in layers for key, value in own_values(layer, notebook).items()}
    return {**defaults, **values, "preset": name}


def own_values(maps: Mapping, notebook: str) -> dict[str, object]:
    """What one file says of a notebook's parameters. Raises InputError for a name that the notebook does not have."""
    own = maps.get(notebook, {})
    refuse_unknown(notebook, own)
    return {key: value for key, value in maps["common"].items() if key in parameter_names(notebook)} | own


def read_maps(folder: Path, name: str) -> dict:
    """A preset's file, with empty maps for what it leaves out. Raises InputError for anything that no preset has."""
    path = folder / "presets" / f"{name}.yaml"
    if not path.is_file():
        raise InputError(f"no preset {name!r}; there are {', '.join(names_of_presets(folder))}")
    notebooks = [notebook.stem for notebook in select(folder)]
    content = read_map(path, ("base", "notebooks", "common", "expected_seconds", *notebooks))
    for key, value in content.items():
        if key not in ("base", "notebooks") and not isinstance(value, dict):
            raise InputError(f"{path.name}: {key} must be a map of names and values")
    maps = {"common": {}, "expected_seconds": {}, **content}
    for notebook, seconds in maps["expected_seconds"].items():
        if notebook not in notebooks or type(seconds) not in (int, float) or not 0 < seconds < float("inf"):
            raise InputError(f"{path.name}: expected_seconds {notebook}: {seconds!r} is no notebook and its seconds")
    if not isinstance(maps.get("base", ""), str):
        raise InputError(f"{path.name}: base must be the name of a preset")
    if "notebooks" in maps:
        maps["notebooks"] = full_names(path, maps["notebooks"], folder)
    known = {parameter for notebook in notebooks for parameter in parameter_names(notebook)}
    for parameter in maps["common"].keys() - known:
        raise InputError(f"{path.name}: no notebook has the parameter {parameter!r} of 'common'")
    return maps


def full_names(path: Path, listed: object, folder: Path) -> list[str]:
    """The names of the notebooks listed; YAML reads 01 as the number 1, and 08 as text."""
    by_name = by_name_or_number(select(folder))
    texts = [f"{one:02d}" if type(one) is int else one for one in listed] if isinstance(listed, list) else []
    if not texts or any(not isinstance(text, str) or text not in by_name for text in texts):
        names = ", ".join(notebook.stem for notebook in select(folder))
        raise InputError(f"{path.name}: notebooks must be a list of some of {names}")
    return [by_name[text].stem for text in texts]
