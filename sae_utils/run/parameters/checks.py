"""Parameters of the notebooks, checked before anything loads.

Papermill enforces no type (YAML reads ``1e-4`` as a string, ``-p flag true`` is a string too) and only warns of an
unknown name, so the code cell after each notebook's parameters is::

    from sae_utils.run.parameters import check
    p = check("01_seed_divergence", globals())

What a notebook takes is in ``schemas``, whose defaults are the tiny preset's. The cell has the laptop preset's values,
and those of the preset that it names take their places.
"""

import ast
import difflib
import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal, get_args, get_origin

import numpy as np
import yaml
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from sae_utils.errors import InputError
from sae_utils.run.parameters.rules import LAST
from sae_utils.run.parameters.schemas import NOTEBOOKS, Parameters

LINE = 120  # characters, as ruff has them


def check(notebook: str, namespace: Mapping[str, object]) -> Parameters:
    """The notebook's parameters out of its ``globals()``, frozen; what its preset replaces is printed.

    Raises InputError for a missing name, a name that papermill passed and the notebook does not have, a wrong type, a
    value out of range, values that do not go together, a device that is not there, and values under the name of a
    published preset that are not its own.
    """
    from sae_utils.run.parameters.presets import of_preset, refuse_other_values  # which check presets by this module

    injected = injected_names(namespace)
    refuse_unknown(notebook, injected)
    replaced = of_preset(notebook, namespace, injected)
    p = check_elsewhere(notebook, {**namespace, **replaced})
    refuse_other_values(notebook, p)
    check_device(p.device)
    if replaced:
        print(f"preset {p.preset}: {', '.join(f'{name} = {value!r}' for name, value in replaced.items())}")
    return p


def check_elsewhere(notebook: str, values: Mapping[str, object]) -> Parameters:
    """``check``, for a machine that may have another device than this one. Imports no torch."""
    names = parameter_names(notebook)
    missing = [name for name in names if name not in values]
    if missing:
        raise InputError(f"{notebook} has no value for its parameter {missing[0]}")
    model = NOTEBOOKS[notebook]
    try:
        return model(**{name: values[name] for name in names})
    except ValidationError as error:
        raise InputError(in_one_line(error, model)) from None


def check_device(device: str) -> None:
    """Imports torch for a CUDA device alone. Raises InputError where it is not there."""
    if device == "cpu":
        return
    count = n_cuda_devices()
    if int(device.partition(":")[2] or 0) >= count:
        raise InputError(f"parameter device = {device!r}: this machine has {count} CUDA devices; use cpu")


def n_cuda_devices() -> int:
    """Those that this process sees. Imports torch."""
    import torch

    return torch.cuda.device_count()


def parameter_names(notebook: str) -> list[str]:
    """The names that the notebook takes, in the order of its parameters cell."""
    if notebook not in NOTEBOOKS:
        raise InputError(f"no notebook {notebook!r}; there are {', '.join(NOTEBOOKS)}")
    names = list(NOTEBOOKS[notebook].model_fields)
    return [name for name in names if name not in LAST] + [name for name in LAST if name in names]


def refuse_unknown(notebook: str, names: Iterable[str]) -> None:
    """Raises InputError for the first of ``names`` that the notebook does not take, and says the nearest."""
    known = parameter_names(notebook)
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise InputError(f"{notebook} has no parameter {name!r}{hint}; it has {', '.join(known)}")


def injected_names(namespace: Mapping[str, object]) -> list[str]:
    """The names that papermill's injected cell assigns, read from IPython's list of executed cells."""
    cells = [cell for cell in namespace.get("In", ()) if cell.startswith("# Parameters\n")]
    return [target.id for cell in cells for node in ast.parse(cell).body for target in node.targets]


def in_one_line(error: ValidationError, model: type[Parameters]) -> str:
    """The first thing that pydantic found: which parameter, its value, and what is allowed."""
    found = error.errors(include_url=False)[0]
    if not found["loc"]:  # of several parameters together
        return str(found["ctx"]["error"])
    name, *place = found["loc"]
    where = "".join([name, *(f"[{index}]" for index in place)])
    return f"parameter {where} = {found['input']!r} {refusal(found, model.model_fields[name])}"


def read_map(path: Path, allowed: Collection[str]) -> dict:
    """The map in a YAML file. Raises InputError for anything else, and for a key that is not among ``allowed``."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # YAML reads 2020-99-99 as a date, and then cannot
        raise InputError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} must be a map of {', '.join(allowed)}")
    for key in content:
        if key not in allowed:
            raise InputError(f"{path}: no key {key!r}; allowed are {', '.join(allowed)}")
    return content


def refusal(found: Mapping, field: FieldInfo) -> str:
    """What one of pydantic's errors says of a value, in the words of this module."""
    kind, context = found["type"], found.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "finite_number":
        return "must be a finite number"
    if kind == "literal_error":
        return f"must be {context['expected']}"
    if kind in ("list_type", "too_short"):
        least = "" if field.default == [] else "at least one "
        return f"must be a list of {least}{type_name(get_args(field.annotation)[0])}"
    if kind.endswith("_type"):  # int_type, float_type, string_type
        hint = " (YAML reads 1e-4 as text: write 1.0e-4)" if kind == "float_type" else ""
        wanted = kind.removesuffix("_type").replace("string", "str")
        return f"must be {wanted}, not {type(found['input']).__name__}{hint}"
    bounds = {name: getattr(one, name) for one in field.metadata for name in ("ge", "le") if hasattr(one, name)}
    bounds |= context
    return f"must be {bounds['ge']} to {bounds['le']}" if "le" in bounds else f"must be {bounds['ge']} or more"


def parameters_cell(notebook: str) -> str:
    """The text of the notebook's parameters cell: ``name: type = value  # help``, with the laptop preset's values.

    A line each, but for lists that need more.
    """
    from sae_utils.run.parameters.presets import OF_CELLS, values_of

    fields, values = NOTEBOOKS[notebook].model_fields, values_of(OF_CELLS, notebook)
    lines = []
    for name in parameter_names(notebook):
        start, end = f"{name}: {type_name(fields[name].annotation)} = ", f"  # {fields[name].description}"
        line = start + literal(values[name]) + end
        if len(line) > LINE and isinstance(values[name], list):
            items = "".join(f"    {literal(item)},\n" for item in values[name])
            line = f"{start}[\n{items}]{end}"
        lines.append(line)
    return "\n".join(lines)


def type_name(annotation: object) -> str:
    """A parameter's type as its cell has it: int, float, str, or a list of these."""
    if get_origin(annotation) is Annotated:
        return type_name(get_args(annotation)[0])
    if get_origin(annotation) is list:
        return f"list[{type_name(get_args(annotation)[0])}]"
    return "str" if get_origin(annotation) is Literal else annotation.__name__


def literal(value: object) -> str:
    """A value as its cell has it: 400_000, 1.6e-3, "tiny"."""
    if isinstance(value, list):
        return f"[{', '.join(literal(item) for item in value)}]"
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, float) and 0 < value < 0.01:
        return np.format_float_scientific(value, trim="-", exp_digits=1)
    return f"{value:_}" if isinstance(value, int) and value >= 10_000 else repr(value)
