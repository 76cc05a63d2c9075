"""Reading a safetensors file whole, with its header."""

from pathlib import Path

from safetensors import safe_open
from torch import Tensor


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Every tensor of a file by name, and its metadata, empty where it has none.

    Raises SafetensorError or OSError for a file that is cut short or of another kind.
    """
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118 (not a dict)
