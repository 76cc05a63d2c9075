"""Parameters of the notebooks, checked before anything loads.

Papermill enforces no type (YAML reads ``1e-4`` as a string, ``-p flag true`` is a string too) and only warns of an
unknown name, so each notebook's second code cell is::

    from sae_utils.run.parameters import check
    p = check("01_seed_divergence", globals())

What a notebook takes is in ``schemas``, what a value may be in ``rules``.
"""

import ast
import difflib
from collections.abc import Mapping
from dataclasses import fields

from sae_utils.errors import InputError
from sae_utils.run.schemas import NOTEBOOKS, Parameters


def check(notebook: str, namespace: Mapping[str, object]) -> Parameters:
    """The notebook's parameters out of its ``globals()``, as a frozen dataclass.

    Raises InputError for a missing name, a name that papermill passed and the notebook does not have, a wrong type, a
    value out of range, values that do not go together, and a device that is not there.
    """
    refuse_unknown(notebook, injected_names(namespace))
    names = parameter_names(notebook)
    missing = [name for name in names if name not in namespace]
    if missing:
        raise InputError(f"{notebook} has no value for its parameter {missing[0]}")
    return NOTEBOOKS[notebook](**{name: namespace[name] for name in names})


def parameter_names(notebook: str) -> tuple[str, ...]:
    """The names that the notebook takes."""
    if notebook not in NOTEBOOKS:
        raise InputError(f"no notebook {notebook!r}; there are {', '.join(NOTEBOOKS)}")
    return tuple(field.name for field in fields(NOTEBOOKS[notebook]))


def refuse_unknown(notebook: str, names: list[str]) -> None:
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
