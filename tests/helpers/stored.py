"""What is in a store of trained dictionaries."""

from pathlib import Path

from sae_utils.files import read_safetensors


def stored(folder: Path) -> dict[str, str]:
    """The sha256 over the tensors of each stack, by its file; the order of a file's header differs from run to run."""
    return {path.name: read_safetensors(path)[1]["sha256"] for path in folder.glob("dictionaries-*")}
