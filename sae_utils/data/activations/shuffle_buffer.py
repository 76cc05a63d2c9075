"""A shuffle buffer on the training device: a block of the order, computed row by row and laid down shuffled.

The order of activations is a closed form (data.order), so each activation is written where the shuffle wants it, and
the buffer is never permuted. Batches mix all of its rows, which are drawn from the whole corpus.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_utils.data.activations.order import Block
from sae_utils.data.activations.prefetch import Buffer, FillAhead
from sae_utils.errors import InputError

Parts = Callable[[Int[np.ndarray, " rows"]], Iterator[dict[str, Float[Tensor, "part context d"]]]]


class ShuffleBuffer:
    """One buffer, or two where one is ``ahead``: filled by a thread while the other is read.

    ``parts(rows)`` computes the activations of the rows in order, some rows at a time; ``like`` maps each hook point
    to its width and the dtype to keep it in; ``capacity`` is the most activations of a block.
    """

    def __init__(
        self,
        parts: Parts,
        like: Mapping[str, tuple[int, torch.dtype]],
        capacity: int,
        device: torch.device,
        ahead: bool,
    ):
        self._parts, self._ahead = parts, ahead
        self._buffers = [
            Buffer({name: torch.empty(capacity, d, dtype=dtype, device=device) for name, (d, dtype) in like.items()})
            for _ in range(2 if ahead else 1)
        ]
        # With its number: "cuda" alone may mean another device in another thread.
        self._device = next(iter(self._buffers[0].tensors.values())).device

    def blocks(self, blocks: Iterator[Block]) -> Iterator[dict[str, Float[Tensor, "taken d"]]]:
        """The activations of each block, shuffled; they are overwritten once the next block is asked for.

        Raises InputError for activations that are not finite in the buffer's dtype.
        """
        if self._ahead:
            with closing(FillAhead(self._fill, blocks, self._buffers, self._device)) as filled:
                for buffer, block in filled:
                    yield _first(buffer, len(block.take))
        else:
            for block in blocks:
                for _ in self._fill(self._buffers[0], block):
                    pass
                yield _first(self._buffers[0], len(block.take))

    def _fill(self, buffer: Buffer, block: Block) -> Iterator[None]:
        """Steps of the filling, a part each."""
        places = None
        finite = {name: torch.ones((), dtype=torch.bool, device=self._device) for name in buffer.tensors}
        start = 0
        for part in self._parts(block.rows):
            some = next(iter(part.values()))
            if places is None:
                places = np.full(len(block.rows) * some.shape[1], -1)
                places[block.take] = np.arange(len(block.take))
            here = places[start : start + some.shape[0] * some.shape[1]]
            start += len(here)
            kept = np.flatnonzero(here >= 0)
            to = _moved(torch.from_numpy(here[kept]), self._device)
            for name, x in part.items():
                kept_here = torch.from_numpy(kept).to(x.device)
                kept_x = x.flatten(0, 1).index_select(0, kept_here).to(buffer.tensors[name].dtype)
                kept_x = _moved(kept_x, self._device)
                buffer.tensors[name].index_copy_(0, to, kept_x)
                finite[name] &= torch.isfinite(kept_x).all()
            yield
        # Once a block, since each question waits for the device.
        for name, all_finite in finite.items():
            if not all_finite:
                raise beyond_range(name, buffer.tensors[name].dtype)


class BeyondRange(InputError):
    """Activations that a dtype cannot hold."""


def beyond_range(name: str, dtype: torch.dtype) -> InputError:
    """The error for activations that are not finite in ``dtype``: float16 ends at 65,504, the others hardly ever."""
    if dtype == torch.float16:
        return BeyondRange(f"activations at {name} are beyond {dtype}; use dtype='bfloat16' or 'float32'")
    return InputError(f"activations at {name} are not finite in {dtype}: the model itself gives inf or nan there")


def _first(buffer: Buffer, n: int) -> dict[str, Tensor]:
    return {name: x[:n] for name, x in buffer.tensors.items()}


def _moved(x: Tensor, device: torch.device) -> Tensor:
    """``x`` on the device; from the CPU to CUDA through pinned memory, without waiting for the copy."""
    if x.device.type == "cpu" and device.type == "cuda":
        return x.pin_memory().to(device, non_blocking=True)
    return x.to(device)
