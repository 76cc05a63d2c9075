"""A thread that fills the next buffer while the caller works on this one."""

import atexit
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

Item = TypeVar("Item")


@dataclass(eq=False)
class Buffer:
    """Memory that is filled, read and filled again; on CUDA with the events that order the two streams."""

    tensors: dict[str, Tensor]
    filled: torch.cuda.Event | None = None
    released: torch.cuda.Event | None = None

    def release(self, free: queue.SimpleQueue, device: torch.device) -> None:
        """Put the buffer among the free ones, to be filled when the caller's stream has done its work so far."""
        if device.type == "cuda":
            self.released = torch.cuda.current_stream(device).record_event()
        free.put(self)


def prefetched(
    fill: Callable[[Buffer, Item], Iterator[None]],
    items: Iterable[Item],
    buffers: Sequence[Buffer],
    device: torch.device,
) -> Iterator[tuple[Buffer, Item]]:
    """``(buffer, item)`` for each of ``items``, the buffer filled; it may be read until the next one is asked for.

    ``fill(buffer, item)`` is an iterator over steps of the filling, so that the thread can end between two of them.
    What ``fill`` or ``items`` raises is raised here. The thread ends with the last item, when this iterator is closed
    or dropped, and at the latest before the interpreter. On CUDA it works on a stream of its own, which waits for what
    the caller's stream was given before it released a buffer, as the caller's stream waits for the filling.
    """
    free, ready, stop = queue.SimpleQueue(), queue.SimpleQueue(), threading.Event()
    for buffer in buffers:
        buffer.release(free, device)
    # The thread does not know this iterator, so that it can be dropped. A daemon, since the interpreter waits for
    # other threads before it calls what atexit knows.
    args = fill, iter(items), free, ready, stop, device
    thread = threading.Thread(target=_work, args=args, name="prefetch", daemon=True)
    end = partial(_end, stop, free, thread)
    atexit.register(end)
    thread.start()
    try:
        while True:
            buffer, item, error = ready.get()
            if error is not None:
                raise error
            if buffer is None:
                return
            if buffer.filled is not None:
                torch.cuda.current_stream(device).wait_event(buffer.filled)
            yield buffer, item
            buffer.release(free, device)
    finally:
        end()
        atexit.unregister(end)


def _end(stop: threading.Event, free: queue.SimpleQueue, thread: threading.Thread) -> None:
    stop.set()
    free.put(None)  # the thread may be waiting for a buffer
    if thread is not threading.current_thread():  # where the garbage collector happens to run in it
        thread.join()


def _work(fill, items, free, ready, stop: threading.Event, device: torch.device) -> None:
    """The thread: hands over each filled buffer, and at last a None with the error that ended it, if one did."""
    error = None
    try:
        with _own_stream(device) as stream:
            for item in items:
                buffer = free.get()
                if stop.is_set():
                    return
                if stream is not None:
                    stream.wait_event(buffer.released)
                for _ in fill(buffer, item):
                    if stop.is_set():
                        return
                if stream is not None:
                    buffer.filled = stream.record_event()
                ready.put((buffer, item, None))
    except BaseException as caught:  # the caller raises it
        error = caught
    finally:
        ready.put((None, None, error))


@contextmanager
def _own_stream(device: torch.device) -> Iterator["torch.cuda.Stream | None"]:
    """A side stream as the current one of this thread; left only when all its work is done, since memory is freed."""
    if device.type != "cuda":
        yield None
        return
    stream = torch.cuda.Stream(device)
    with torch.cuda.device(device), torch.cuda.stream(stream):
        try:
            yield stream
        finally:
            stream.synchronize()
