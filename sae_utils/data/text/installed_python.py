"""The corpus ``installed-python``: the Python sources of six pinned packages.

Every installation with the same pins holds the same text, byte for byte, so a language model and
experiments on real human-written text need no download. The order of the files is fixed, whole files
are held out, and near-duplicates (copied modules, versions of one test) stay on one side of the split.
"""

import json
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata

import numpy as np
from jaxtyping import Bool, Int
from scipy import sparse

from sae_utils.errors import InputError
from sae_utils.files import sha256_of
from sae_utils.paths import MODELS

PACKAGES = ("scipy", "sympy", "networkx", "scikit-learn", "matplotlib", "pandas")
HELD_OUT_SHARE = 0.1  # of the bytes
OVERLAP, MOST_FILES = 0.5, 100  # what near-duplicates are: see near_duplicate_groups
MANIFEST = MODELS / "pycode-2m" / "corpus.json"

# Written by each package's build and so different from wheel to wheel.
GENERATED = {"__config__.py", "version.py", "_version.py", "_distributor_init_local.py"}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SourceFile:
    """One Python file: ``path`` as the wheel lists it (posix), ``text`` decoded from UTF-8."""

    path: str
    text: str


def manifest() -> dict:
    """What the bundled model was trained on: packages, files, bytes, sha256 over all, held_out (paths)."""
    return json.loads(MANIFEST.read_text())


def installed_files(split: str) -> list[SourceFile]:
    """Files on one side of the manifest's split, "train" or "held_out", in the order of a hash of their paths."""
    files, _ = _read_checked()
    held_out = set(manifest()["held_out"])
    chosen = [file for file in files if (file.path in held_out) == (split == "held_out")]
    return sorted(chosen, key=lambda file: sha256_of([file.path]))


def installed_sha256() -> str:
    """One sha256 over the installed text, to compare with the manifest's."""
    return _read_checked()[1]


@lru_cache(maxsize=1)
def _read_checked() -> tuple[list[SourceFile], str]:
    files = read_installed()
    found, expected = digest(files), manifest()
    if found != expected["sha256"]:
        versions = ", ".join(f"{name} {version}" for name, version in expected["packages"].items())
        logger.warning(
            "the installed Python sources are not those of pycode-2m (%s): held-out text may be known to it", versions
        )
    return files, found


def read_installed(packages: Sequence[str] = PACKAGES) -> list[SourceFile]:
    """Every non-empty UTF-8 ``.py`` file that the packages' wheels list, in the order of ``packages``, then path.

    Raises InputError where a package is not installed.
    """
    files = []
    for package in packages:
        try:
            listed = metadata.files(package) or []
        except metadata.PackageNotFoundError:
            raise InputError(
                f"corpus 'installed-python' needs the package {package!r}, which is not installed: "
                "pip install -r requirements.txt"
            ) from None
        for entry in sorted(listed, key=str):
            if entry.suffix != ".py" or entry.name in GENERATED:
                continue
            try:
                text = entry.read_text(encoding="utf-8")
            except (UnicodeDecodeError, FileNotFoundError):
                continue
            if text.strip():
                files.append(SourceFile(entry.as_posix(), text))
    return files


def digest(files: Sequence[SourceFile]) -> str:
    """One sha256 over all: each file's path, its length in bytes, its bytes, in order."""
    return sha256_of(f"{file.path}\0{len(file.text.encode())}\0{file.text}" for file in files)


def near_duplicate_groups(texts: Sequence[str]) -> Int[np.ndarray, " n_texts"]:
    """Label of each text's group; texts that share much of their lines, directly or by a chain, share a label.

    Two texts are near-duplicates where the distinct lines in both are at least OVERLAP of the distinct lines of the
    shorter one. Blank lines, lines under 12 characters and lines found in more than MOST_FILES texts (licence headers,
    common imports) do not count.
    """
    lines = [{s for s in map(str.strip, text.splitlines()) if len(s) >= 12} for text in texts]
    in_files = Counter(line for distinct in lines for line in distinct)
    column = {line: i for i, line in enumerate(s for s, n in in_files.items() if 2 <= n <= MOST_FILES)}
    kept = [[column[line] for line in distinct if line in column] for distinct in lines]
    indptr = np.cumsum([0, *map(len, kept)])
    indices = np.fromiter((c for row in kept for c in row), dtype=np.int64, count=indptr[-1])
    shape = (len(texts), len(column))
    has_line = sparse.csr_matrix((np.ones(len(indices), np.int32), indices, indptr), shape=shape)

    shared = (has_line @ has_line.T).tocoo()
    # A line that only one text has counts for its length; one that too many have does not.
    length = np.array([sum(in_files[line] <= MOST_FILES for line in distinct) for distinct in lines])
    shorter = np.minimum(length[shared.row], length[shared.col])
    close = shared.data >= OVERLAP * np.maximum(shorter, 1)
    graph = sparse.csr_matrix((shared.data[close], (shared.row[close], shared.col[close])), shape=[len(texts)] * 2)
    return sparse.csgraph.connected_components(graph, directed=False)[1]


def split(files: Sequence[SourceFile]) -> Bool[np.ndarray, " n_files"]:
    """Which files are held out: whole groups of near-duplicates, up to HELD_OUT_SHARE of the bytes."""
    groups = near_duplicate_groups([file.text for file in files])
    sizes = np.array([len(file.text.encode("utf-8")) for file in files])
    return set_apart([file.path for file in files], groups, sizes, HELD_OUT_SHARE)


def set_apart(
    paths: Sequence[str],
    groups: Int[np.ndarray, " n_files"],
    sizes: Int[np.ndarray, " n_files"],
    share: float,
    part_of: Callable[[str], str] = lambda path: "",
) -> Bool[np.ndarray, " n_files"]:
    """Which files to set apart: whole groups, up to ``share`` of the sizes in each part; ``part_of`` names a path's.

    Groups come in the order of the sha256 of their first path, and count in its part. That depends on the paths alone,
    so neither a random state nor the platform moves a file across.
    """
    total = np.bincount(groups, weights=sizes)
    first_path = {}
    for path, group in zip(paths, groups.tolist(), strict=True):
        first_path.setdefault(group, path)
    parts = np.array([part_of(path) for path in paths])
    left = {part: share * sizes[parts == part].sum() for part in np.unique(parts).tolist()}
    chosen = []
    for group in sorted(first_path, key=lambda group: sha256_of([first_path[group]])):
        part = part_of(first_path[group])
        if total[group] <= left[part]:
            chosen.append(group)
            left[part] -= total[group]
    return np.isin(groups, chosen)
