"""Products of the rows of two dictionaries: all of them block by block with a known error, and exact ones of few pairs.

All pairs are multiplied in the cheapest numbers whose error is known: in bytes where the processor multiplies those,
four times as fast as float32, else in float32.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.fft import dct
from torch import Tensor

TILE = 2048  # columns of a block
ROUNDING = 2.0**-24  # relative error of one float32 operation
TURNING = 1e-5  # more than all float32 operations in the rotation of a row can move it, of length 1


@dataclass(frozen=True)
class Screen:
    """Cheap stand-ins of the rows of two dictionaries: a cosine is ``scale`` times their product, +- ``error``."""

    a: Tensor
    b: Tensor
    scale: float
    error: float


def screen(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Screen:
    """Stand-ins of rows of length 1 or 0.

    With rows x and y and their stand-ins x' and y', x y - x' y' = x (y - y') + (x - x') y', so that the error of a
    cosine is at most the sum of the two distances and their product.
    """
    if not _multiplies_bytes():
        return Screen(a.float(), b.float(), 1.0, ROUNDING * (a.shape[1] + 8))
    (a, step_a, error_a), (b, step_b, error_b) = _bytes(a), _bytes(b)
    return Screen(a, b, step_a * step_b, error_a + error_b + error_a * error_b)


def _multiplies_bytes() -> bool:
    """Whether products of bytes are fast, and exact, on this processor."""
    able = torch.cpu.get_capabilities()
    return hasattr(torch, "_int_mm") and bool(able.get("avx512_vnni") or able.get("amx_int8"))


def _bytes(rows: Float[Tensor, "n d"]) -> tuple[Tensor, float, float]:
    """Rows as int8, their unit, and the largest distance of a row to what stands for it.

    They are rotated before, all dictionaries alike, by random signs and a cosine transform: no entry stands out then,
    and one unit fits all rows.
    """
    signs = np.random.default_rng(0).choice(np.float32([-1, 1]), rows.shape[1])
    turned = torch.from_numpy(dct(rows.float().numpy() * signs, norm="ortho", axis=1, overwrite_x=True))
    step = max(-float(turned.min()), float(turned.max())) / 127 or 1.0
    small = turned.div_(step).round().to(torch.int8)
    return small, step, step * float(turned.sub_(small).norm(dim=1).max()) + TURNING


def pair_cosines(
    a: Float[Tensor, "n d"], b: Float[Tensor, "m d"], rows: Int[np.ndarray, " e"], columns: Int[np.ndarray, " e"]
) -> Float[np.ndarray, " e"]:
    """The float64 products of chosen rows of ``a`` and ``b``; ``rows`` must ascend."""
    first = torch.from_numpy(np.searchsorted(rows, np.arange(len(a) + 1)))
    zeros = torch.zeros(len(rows), dtype=torch.float64)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        pattern = torch.sparse_csr_tensor(
            first, torch.from_numpy(columns), zeros, (len(a), len(b)), check_invariants=False
        )
        return torch.sparse.sampled_addmm(pattern, a, b.T, beta=0.0).values().numpy()


def product(a: Tensor, b: Tensor) -> Tensor:
    """One block of products, the only place where a part of the matrix exists; those of int8 rows are int32."""
    return torch._int_mm(a, b.T) if a.dtype == torch.int8 else a @ b.T


def tiles(n_rows: int, n_columns: int, block: int) -> Iterator[tuple[slice, slice]]:
    """Slices of rows and columns whose products have at most ``block`` entries.

    Tiles of this width stay in the processor's cache; on whole rows the product takes twice as long.
    """
    width = max(1, min(n_columns, TILE, block))
    height = max(1, block // width)
    for i in range(0, n_rows, height):
        for j in range(0, n_columns, width):
            yield slice(i, min(i + height, n_rows)), slice(j, min(j + width, n_columns))
