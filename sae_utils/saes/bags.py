"""Sums and products over the rows of a table that bags name: what a sparse code needs of a dictionary's weights.

A bag is a run of pairs: bag i has the pairs from ``starts[i]`` to the next start, and pair j names row ``rows[j]`` of
the table. torch's ``embedding_bag`` does the work, which is threaded on the CPU and adds in a fixed order, as
``index_add`` on CUDA does not; on CUDA Triton kernels do, where there is Triton.
"""

import logging
from functools import cache
from importlib.util import find_spec
from types import ModuleType

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

log = logging.getLogger(__name__)

SUM = 0  # the number of embedding_bag's mode "sum"


def triton_for(*tensors: Tensor) -> ModuleType | None:
    """``triton_kernels``, where it can take these tensors and works."""
    if all(t.is_cuda and t.dtype == torch.float32 and t.is_contiguous() for t in tensors):
        return working_triton()
    return None


@cache
def working_triton() -> ModuleType | None:
    """``triton_kernels``, if a first kernel compiles (that takes a C compiler and Python's headers) and is right."""
    if find_spec("triton") is None:
        return None
    one, first = torch.ones(1, 1, device="cuda"), torch.zeros(1, dtype=torch.int64, device="cuda")
    try:
        from sae_utils.saes import triton_kernels

        return triton_kernels if triton_kernels.bag_sum(one, first, first, 3 * one[0]).item() == 3 else None
    except Exception as error:  # whatever is missing: torch does the same, slower
        log.warning("Triton cannot be used here, so training is slower: %s", error)
        return None


def bag_sum(
    table: Float[Tensor, "rows d"],
    rows: Int[Tensor, " pairs"],
    starts: Int[Tensor, " bags"],
    weights: Float[Tensor, " pairs"],
) -> Float[Tensor, "bags d"]:
    """Of each bag, the sum of its rows, each times its pair's weight."""
    if triton := triton_for(table, weights):
        return triton.bag_sum(table, rows, starts, weights)
    return F.embedding_bag(rows, table, starts, mode="sum", per_sample_weights=weights)


def bag_dots(
    left: Float[Tensor, "bags d"],
    table: Float[Tensor, "rows d"],
    rows: Int[Tensor, " pairs"],
    starts: Int[Tensor, " bags"],
    bags: Int[Tensor, " pairs"],
) -> Float[Tensor, " pairs"]:
    """Of each pair, its bag's row of ``left`` times its row of ``table``; ``bags`` numbers each pair's bag."""
    if triton := triton_for(left, table):
        return triton.bag_dots(left, table, rows, starts)
    # What embedding_bag's own backward calls: no [pairs, d] is made.
    return torch.ops.aten._embedding_bag_per_sample_weights_backward(left, table, rows, starts, bags, SUM)


def count(latents: Int[Tensor, " pairs"], n_rows: int) -> Int[Tensor, " rows"]:
    """How often each latent is named. ``torch.bincount`` would make the CPU wait for the GPU."""
    return torch.zeros(n_rows, dtype=torch.int64, device=latents.device).scatter_add_(
        0, latents, torch.ones_like(latents)
    )
