"""What a notebook's results depend on outside the notebook: sources, claims, and the files that parameters name."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from sae_utils.paths import PACKAGE
from sae_utils.results import sha256
from sae_utils.run.rules import local_path


def sources_digest(notebooks: Path) -> str:
    """sha256 over what every notebook depends on: the package's code and style, the bundled models, the claims."""
    patterns = ("**/*.py", "report/figures/*.mplstyle", "models/*/*")
    return digest([*(path for pattern in patterns for path in PACKAGE.glob(pattern)), *notebooks.glob("*.yaml")])


def local_files(name: str) -> list[Path]:
    """The files of a model or a corpus that is on this machine; none for a name on the hub or in the package."""
    path = local_path(name)
    return [path] if path.is_file() else list(path.rglob("*"))


def digest(paths: Iterable[Path]) -> str:
    """sha256 over the names and the bytes of the files among ``paths``, in order; README.md is prose and left out."""
    total = hashlib.sha256()
    for path in sorted(path for path in paths if path.is_file() and path.name != "README.md"):
        total.update(f"{path.name} {sha256(path)}\n".encode())
    return total.hexdigest()
