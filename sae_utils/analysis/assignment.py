"""The one-to-one assignment of the largest total cosine, without the matrix of cosines.

Candidate pairs are found block by block, the sparse assignment among them is solved exactly, and its potentials
are checked against all pairs. A pair that could improve the total violates them; it becomes a candidate and the
problem is solved again. When none is left, the potentials prove that no assignment of all pairs is better.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.sparse import csr_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from torch import Tensor

from sae_utils.analysis.assignment_duals import AllPairs, pair_cosines, potentials, product, tiles
from sae_utils.data.errors import InputError

TOLERANCE = 1e-11  # a pair may exceed its potentials by this much; it enters the gap once per row
FEW = 8  # violated pairs of a row that are added at once
BFLOAT16_ERROR = 3.1 * 2.0**-9  # of a cosine from bfloat16: two roundings of the rows, one of the product
SAMPLE = 3  # the rank, in a sample of columns, from which a row's candidates are judged


@dataclass(frozen=True)
class Assignment:
    """An assignment and the proof of how good it is.

    ``partner`` and ``cosine`` are -1 and NaN for rows of ``a`` without a partner. The potentials satisfy
    ``row_potential[i] + column_potential[j] >= cosine`` for every pair; no assignment's total exceeds their sum,
    which is ``objective + gap``. On the larger side potentials are >= 0, and 0 without a partner.
    """

    partner: Int[np.ndarray, " n"]
    cosine: Float[np.ndarray, " n"]
    row_potential: Float[np.ndarray, " n"]
    column_potential: Float[np.ndarray, " m"]
    objective: float
    gap: float
    rounds: int
    edges: int


def assign(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"], candidates: int = 64, block: int = 2**20) -> Assignment:
    """The assignment of the rows of ``a`` to rows of ``b`` with the largest total cosine, proven optimal.

    Every row of the smaller side gets a partner. ``candidates``: how many pairs of each row and column the first
    sparse problem holds, about; it moves time, not the result. ``block``: cosines held at once. Rows are float64,
    of length 1 or 0; InputError otherwise.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or not len(a) or not len(b):
        raise InputError(f"cannot assign rows of shapes {tuple(a.shape)} and {tuple(b.shape)}; both must be [n, d]")
    for rows in (a, b):
        length = rows.norm(dim=1)
        if rows.dtype != torch.float64 or not ((length - 1).abs().lt(1e-9) | (length == 0)).all():
            raise InputError("rows to assign must be float64 and of length 1 or 0; normalise them first")
    if candidates < 1 or block < 1:
        raise InputError(f"candidates={candidates} and block={block} must be at least 1")
    if len(a) > len(b):
        return _transposed(assign(b, a, candidates, block))
    # Zero rows take what the others leave, at cosine 0: no choice of theirs changes the total.
    live = np.flatnonzero((a != 0).any(dim=1).numpy())
    found = _solve(a[live], b, candidates, block) if live.size else _nothing(b)
    dead = np.setdiff1d(np.arange(len(a)), live)
    partner, cosine, u = np.empty(len(a), dtype=np.int64), np.zeros(len(a)), np.zeros(len(a))
    partner[live], cosine[live], u[live] = found.partner, found.cosine, found.row_potential
    partner[dead] = np.setdiff1d(np.arange(len(b)), found.partner)[: len(dead)]
    return replace(found, partner=partner, cosine=cosine, row_potential=u)


def _solve(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"], candidates: int, block: int) -> Assignment:
    """``assign`` for n <= m and no zero rows in ``a``."""
    n, m = len(a), len(b)
    rows, columns, *bounds = _candidates(a, b, candidates, block)
    check = AllPairs(a, b, *bounds, block)
    # One pair for each row besides, all different, so that an assignment exists.
    keys = np.sort(np.concatenate([rows * m + columns, np.arange(n) * (m + 1)]))
    keys = keys[np.diff(keys, prepend=-1) > 0]  # sorting is faster than np.unique, which hashes
    cosine = pair_cosines(a, b, *np.divmod(keys, m))
    rounds = 0
    while True:
        rounds += 1
        rows, columns = np.divmod(keys, m)
        first = np.searchsorted(rows, np.arange(n + 1))
        # 2 - cosine: a stored weight of 0 would be no edge at all
        graph = csr_array((2 - cosine, columns.astype(np.int32), first.astype(np.int32)), shape=(n, m))
        partner = min_weight_full_bipartite_matching(graph)[1].astype(np.int64)
        u, v = potentials(rows, columns, cosine, partner, m)
        more_rows, more_columns = check.violated(u, v, TOLERANCE, FEW)
        if not more_rows.size:
            break
        more = np.setdiff1d(more_rows * m + more_columns, keys)
        place = np.searchsorted(keys, more)
        keys = np.insert(keys, place, more)
        cosine = np.insert(cosine, place, pair_cosines(a, b, *np.divmod(more, m)))
    # Potentials that satisfy every condition, not only to the tolerance, make the gap a bound.
    u = u + max(TOLERANCE, (cosine - u[rows] - v[columns]).max())
    best = cosine[np.searchsorted(keys, np.arange(n) * m + partner)]
    gap = float(u.sum() + v.sum() - best.sum())
    return Assignment(partner, best, u, v, float(best.sum()), gap, rounds, len(keys))


def _candidates(
    a: Float[Tensor, "n d"], b: Float[Tensor, "m d"], candidates: int, block: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Pairs above the smaller of their row's and their column's bound, in one pass; and the bounds.

    The cosine of every other pair is at most the smaller of its two bounds, up to the rounding of float32.
    """
    dtype = _screening_dtype()
    a, b = a.to(dtype), b.to(dtype)
    row_bound, column_bound = (_bounds(*x, candidates, block) for x in ((a, b), (b, a)))
    rows, columns = [], []
    for part, other in tiles(len(a), len(b), block):
        above = product(a[part], b[other]) > torch.minimum(row_bound[part, None], column_bound[other])
        i, j = np.divmod(np.flatnonzero(above.numpy()), above.shape[1])
        rows.append(i + part.start)
        columns.append(j + other.start)
    error = BFLOAT16_ERROR if dtype == torch.bfloat16 else 0
    bounds = (bound.double().numpy() + error for bound in (row_bound, column_bound))
    return np.concatenate(rows), np.concatenate(columns), *bounds


def _screening_dtype() -> torch.dtype:
    """Candidates need no precision, only a known error; where the processor multiplies bfloat16 it is much faster."""
    return torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else torch.float32


def _bounds(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"], candidates: int, block: int) -> Float[Tensor, " n"]:
    """For each row of ``a`` a cosine that about ``candidates`` rows of ``b`` exceed, judged from a sample of them."""
    size = min(len(b), max(1024, len(b) * SAMPLE // candidates), block)
    rank = max(1, round(candidates * size / len(b))) + 1
    if rank > size:
        return a.new_full((len(a),), -torch.inf)
    sample = b[torch.randperm(len(b), generator=torch.Generator().manual_seed(0))[:size]]
    height = max(1, block // size)
    return torch.cat([product(part, sample).topk(rank, dim=1).values[:, -1] for part in a.split(height)])


def _nothing(b: Float[Tensor, "m d"]) -> Assignment:
    none = np.zeros(0)
    return Assignment(none.astype(np.int64), none, none, np.zeros(len(b)), 0.0, 0.0, 0, 0)


def _transposed(found: Assignment) -> Assignment:
    n = len(found.column_potential)
    partner, cosine = np.full(n, -1), np.full(n, np.nan)
    partner[found.partner], cosine[found.partner] = np.arange(len(found.partner)), found.cosine
    potential = {"row_potential": found.column_potential, "column_potential": found.row_potential}
    return replace(found, partner=partner, cosine=cosine, **potential)
