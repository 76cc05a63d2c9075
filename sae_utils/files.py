"""Files that are written whole or not at all, hashes of what they hold, and tensors read from safetensors."""

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import safe_open

from sae_utils.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def only_writer(lock: Path, what: str, wait: bool = True, shared: bool = False) -> Iterator[int]:
    """Holds the lock file ``lock``, which stays, while ``what`` is written; gives its descriptor.

    Where another process holds it, waits and says so, or with ``wait=False`` raises InputError. Several processes may
    hold one that is ``shared``.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    with lock.open("a") as file:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                raise InputError(f"another run is writing to {what}; wait for it, or end it") from None
            logger.warning("another process is writing %s: waiting for it", what)
            fcntl.flock(file, kind)
        yield file.fileno()


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write to; it takes the place of ``path`` once the block has ended without an error.

    Its name is unlike any other process's. The bytes are on the disk before the rename, so a crash leaves the old file
    or the new one. After an error nothing is left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> Path:
    """Writes ``text`` to ``path``, whole or not at all; gives the path."""
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")
    return path


def write_json(path: Path, record: Mapping) -> Path:
    """Writes ``record`` as JSON to ``path``, whole or not at all; gives the path."""
    return write_text(path, json.dumps(record, indent=1, allow_nan=False) + "\n")


def sha256_of_file(path: Path) -> str:
    """The sha256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of(parts: Iterable[str | bytes | memoryview]) -> str:
    """The sha256, in hex, of the parts one after the other; text counts as UTF-8, and arrays as their bytes."""
    total = hashlib.sha256()
    for part in parts:
        total.update(part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part)
    return total.hexdigest()


def read_safetensors(path: Path) -> tuple[dict[str, "Tensor"], dict[str, str]]:
    """Every tensor of a file by name, and its metadata, empty where it has none.

    Raises SafetensorError or OSError for a file that is cut short or of another kind.
    """
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118 (not a dict)
