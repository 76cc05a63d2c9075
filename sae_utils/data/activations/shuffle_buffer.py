"""A shuffle buffer on the training device: a block of the order, computed row by row and laid down shuffled.

The order of activations is a closed form (activations.order), so each activation is written where the shuffle wants
it, and the buffer is never permuted. Batches mix all of its rows, which are drawn from the whole corpus.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_utils.data.activations.order import Block
from sae_utils.data.activations.prefetch import Buffer, prefetched
from sae_utils.errors import InputError

Parts = Callable[[Int[np.ndarray, " rows"]], Iterator[dict[str, Float[Tensor, "part context d"]]]]


def shuffled_blocks(
    parts: Parts,
    blocks: Iterator[Block],
    like: Mapping[str, tuple[int, torch.dtype]],
    capacity: int,
    device: torch.device,
    prefetch: bool,
) -> Iterator[dict[str, Float[Tensor, "taken d"]]]:
    """The activations of each block, shuffled; they are overwritten once the next block is asked for.

    ``parts(rows)`` computes the activations of the rows in order, some rows at a time; ``like`` maps each hook point
    to its width and the dtype to keep it in; ``capacity`` is the most activations of a block. With ``prefetch`` there
    are two buffers, and a thread fills one while the other is read. Raises InputError for activations that are not
    finite in the buffer's dtype.
    """
    buffers = [
        Buffer({name: torch.empty(capacity, d, dtype=dtype, device=device) for name, (d, dtype) in like.items()})
        for _ in range(2 if prefetch else 1)
    ]
    fill = partial(_fill, parts)
    # With its number: "cuda" alone may mean another device in another thread.
    device = next(iter(buffers[0].tensors.values())).device
    filled = prefetched(fill, blocks, buffers, device) if prefetch else _on_demand(fill, blocks, buffers[0])
    with closing(filled):
        for buffer, block in filled:
            yield {name: x[: len(block.take)] for name, x in buffer.tensors.items()}


def _on_demand(fill, blocks: Iterator[Block], buffer: Buffer) -> Iterator[tuple[Buffer, Block]]:
    for block in blocks:
        for _ in fill(buffer, block):
            pass
        yield buffer, block


def _fill(parts: Parts, buffer: Buffer, block: Block) -> Iterator[None]:
    """Write each activation of the block to its place in the shuffle, a part of the rows in a step."""
    device = next(iter(buffer.tensors.values())).device
    finite = {name: torch.ones((), dtype=torch.bool, device=device) for name in buffer.tensors}
    places, start = None, 0
    for part in parts(block.rows):
        n_rows, context = next(iter(part.values())).shape[:2]
        if places is None:
            places = np.full(len(block.rows) * context, -1)
            places[block.take] = np.arange(len(block.take))
        here = places[start : start + n_rows * context]
        start += len(here)
        kept = np.flatnonzero(here >= 0)
        to = _moved(torch.from_numpy(here[kept]), device)
        for name, x in part.items():
            wanted = x.flatten(0, 1).index_select(0, torch.from_numpy(kept).to(x.device))
            wanted = _moved(wanted.to(buffer.tensors[name].dtype), device)
            buffer.tensors[name].index_copy_(0, to, wanted)
            finite[name] &= torch.isfinite(wanted).all()
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


def _moved(x: Tensor, device: torch.device) -> Tensor:
    """``x`` on the device; from the CPU to CUDA through pinned memory, without waiting for the copy."""
    if x.device.type == "cpu" and device.type == "cuda":
        return x.pin_memory().to(device, non_blocking=True)
    return x.to(device)
