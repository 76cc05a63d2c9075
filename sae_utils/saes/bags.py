"""Sums and products over the rows of a table that bags name: what a sparse code needs of a dictionary's weights.

A bag is a run of pairs: bag i has the pairs from ``starts[i]`` to the next start, and pair j names row ``rows[j]`` of
the table. torch's ``embedding_bag`` does the work, which is threaded on the CPU and adds in a fixed order, as
``index_add`` on CUDA does not; on CUDA Triton kernels do, where there is Triton.
"""

from importlib.util import find_spec

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

SUM = 0  # the number of embedding_bag's mode "sum"


def by_triton(*tensors: Tensor) -> bool:
    """Whether the kernels in ``triton_kernels.py`` can take these tensors."""
    fitting = all(t.is_cuda and t.dtype == torch.float32 and t.is_contiguous() for t in tensors)
    return fitting and find_spec("triton") is not None


def bag_sum(
    table: Float[Tensor, "rows d"],
    rows: Int[Tensor, " pairs"],
    starts: Int[Tensor, " bags"],
    weights: Float[Tensor, " pairs"],
) -> Float[Tensor, "bags d"]:
    """Of each bag, the sum of its rows, each times its pair's weight."""
    if by_triton(table, weights):
        from sae_utils.saes import triton_kernels

        return triton_kernels.bag_sum(table, rows, starts, weights)
    return F.embedding_bag(rows, table, starts, mode="sum", per_sample_weights=weights)


def bag_dots(
    left: Float[Tensor, "bags d"],
    table: Float[Tensor, "rows d"],
    rows: Int[Tensor, " pairs"],
    starts: Int[Tensor, " bags"],
    bags: Int[Tensor, " pairs"],
) -> Float[Tensor, " pairs"]:
    """Of each pair, its bag's row of ``left`` times its row of ``table``; ``bags`` numbers each pair's bag."""
    if by_triton(left, table):
        from sae_utils.saes import triton_kernels

        return triton_kernels.bag_dots(left, table, rows, starts)
    # What embedding_bag's own backward calls: no [pairs, d] is made.
    return torch.ops.aten._embedding_bag_per_sample_weights_backward(left, table, rows, starts, bags, SUM)


def count(latents: Int[Tensor, " pairs"], n_rows: int) -> Int[Tensor, " rows"]:
    """How often each latent is named. ``torch.bincount`` would make the CPU wait for the GPU."""
    return torch.zeros(n_rows, dtype=torch.int64, device=latents.device).scatter_add_(
        0, latents, torch.ones_like(latents)
    )
