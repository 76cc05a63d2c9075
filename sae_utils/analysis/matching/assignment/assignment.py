"""The one-to-one assignment of the largest total cosine, without the matrix of cosines.

Candidate pairs are found block by block, the sparse assignment among them is solved exactly, and its potentials
are checked against all pairs. A pair that could improve the total violates them; it becomes a candidate and the
problem is solved again. When none is left, the potentials prove that no assignment of all pairs is better.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from torch import Tensor

from sae_utils.analysis.matching.assignment.auction import rough_potentials
from sae_utils.analysis.matching.assignment.candidates import Candidates, find_candidates
from sae_utils.analysis.matching.assignment.duals import potentials, violated
from sae_utils.analysis.matching.assignment.products import pair_cosines, screen

TOLERANCE = 1e-11  # a pair may exceed its potentials by this much; it enters the gap once per row
PASSES = 100  # over the edges, in looking for potentials that also satisfy added pairs
MARGIN = 0.04  # candidates this near to the rough potentials enter the first problem; it moves time, not the result
LEFT_OVER = 0.05  # by how much the rough potentials of what is left over are lowered; the same


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
    sparse problem holds, about; it moves time, not the result. ``block``: cosines held at once. There is a row on
    either side, and all are float64 and of length 1 or 0: ``matching.match`` sees to that.
    """
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

    Rough potentials tell which of the candidates matter; the sparse problem holds those alone.
    """
    n, m = len(a), len(b)
    cheap = screen(a, b)
    pool = find_candidates(cheap, candidates, block)
    edges, u = _first_problem(pool)
    rounds, partner = 0, None
    while True:
        rows, columns = np.divmod(edges, m)
        cosine = pair_cosines(a, b, rows, columns)
        if partner is not None:  # which may be optimal among more edges too
            u, v = potentials(rows, columns, cosine, partner, m, u, PASSES)
        if partner is None or (cosine - u[rows] - v[columns]).max() > TOLERANCE:
            rounds += 1
            partner = _solve_sparse(rows, columns, cosine, n, m)
            u, v = potentials(rows, columns, cosine, partner, m, u)
        more = pool.violated(a, b, u, v, TOLERANCE)
        if not more.size:
            more = violated(a, b, cheap, pool, u, v, TOLERANCE, block)
        if not more.size:
            break
        edges = _distinct(edges, more)
    # Potentials that satisfy every condition, not only to the tolerance, make the gap a bound.
    u = u + max(TOLERANCE, (cosine - u[rows] - v[columns]).max())
    best = cosine[np.searchsorted(edges, np.arange(n) * m + partner)]
    gap = float(u.sum() + v.sum() - best.sum())
    return Assignment(partner, best, u, v, float(best.sum()), gap, rounds, len(edges))


def _solve_sparse(
    rows: Int[np.ndarray, " e"], columns: Int[np.ndarray, " e"], cosine: Float[np.ndarray, " e"], n: int, m: int
) -> Int[np.ndarray, " n"]:
    """The partner of each row in the best assignment among some edges, which hold one."""
    first = np.searchsorted(rows, np.arange(n + 1))
    weight = 2 - cosine  # a stored weight of 0 would be no edge at all
    if n == m:
        # A column too dear for any row: on square problems scipy first lets rows outbid each other, which near-equal
        # weights drag out for ever; where there are more columns than rows it does not.
        columns, weight, m = np.append(columns, m), np.append(weight, 4 * n), m + 1
        first[-1] += 1
    graph = csr_array((weight, columns.astype(np.int32), first.astype(np.int32)), shape=(n, m))
    return min_weight_full_bipartite_matching(graph)[1].astype(np.int64)


def _first_problem(pool: Candidates) -> tuple[Int[np.ndarray, " e"], Float[np.ndarray, " n"]]:
    """The candidates near to rough potentials, with one pair for each row that make up an assignment."""
    n, m = len(pool.row_bound), len(pool.column_bound)
    outside = np.maximum(pool.row_bound - pool.error, -1)
    best = (x[pool.best] for x in (pool.rows, pool.columns, pool.cosine))
    u, v, partner = rough_potentials(*best, outside, m)
    # Rows without a partner must take what is left over, below the bounds: those potentials are too high.
    left_rows, left_columns = np.flatnonzero(partner < 0), np.setdiff1d(np.arange(m), partner)
    partner[left_rows] = left_columns[: len(left_rows)]
    u[left_rows] -= LEFT_OVER
    v[left_columns] -= LEFT_OVER
    return _distinct(pool.near(u, v, MARGIN), np.arange(n) * m + partner), u


def _distinct(*pairs: Int[np.ndarray, " e"]) -> Int[np.ndarray, " e"]:
    """All pairs in ascending order, each once. Sorting: np.unique hashes, which took five times as long."""
    pairs = np.sort(np.concatenate(pairs))
    return pairs[np.diff(pairs, prepend=-1) > 0]


def _nothing(b: Float[Tensor, "m d"]) -> Assignment:
    none = np.zeros(0)
    return Assignment(none.astype(np.int64), none, none, np.zeros(len(b)), 0.0, 0.0, 0, 0)


def _transposed(found: Assignment) -> Assignment:
    n = len(found.column_potential)
    partner, cosine = np.full(n, -1), np.full(n, np.nan)
    partner[found.partner], cosine[found.partner] = np.arange(len(found.partner)), found.cosine
    potential = {"row_potential": found.column_potential, "column_potential": found.row_potential}
    return replace(found, partner=partner, cosine=cosine, **potential)
