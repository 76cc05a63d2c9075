"""Dual potentials of an assignment: recovered from a sparse solution, and checked against all pairs.

Potentials u of the rows and v of the columns with u_i + v_j >= cos_ij for every pair bound the total cosine of
every assignment from above, by their sum; where the bound is met the assignment is optimal (linear programming
duality). With fewer rows than columns, v >= 0 and v = 0 for columns without a partner.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_utils.analysis.matching.assignment.candidates import Candidates
from sae_utils.analysis.matching.assignment.products import ROUNDING, Screen, pair_cosines, product, tiles

STEP = 5e-12  # potentials are moved by no less: along near ties ever smaller steps would move them for ever
FEW = 8  # violated pairs of a row that are added at once


def potentials(
    rows: Int[np.ndarray, " e"],
    columns: Int[np.ndarray, " e"],
    cosine: Float[np.ndarray, " e"],
    partner: Int[np.ndarray, " n"],
    n_columns: int,
    start: Float[np.ndarray, " n"] | None = None,
    passes: int | None = None,
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " m"]]:
    """Potentials that prove ``partner`` optimal among the edges; every row has a partner.

    With v = cos - u for each matched pair, the condition on edge (i, j) is u_i >= u_k + cos_ij - cos_kj, k being
    the row matched to j: longest paths between rows. All columns without a partner act as that of one more row,
    which has cosine 0 with every column, so that one rule covers rectangular problems too. Of all solutions this
    is the mean of the nearest ones above and below u = v = cos / 2: ties apart, no condition is met with equality.
    ``start`` takes the place of u = cos / 2: potentials of a problem with other edges, which may satisfy those too.
    After ``passes`` over the edges the search ends, with some conditions unmet; where ``partner`` is not optimal, some
    always are.
    """
    n = len(partner)
    owner = np.full(n_columns, n)
    owner[partner] = np.arange(n)
    mine = owner[columns] == rows
    matched = np.zeros(n + 1)
    matched[rows[mine]] = cosine[mine]
    tail, head = owner[columns[~mine]], rows[~mine]
    gain = cosine[~mine] - matched[tail]
    if n < n_columns:
        tail, head = np.append(tail, np.arange(n)), np.append(head, np.full(n, n))
        gain = np.append(gain, -matched[:n])
    near = matched / 2 if start is None else np.append(start, 0.0)
    passes = n + 2 if passes is None else passes  # a path has no more edges
    above, below = _least_above(near, tail, head, gain, passes), -_least_above(-near, head, tail, gain, passes)
    x = (above + below) / 2
    if n < n_columns:
        x -= x[n]
    u, v = x[:n], np.zeros(n_columns)
    v[partner] = matched[:n] - u
    return u, np.maximum(v, 0) if n < n_columns else v


def _least_above(
    start: Float[np.ndarray, " n"],
    tail: Int[np.ndarray, " e"],
    head: Int[np.ndarray, " e"],
    gain: Float[np.ndarray, " e"],
    passes: int,
) -> Float[np.ndarray, " n"]:
    """The least x >= start with x[head] >= x[tail] + gain on every edge (Bellman-Ford from the nodes just raised)."""
    order = np.argsort(tail, kind="stable")
    head, gain = head[order], gain[order]
    first = np.searchsorted(tail[order], np.arange(len(start) + 1))
    x, raised = start.copy(), np.arange(len(start))
    for _ in range(passes):
        count = first[raised + 1] - first[raised]
        edges = np.repeat(first[raised + 1] - count.cumsum(), count) + np.arange(count.sum())
        value, to = np.repeat(x[raised], count) + gain[edges], head[edges]
        better = value > x[to] + STEP
        if not better.any():
            break
        np.maximum.at(x, to[better], value[better])
        moved = np.zeros(len(x), dtype=bool)
        moved[to[better]] = True
        raised = np.flatnonzero(moved)
    return x


def violated(
    a: Float[Tensor, "n d"],
    b: Float[Tensor, "m d"],
    screen: Screen,
    pool: Candidates,
    u: Float[np.ndarray, " n"],
    v: Float[np.ndarray, " m"],
    tolerance: float,
    block: int,
) -> Int[np.ndarray, " e"]:
    """Pairs row * m + column, outside the candidates, with cos > u + v + tolerance, in float64: a few of each row.

    None are returned only if there are none; ``a`` has no zero rows. Most pairs need no product: the smaller of the
    candidates' bounds of its row and column tells. The cheap products find the pairs that come near; the margin bounds
    their error and that of comparing in float32, and the exact cosine decides.
    """
    scale, margin = screen.scale, screen.error + 8 * ROUNDING * (1 + np.abs(u).max() + np.abs(v).max())
    zero = ~(b != 0).any(dim=1).numpy()
    rows = np.flatnonzero(_unsafe(u, v, pool.row_bound, pool.column_bound))
    columns = np.flatnonzero(_unsafe(v, u, pool.column_bound, pool.row_bound) & ~zero)
    near_zero = _zero_columns(u, v, np.flatnonzero(zero), tolerance)
    near, rng = [], np.random.default_rng(0)
    small_a, small_b = screen.a[rows], screen.b[columns]
    u32, v32 = ((torch.from_numpy(x) / scale).float() for x in (u[rows], v[columns] - margin))
    for part, other in tiles(len(rows), len(columns), block):
        above = product(small_a[part], small_b[other]).float() > u32[part, None] + v32[other]
        i, j = np.divmod(np.flatnonzero(above.numpy()), above.shape[1])
        if not i.size:
            continue
        cosine = pair_cosines(a[rows[part]], b[columns[other]], i, j)
        i, j = rows[part][i], columns[other][j]
        excess = cosine - u[i] - v[j]
        i, j, excess = (x[excess > tolerance] for x in (i, j, excess))
        kept = _worst(i, excess, rng)
        near.append((i[kept], j[kept], excess[kept]))
    if not near:
        return near_zero
    i, j, excess = (np.concatenate(x) for x in zip(*near, strict=True))
    kept = _worst(i, excess, rng)
    return np.append(near_zero, i[kept] * len(v) + j[kept])


def _unsafe(
    u: Float[np.ndarray, " n"], v: Float[np.ndarray, " m"], u_bound: np.ndarray, v_bound: np.ndarray
) -> Bool[np.ndarray, " n"]:
    """Rows i for which some column j has u_i + v_j < min(u_bound_i, v_bound_j)."""
    order = np.argsort(v, kind="stable")
    least = np.minimum.accumulate((v - v_bound)[order])
    below = np.searchsorted(v[order], u_bound - u)  # columns that fall short of the row's own bound
    return (below > 0) & (u + least[below - 1] < 0)


def _zero_columns(u: np.ndarray, v: np.ndarray, zero: np.ndarray, tolerance: float) -> Int[np.ndarray, " e"]:
    """Violated pairs with zero rows of ``b``, whose cosines are all 0: the least potential, and others in turn."""
    if not zero.size:
        return zero
    zero = zero[np.argsort(v[zero], kind="stable")]
    rows = np.flatnonzero(u + v[zero[0]] < -tolerance)
    turn = (np.arange(len(rows))[:, None] + np.arange(FEW)) % len(zero)
    columns = zero[np.concatenate([np.zeros((len(rows), 1), dtype=int), turn], axis=1)]
    return np.repeat(rows, FEW + 1) * len(v) + columns.ravel()


def _worst(rows: np.ndarray, excess: np.ndarray, rng: np.random.Generator) -> Int[np.ndarray, " e"]:
    """Positions of up to ``FEW`` of the worst pairs of each row; a random weight spreads ties over the columns."""
    order = np.lexsort((-excess * rng.uniform(0.5, 1, len(excess)), rows))
    grouped = rows[order]
    rank = np.arange(len(order)) - np.searchsorted(grouped, grouped)
    return order[rank < FEW]
