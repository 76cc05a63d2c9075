"""Fill the next buffer in a thread while the caller works on this one."""

import queue
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

Item = TypeVar("Item")


@dataclass(eq=False)
class Buffer:
    """Memory that is filled, read and filled again; on CUDA with the events that order the two streams."""

    tensors: dict[str, Tensor]
    filled: torch.cuda.Event | None = None
    released: torch.cuda.Event | None = None


class FillAhead(Generic[Item]):
    """``(buffer, item)`` for each of ``items``, the buffer filled; it may be read until the next one is asked for.

    ``fill(buffer, item)`` fills in steps: it is an iterator, so that the thread can end between two of them. An
    exception there is raised by ``next``. The thread ends with the items, with ``close``, with this object, and at the
    latest before the interpreter. On CUDA it works on a stream of its own, which waits for what the caller's stream
    was given before it released a buffer, as the caller's stream waits for the filling.
    """

    def __init__(
        self,
        fill: Callable[[Buffer, Item], Iterator[None]],
        items: Iterable[Item],
        buffers: Sequence[Buffer],
        device: torch.device,
    ):
        self._device, self._held = device, None
        self._free, self._ready = queue.SimpleQueue(), queue.SimpleQueue()
        for buffer in buffers:
            self._release(buffer)
        stop = threading.Event()
        # Of no help to it: a thread that knew this object would keep it alive.
        args = fill, iter(items), self._free, self._ready, stop, device
        # A daemon, since the interpreter waits for other threads before it runs the finalizer that ends this one.
        thread = threading.Thread(target=_work, args=args, name="fill-ahead", daemon=True)
        self.close = weakref.finalize(self, _end, stop, self._free, thread)
        thread.start()

    def __iter__(self) -> "FillAhead[Item]":
        return self

    def __next__(self) -> tuple[Buffer, Item]:
        if not self.close.alive:
            raise StopIteration
        if self._held is not None:
            self._release(self._held)
        self._held, item, error = self._ready.get()
        if self._held is None:
            self.close()
            raise error if error is not None else StopIteration
        if self._held.filled is not None:
            torch.cuda.current_stream(self._device).wait_event(self._held.filled)
        return self._held, item

    def _release(self, buffer: Buffer) -> None:
        if self._device.type == "cuda":
            buffer.released = torch.cuda.current_stream(self._device).record_event()
        self._free.put(buffer)


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
                if stop.is_set() or not _fill(fill(buffer, item), buffer, stop, stream):
                    return
                ready.put((buffer, item, None))
    except BaseException as caught:  # the caller raises it
        error = caught
    finally:
        ready.put((None, None, error))


def _fill(steps: Iterator[None], buffer: Buffer, stop: threading.Event, stream) -> bool:
    """Take all ``steps``; False where ``stop`` was set before the last."""
    if stream is not None:
        stream.wait_event(buffer.released)
    for _ in steps:
        if stop.is_set():
            return False
    if stream is not None:
        buffer.filled = stream.record_event()
    return True


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
