"""Triton kernels for sums and products over rows of a table, on CUDA; ``bags.py`` says what each computes.

torch's own ``embedding_bag`` reads four bytes a thread and one row after the other, so it waits for memory: on an H100,
1M pairs of a bag and a row of 768 took it 2.5 to 3.3 ms for a sum. Here a program reads ``PAIRS`` rows at once. All
sums are in a fixed order. Triton launches on the current device, which need not be the tensors'.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

PAIRS, COLUMNS = 8, 256  # rows and columns that a program reads at once


@triton.jit
def _pairs_of(starts, bag, n_bags, n_pairs):
    return tl.load(starts + bag), tl.load(starts + bag + 1, mask=bag + 1 < n_bags, other=n_pairs)


@triton.jit
def _sum(out, table, rows, starts, weights, n_bags, n_pairs, d, PAIRS: tl.constexpr, COLUMNS: tl.constexpr):
    bag = tl.program_id(0)
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    start, end = _pairs_of(starts, bag, n_bags, n_pairs)
    total = tl.zeros((COLUMNS,), tl.float32)
    for first in range(start, end, PAIRS):
        pairs = first + tl.arange(0, PAIRS)
        row = tl.load(rows + pairs, mask=pairs < end, other=0)
        weight = tl.load(weights + pairs, mask=pairs < end, other=0.0)
        inside = (pairs < end)[:, None] & (columns < d)[None, :]
        values = tl.load(table + row[:, None] * d + columns[None, :], mask=inside, other=0.0)
        total += tl.sum(weight[:, None] * values, axis=0)
    tl.store(out + bag.to(tl.int64) * d + columns, total, mask=columns < d)


@triton.jit
def _dots(out, left, table, rows, starts, n_bags, n_pairs, d, PAIRS: tl.constexpr, COLUMNS: tl.constexpr):
    bag = tl.program_id(0)
    start, end = _pairs_of(starts, bag, n_bags, n_pairs)
    for first in range(start, end, PAIRS):
        pairs = first + tl.arange(0, PAIRS)
        row = tl.load(rows + pairs, mask=pairs < end, other=0)
        total = tl.zeros((PAIRS,), tl.float32)
        for column in range(0, d, COLUMNS):
            columns = column + tl.arange(0, COLUMNS)
            own = tl.load(left + bag.to(tl.int64) * d + columns, mask=columns < d, other=0.0)
            inside = (pairs < end)[:, None] & (columns < d)[None, :]
            values = tl.load(table + row[:, None] * d + columns[None, :], mask=inside, other=0.0)
            total += tl.sum(own[None, :] * values, axis=1)
        tl.store(out + pairs, total, mask=pairs < end)


@triton.jit
def _remove_parallel(grad, rows, d, COLUMNS: tl.constexpr):
    columns = tl.arange(0, COLUMNS)
    at = tl.program_id(0).to(tl.int64) * d + columns
    g = tl.load(grad + at, mask=columns < d, other=0.0)
    row = tl.load(rows + at, mask=columns < d, other=0.0)
    tl.store(grad + at, g - tl.sum(g * row, axis=0) * row, mask=columns < d)


@triton.jit
def _normalise(rows, d, least, COLUMNS: tl.constexpr):
    columns = tl.arange(0, COLUMNS)
    at = tl.program_id(0).to(tl.int64) * d + columns
    row = tl.load(rows + at, mask=columns < d, other=0.0)
    norm = tl.sqrt(tl.sum(row * row, axis=0))
    tl.store(rows + at, row / tl.maximum(norm, least), mask=columns < d)


def bag_sum(table: Tensor, rows: Tensor, starts: Tensor, weights: Tensor) -> Tensor:
    """``bags.bag_sum`` of contiguous float32 tensors."""
    n_bags, d = len(starts), table.shape[1]
    out = table.new_empty(n_bags, d)
    if n_bags:
        grid = n_bags, triton.cdiv(d, COLUMNS)
        with torch.cuda.device_of(table):
            _sum[grid](out, table, rows, starts, weights, n_bags, len(rows), d, PAIRS, COLUMNS, num_warps=1)
    return out


def bag_dots(left: Tensor, table: Tensor, rows: Tensor, starts: Tensor) -> Tensor:
    """``bags.bag_dots`` of contiguous float32 tensors."""
    out, d = table.new_empty(len(rows)), table.shape[1]
    if len(rows):
        with torch.cuda.device_of(table):
            _dots[(len(starts),)](
                out, left, table, rows, starts, len(starts), len(rows), d, PAIRS, COLUMNS, num_warps=1
            )
    return out


def remove_parallel(grad: Tensor, rows: Tensor) -> None:
    """``optimisation.remove_parallel_gradient`` of contiguous float32 tensors."""
    d = rows.shape[-1]
    with torch.cuda.device_of(rows):
        _remove_parallel[(rows.numel() // d,)](grad, rows, d, triton.next_power_of_2(d))


def normalise(rows: Tensor) -> None:
    """``optimisation.normalise_rows`` of a contiguous float32 tensor."""
    d = rows.shape[-1]
    with torch.cuda.device_of(rows):
        _normalise[(rows.numel() // d,)](rows, d, torch.finfo(rows.dtype).tiny, triton.next_power_of_2(d))
