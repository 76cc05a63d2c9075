"""Which process trains a stack: a lock file beside it in the store, held while it is trained.

The lock is the operating system's, which ends with its process, however that ends. Some network file systems keep such
a lock to one machine. So the file also names the machine, and its time is renewed while training goes on: another
machine takes over what has not been renewed for ``STALE`` seconds.
"""

import contextlib
import fcntl
import os
import platform
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

BEAT = 20.0  # seconds between two renewals
STALE = 180.0  # seconds; a network file system may show a time a minute late


@contextlib.contextmanager
def claimed(locks: Sequence[Path]) -> Iterator[list[int]]:
    """Holds those of ``locks`` that no other process holds, gives their positions, and removes them after the block.

    Waits for none.
    """
    files = {i: file for i, lock in enumerate(locks) if (file := _claim(lock))}
    ended = threading.Event()
    renewing = threading.Thread(target=_renew, args=(list(files.values()), ended), daemon=True)
    renewing.start()
    try:
        yield list(files)
    finally:
        ended.set()
        renewing.join()
        for i, file in files.items():
            locks[i].unlink(missing_ok=True)  # whoever has it open already sees that it is no longer there
            file.close()


def _claim(lock: Path) -> IO[str] | None:
    """The lock's open file, or None where another process holds it or has just removed it."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(lock.open("a+", encoding="utf-8"))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(file.fileno()), lock.stat()):
                return None
        except (BlockingIOError, FileNotFoundError):
            return None
        file.seek(0)
        if file.read() not in ("", platform.node()) and time.time() - os.fstat(file.fileno()).st_mtime < STALE:
            return None
        file.truncate(0)
        file.write(platform.node())
        file.flush()
        stack.pop_all()
        return file


def _renew(files: Sequence[IO[str]], ended: threading.Event) -> None:
    while not ended.wait(BEAT):
        for file in files:
            with contextlib.suppress(OSError):  # a disk that is away for a while
                os.utime(file.fileno())
