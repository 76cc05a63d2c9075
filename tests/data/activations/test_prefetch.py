"""The thread that fills ahead: one buffer ahead and no more, errors reach the caller, nothing outlives the iterator."""

import gc
import subprocess
import sys
import threading
import time

import pytest
import torch

from sae_utils.data.activations.prefetch import Buffer, prefetched

CPU = torch.device("cpu")
LONG = 10.0  # seconds that a test waits for what must happen


def filled_by(fill, items):
    return prefetched(fill, items, [Buffer({"x": torch.zeros(1)}) for _ in range(2)], CPU)


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    assert not threads()
    yield
    assert not threads()


class Filler:
    """Writes each item into the buffer, in three steps, and notes what it began."""

    def __init__(self, fails_at=None):
        self.begun, self.fails_at, self.thread = [], fails_at, None

    def __call__(self, buffer, item):
        self.thread = threading.current_thread()
        self.begun.append(item)
        for _ in range(3):
            yield
        if item == self.fails_at:
            raise ZeroDivisionError(f"at {item}")
        buffer.tensors["x"].fill_(item)


def test_gives_every_item_in_order_with_its_buffer_filled():
    filled = filled_by(Filler(), range(1, 8))
    assert [(buffer.tensors["x"].item(), item) for buffer, item in filled] == [(i, i) for i in range(1, 8)]


def test_works_one_ahead_and_leaves_the_buffer_that_is_read_alone():
    fill = Filler()
    filled = filled_by(fill, range(1, 100))
    for i in range(1, 6):
        buffer, item = next(filled)
        end = time.monotonic() + LONG
        while fill.begun[-1] != i + 1:  # without being asked for it
            assert time.monotonic() < end, "did not happen"
            time.sleep(0.001)
        time.sleep(0.01)
        assert fill.begun[-1] == i + 1 and buffer.tensors["x"].item() == item == i
    assert fill.thread is not threading.current_thread()
    filled.close()


@pytest.mark.parametrize(
    ("fill", "items"),
    [(Filler(fails_at=3), range(1, 9)), (Filler(), (i if i < 3 else 1 / 0 for i in range(1, 9)))],
    ids=["of the filling", "of the items"],
)
def test_an_error_reaches_the_caller_after_what_was_filled_before_it(fill, items):
    filled = filled_by(fill, items)
    assert [next(filled)[1], next(filled)[1]] == [1, 2]
    with pytest.raises(ZeroDivisionError):
        next(filled)
    with pytest.raises(StopIteration):
        next(filled)


@pytest.mark.parametrize("taken", [0, 1, 2])
@pytest.mark.parametrize("how", ["closed", "dropped"])
def test_the_thread_ends_with_the_iterator(taken, how):
    filled = filled_by(Filler(), iter(int, 1))
    for _ in range(taken):
        next(filled)
    assert len(threads()) == min(taken, 1)
    if how == "closed":
        filled.close()
        with pytest.raises(StopIteration):
            next(filled)
    del filled
    gc.collect()
    assert not threads()


def test_close_does_not_wait_for_the_whole_filling():
    stepped = threading.Event()

    def endless_from_the_second(buffer, item):
        while item:
            stepped.set()
            yield

    filled = filled_by(endless_from_the_second, range(3))
    next(filled)
    assert stepped.wait(LONG)
    filled.close()


def test_the_interpreter_ends_while_the_thread_is_at_work():
    code = """
import torch
from sae_utils.data.activations.prefetch import Buffer, prefetched

def fill(buffer, item):
    while item:
        buffer.tensors["x"] @ buffer.tensors["x"]
        yield

kept = prefetched(fill, range(9), [Buffer({"x": torch.zeros(300, 300)}) for _ in range(2)], torch.device("cpu"))
print(next(kept)[1])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")
