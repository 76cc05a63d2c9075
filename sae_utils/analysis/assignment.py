"""The one-to-one assignment of the largest total cosine, without the matrix of cosines.

Candidate pairs are found block by block, the sparse assignment among them is solved exactly, and its potentials
are checked against all pairs. A pair that could improve the total violates them; it becomes a candidate and the
problem is solved again. When none is left, the potentials prove that no assignment of all pairs is better.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.sparse import csr_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from torch import Tensor

from sae_utils.analysis.assignment_duals import ROUNDING, AllPairs, pair_cosines, potentials, product, tiles
from sae_utils.data.errors import InputError

TOLERANCE = 1e-11  # a pair may exceed its potentials by this much; it enters the gap once per row
FEW = 8  # violated pairs of a row that are added at once
BFLOAT16_ERROR = 3.1 * 2.0**-9  # of a cosine from bfloat16: two roundings of the rows, one of the product
MARGIN = 0.05  # candidates this near to the first problem's potentials enter the second; it moves time, not the result
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
    """``assign`` for n <= m and no zero rows in ``a``.

    The first sparse problem holds a quarter of the candidates. Its potentials tell which of all of them matter: the
    second problem holds those alone, and is some ten times smaller than the candidates.
    """
    n, m = len(a), len(b)
    pool = _candidates(a, b, candidates, block)
    check = AllPairs(a, b, pool.row_bound, pool.column_bound, block)
    # One pair for each row besides, all different, so that an assignment exists.
    edges = _distinct(pool.pairs[pool.best], np.arange(n) * (m + 1))
    rounds, u = 0, None
    while True:
        rounds += 1
        rows, columns = np.divmod(edges, m)
        cosine = pair_cosines(a, b, rows, columns)
        first = np.searchsorted(rows, np.arange(n + 1))
        # 2 - cosine: a stored weight of 0 would be no edge at all
        graph = csr_array((2 - cosine, columns.astype(np.int32), first.astype(np.int32)), shape=(n, m))
        partner = min_weight_full_bipartite_matching(graph)[1].astype(np.int64)
        u, v = potentials(rows, columns, cosine, partner, m, u)
        if rounds == 1 and not pool.best.all():
            edges = _distinct(pool.near(u, v, MARGIN, m), np.arange(n) * m + partner)
            continue
        more = pool.violated(a, b, u, v)
        if not more.size:
            more_rows, more_columns = check.violated(u, v, TOLERANCE, FEW)
            more = more_rows * m + more_columns
        if not more.size:
            break
        edges = _distinct(edges, more)
    # Potentials that satisfy every condition, not only to the tolerance, make the gap a bound.
    u = u + max(TOLERANCE, (cosine - u[rows] - v[columns]).max())
    best = cosine[np.searchsorted(edges, np.arange(n) * m + partner)]
    gap = float(u.sum() + v.sum() - best.sum())
    return Assignment(partner, best, u, v, float(best.sum()), gap, rounds, len(edges))


def _distinct(*pairs: Int[np.ndarray, " e"]) -> Int[np.ndarray, " e"]:
    """All pairs in ascending order, each once. Sorting: np.unique hashes, which took five times as long."""
    pairs = np.sort(np.concatenate(pairs))
    return pairs[np.diff(pairs, prepend=-1) > 0]


@dataclass(frozen=True)
class _Candidates:
    """Pairs row * m + column, ascending, with the most that their cosine can be; ``best``: those above tighter bounds.

    The cosine of every other pair is at most the smaller of its row's and its column's bound.
    """

    pairs: Int[np.ndarray, " e"]
    highest: Float[np.ndarray, " e"]
    best: Bool[np.ndarray, " e"]
    row_bound: Float[np.ndarray, " n"]
    column_bound: Float[np.ndarray, " m"]

    def near(self, u: Float[np.ndarray, " n"], v: Float[np.ndarray, " m"], margin: float, m: int) -> np.ndarray:
        """Pairs whose cosine may exceed their potentials less ``margin``."""
        rows, columns = np.divmod(self.pairs, m)
        return self.pairs[self.highest > u[rows] + v[columns] - margin]

    def violated(self, a: Tensor, b: Tensor, u: np.ndarray, v: np.ndarray) -> Int[np.ndarray, " e"]:
        """Pairs whose cosine, in float64, exceeds their potentials by more than the tolerance."""
        near = self.near(u, v, 0.0, len(b))
        rows, columns = np.divmod(near, len(b))
        return near[pair_cosines(a, b, rows, columns) > u[rows] + v[columns] + TOLERANCE]


def _candidates(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"], candidates: int, block: int) -> _Candidates:
    """Pairs above the smaller of their row's and their column's bound, in one pass."""
    dtype = _screening_dtype()
    error = BFLOAT16_ERROR if dtype == torch.bfloat16 else ROUNDING * (a.shape[1] + 8)
    a, b = a.to(dtype), b.to(dtype)
    row_bounds, column_bounds = (_bounds(*x, candidates, block) for x in ((a, b), (b, a)))
    pairs, value = [], []
    for part, other in tiles(len(a), len(b), block):
        cosine = product(a[part], b[other])
        above = cosine > torch.minimum(row_bounds[0, part, None], column_bounds[0, other])
        found = np.flatnonzero(above.numpy())
        i, j = np.divmod(found, above.shape[1])
        pairs.append((i + part.start) * len(b) + j + other.start)
        value.append(cosine.view(-1)[torch.from_numpy(found)].float().numpy())
    pairs, value = np.concatenate(pairs), np.concatenate(value)
    order = np.argsort(pairs, kind="stable")
    pairs, value = pairs[order], value[order]
    rows, columns = np.divmod(pairs, len(b))
    row_bounds, column_bounds = row_bounds.float().numpy(), column_bounds.float().numpy()
    best = value > np.minimum(row_bounds[1][rows], column_bounds[1][columns])
    return _Candidates(pairs, value + error, best, row_bounds[0] + error, column_bounds[0] + error)


def _screening_dtype() -> torch.dtype:
    """Candidates need no precision, only a known error; where the processor multiplies bfloat16 it is much faster."""
    return torch.bfloat16 if torch.cpu.get_capabilities().get("avx512_bf16") else torch.float32


def _bounds(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"], candidates: int, block: int) -> Float[Tensor, "2 n"]:
    """For each row of ``a`` the cosines that about ``candidates``, and a quarter of them, exceed: from a sample."""
    size = min(len(b), max(1024, len(b) * SAMPLE // candidates), block)
    ranks = [max(1, round(share * candidates * size / len(b))) + 1 for share in (1, 1 / 4)]
    if ranks[0] > size:
        return a.new_full((2, len(a)), -torch.inf)
    sample = b[torch.randperm(len(b), generator=torch.Generator().manual_seed(0))[:size]]
    height = max(1, block // size)
    best = torch.cat([product(part, sample).topk(ranks[0], dim=1).values for part in a.split(height)])
    return torch.stack([best[:, rank - 1] for rank in ranks])


def _nothing(b: Float[Tensor, "m d"]) -> Assignment:
    none = np.zeros(0)
    return Assignment(none.astype(np.int64), none, none, np.zeros(len(b)), 0.0, 0.0, 0, 0)


def _transposed(found: Assignment) -> Assignment:
    n = len(found.column_potential)
    partner, cosine = np.full(n, -1), np.full(n, np.nan)
    partner[found.partner], cosine[found.partner] = np.arange(len(found.partner)), found.cosine
    potential = {"row_potential": found.column_potential, "column_potential": found.row_potential}
    return replace(found, partner=partner, cosine=cosine, **potential)
