"""The corpus ``installed-python``: the Python sources of six pinned packages.

Every installation with the same pins holds the same text, byte for byte, so a language model and
experiments on real human-written text need no download. The order of the files is fixed, whole files
are held out, and near-duplicates (copied modules, versions of one test) stay on one side of the split.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata

import numpy as np
from scipy import sparse

from sae_utils.errors import InputError

PACKAGES = ("scipy", "sympy", "networkx", "scikit-learn", "matplotlib", "pandas")

# Written by each package's build and so different from wheel to wheel.
GENERATED = {"__config__.py", "version.py", "_version.py", "_distributor_init_local.py"}


@dataclass(frozen=True)
class SourceFile:
    """One Python file: ``path`` as the wheel lists it (posix), ``text`` decoded from UTF-8."""

    path: str
    text: str


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
    sha = hashlib.sha256()
    for file in files:
        body = file.text.encode("utf-8")
        sha.update(f"{file.path}\0{len(body)}\0".encode())
        sha.update(body)
    return sha.hexdigest()


def near_duplicate_groups(texts: Sequence[str], overlap: float = 0.5, max_files: int = 100) -> np.ndarray:
    """Label of each text's group; texts that share much of their lines, directly or by a chain, share a label.

    Two texts are near-duplicates where the distinct lines in both are at least ``overlap`` of the distinct
    lines of the shorter one. Blank lines, lines under 12 characters and lines found in more than
    ``max_files`` texts (licence headers, common imports) do not count.

    Returns an int array [n_texts].
    """
    lines = [{s for s in map(str.strip, text.splitlines()) if len(s) >= 12} for text in texts]
    in_files = Counter(line for distinct in lines for line in distinct)
    column = {line: i for i, line in enumerate(s for s, n in in_files.items() if 2 <= n <= max_files)}
    kept = [[column[line] for line in distinct if line in column] for distinct in lines]
    indptr = np.cumsum([0, *map(len, kept)])
    indices = np.fromiter((c for row in kept for c in row), dtype=np.int64, count=indptr[-1])
    shape = (len(texts), len(column))
    has_line = sparse.csr_matrix((np.ones(len(indices), np.int32), indices, indptr), shape=shape)

    shared = (has_line @ has_line.T).tocoo()
    # A line that only one text has counts for its length; one that too many have does not.
    length = np.array([sum(in_files[line] <= max_files for line in distinct) for distinct in lines])
    shorter = np.minimum(length[shared.row], length[shared.col])
    close = shared.data >= overlap * np.maximum(shorter, 1)
    graph = sparse.csr_matrix((shared.data[close], (shared.row[close], shared.col[close])), shape=[len(texts)] * 2)
    return sparse.csgraph.connected_components(graph, directed=False)[1]


def split(files: Sequence[SourceFile], held_out_share: float = 0.1) -> np.ndarray:
    """Which files are held out: whole groups of near-duplicates, in the order of a hash, up to a share of the bytes.

    Returns a bool array [n_files]. The order depends on the paths alone, so neither a random state nor the
    platform moves a file across.
    """
    groups = near_duplicate_groups([file.text for file in files])
    size = np.array([len(file.text.encode("utf-8")) for file in files])
    total = np.bincount(groups, weights=size)
    first_path = {}
    for file, group in zip(files, groups, strict=True):
        first_path.setdefault(int(group), file.path)

    budget = held_out_share * size.sum()
    chosen = []
    for group in sorted(first_path, key=lambda g: hashlib.sha256(first_path[g].encode()).digest()):
        if total[group] <= budget:
            chosen.append(group)
            budget -= total[group]
    return np.isin(groups, chosen)
