"""Opening the files of other libraries: JSON settings, and safetensors whose shapes are checked before they load."""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from sae_utils.errors import InputError
from sae_utils.files import read_safetensors
from sae_utils.saes.formats.plain import check_shapes, checked_weights


def read_json(path: Path) -> dict:
    """The object in a JSON file. Raises InputError where there is none."""
    try:
        out = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON: {' '.join(str(error).split())}") from None
    if not isinstance(out, dict):
        raise InputError(f"{path} holds a JSON {type(out).__name__}; expected an object")
    return out


def shapes_of(path: Path) -> dict[str, tuple[int, ...]]:
    """Shape of each tensor, from the header alone. Raises InputError for a corrupt or foreign file."""
    try:
        with safe_open(path, "pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is truncated or not a safetensors file: {' '.join(str(error).split())}") from None


def load_tensors(path: Path, axes: Mapping[str, str], optional: Mapping[str, str] | None = None) -> dict[str, Tensor]:
    """The tensors of a safetensors file in float32, after their shapes (``check_shapes``); ``optional`` may lack."""
    shapes = shapes_of(path)
    present = {name: letters for name, letters in (optional or {}).items() if name in shapes}
    check_shapes(shapes, {**axes, **present}, str(path))
    return checked_weights(read_safetensors(path)[0], str(path))


def whole(value, what: str, path: Path) -> int:
    """``value`` as a whole number of at least 1, which some files write as 32.0. Raises InputError otherwise."""
    if isinstance(value, int | float) and not isinstance(value, bool) and float(value).is_integer() and value >= 1:
        return int(value)
    raise InputError(f"{what}={value!r} in {path} must be a whole number of at least 1")


def check_size(said, found: int, what: str, path: Path) -> None:
    """InputError where the settings name another size than the tensors have; ``None`` says nothing."""
    if said is not None and said != found:
        raise InputError(f"{what}={said!r} in {path} does not match the tensors, which have {found}")
