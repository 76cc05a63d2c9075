"""Candidate pairs of an assignment: every pair above the smaller of its row's and its column's bound.

One pass over all pairs, whose bounds are such that a known number of pairs exceeds them.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_utils.analysis.matching.assignment.products import Screen, pair_cosines, product, tiles

SAMPLE = 3  # the rank, in a sample of columns, from which a row's candidates are judged
LOWEST = -(2**31)  # below every product


@dataclass(frozen=True)
class Candidates:
    """Pairs in no order, with cosines that are wrong by at most ``error``; ``best``: those above tighter bounds.

    The cosine of every other pair is at most the smaller of its row's and its column's bound.
    """

    rows: Int[np.ndarray, " e"]
    columns: Int[np.ndarray, " e"]
    cosine: Float[np.ndarray, " e"]
    best: Bool[np.ndarray, " e"]
    row_bound: Float[np.ndarray, " n"]
    column_bound: Float[np.ndarray, " m"]
    error: float

    def near(self, u: Float[np.ndarray, " n"], v: Float[np.ndarray, " m"], margin: float) -> Int[np.ndarray, " k"]:
        """Pairs row * m + column, ascending, whose cosine here exceeds their potentials less ``margin``."""
        near = self.cosine > u[self.rows] + v[self.columns] - margin
        return np.sort(self.rows[near].astype(np.int64) * len(v) + self.columns[near])

    def violated(
        self, a: Tensor, b: Tensor, u: Float[np.ndarray, " n"], v: Float[np.ndarray, " m"], tolerance: float
    ) -> Int[np.ndarray, " k"]:
        """Pairs whose cosine, in float64, exceeds their potentials by more than ``tolerance``."""
        near = self.near(u, v, self.error)
        rows, columns = np.divmod(near, len(v))
        return near[pair_cosines(a, b, rows, columns) > u[rows] + v[columns] + tolerance]


def find_candidates(screen: Screen, candidates: int, block: int) -> Candidates:
    """About ``candidates`` pairs of each row and column, from ``block`` products at a time."""
    a, b, scale, error = screen.a, screen.b, screen.scale, screen.error
    row_bounds, column_bounds = (_bounds(*x, candidates, block).numpy() for x in ((a, b), (b, a)))
    rows, columns, cosine = [], [], []
    for part, other in tiles(len(a), len(b), block):
        tile = product(a[part], b[other]).numpy()
        found = np.flatnonzero(tile > np.minimum(row_bounds[0, part, None], column_bounds[0, other]))
        i, j = np.divmod(found, tile.shape[1])
        rows.append((i + part.start).astype(np.int32))
        columns.append((j + other.start).astype(np.int32))
        cosine.append(tile.ravel()[found])
    rows, columns, cosine = (np.concatenate(x) for x in (rows, columns, cosine))
    best = cosine > np.minimum(row_bounds[1][rows], column_bounds[1][columns])
    row_bound, column_bound = (scale * x[0].astype(np.float64) + error for x in (row_bounds, column_bounds))
    return Candidates(rows, columns, (scale * cosine).astype(np.float32), best, row_bound, column_bound, error)


def _bounds(a: Tensor, b: Tensor, candidates: int, block: int) -> Tensor:
    """For each row of ``a`` the products that about ``candidates``, and a quarter of them, exceed: from a sample."""
    size = min(len(b), max(1024, len(b) * SAMPLE // candidates), block)
    ranks = [max(1, round(share * candidates * size / len(b))) + 1 for share in (1, 1 / 4)]
    if ranks[0] > size:
        return torch.full((2, len(a)), LOWEST, dtype=torch.int32 if a.dtype == torch.int8 else a.dtype)
    sample = b[torch.randperm(len(b), generator=torch.Generator().manual_seed(0))[:size]]
    height = max(1, block // size)
    best = torch.cat([product(part, sample).topk(ranks[0], dim=1).values for part in a.split(height)])
    return torch.stack([best[:, rank - 1] for rank in ranks])
