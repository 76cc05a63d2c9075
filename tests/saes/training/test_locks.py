"""Of several processes one holds a lock; a dead one's is free at once, one of another machine after a while."""

import contextlib
import os
import platform
import subprocess
import sys
import time

import pytest

from sae_utils.saes.training import locks
from sae_utils.saes.training.locks import claimed

HOLD = """
import sys, time
from pathlib import Path
from sae_utils.saes.training.locks import claimed
with claimed([Path(sys.argv[1])]) as free:
    print(free, flush=True)
    time.sleep(600)
"""


def test_what_is_held_is_left_out_until_its_process_is_killed(tmp_path):
    paths = [tmp_path / name for name in ("a", "b", "c")]
    with subprocess.Popen([sys.executable, "-c", HOLD, str(paths[1])], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "[0]\n"
        with claimed(paths) as free:
            assert free == [0, 2]
            with claimed(paths) as none:  # in one process, too
                assert none == []
        assert [path.name for path in tmp_path.iterdir()] == ["b"]
        other.kill()
        other.wait()
        with claimed(paths) as free:
            assert free == [0, 1, 2]
    assert not list(tmp_path.iterdir())


def test_an_error_frees_the_lock(tmp_path):
    with contextlib.suppress(ZeroDivisionError), claimed([tmp_path / "a"]):
        1 / 0  # noqa: B018
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("holder", "age", "free"),
    [("elsewhere", 60, []), ("elsewhere", 200, [0]), (platform.node(), 60, [0]), ("", 0, [0])],
    ids=["another machine", "another machine, long ago", "this machine", "nobody"],
)
def test_a_lock_that_the_system_does_not_hold_is_another_machines_while_it_is_renewed(tmp_path, holder, age, free):
    lock = tmp_path / "a"
    lock.write_text(holder)
    os.utime(lock, (time.time() - age,) * 2)
    with claimed([lock]) as found:
        assert found == free
        assert lock.read_text() == (platform.node() if free else holder)


def test_a_lock_that_is_held_is_renewed(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "BEAT", 0.02)
    lock = tmp_path / "a"
    with claimed([lock]):
        os.utime(lock, (0, 0))
        for _ in range(500):
            if lock.stat().st_mtime > 0:
                break
            time.sleep(0.02)
        assert time.time() - lock.stat().st_mtime < 60
