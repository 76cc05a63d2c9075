"""Rough potentials of an assignment by auction, to tell which pairs matter before it is solved exactly.

Rows bid for columns (Bertsekas 1988, all bidders at once): a bid raises the price to where the second best choice
becomes as good, and by a step more. A row may also keep an outside option, so that rows which compete for too few
columns give up early instead of raising prices without end. Nothing exact depends on the result.
"""

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_array

STEP = 0.001  # of a bid, in cosine; smaller is slower and nearer to the optimum
ROUNDS = 2000  # of bids, at most


def rough_potentials(
    rows: Int[np.ndarray, " e"],
    columns: Int[np.ndarray, " e"],
    cosine: Float[np.ndarray, " e"],
    outside: Float[np.ndarray, " n"],
    n_columns: int,
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " m"], Int[np.ndarray, " n"]]:
    """Potentials of rows and columns, and each row's partner, -1 where it kept its option ``outside``.

    When rows bid, columns end at their lowest prices; when columns bid, rows do. The mean of both lies in the
    middle of the potentials that are near the optimum.
    """
    # Ties would make all rows bid for one column.
    cosine = cosine + np.random.default_rng(0).uniform(0, STEP / 2, len(cosine))
    pairs = csr_array((cosine, (rows, columns)), shape=(len(outside), n_columns))
    free = np.zeros(n_columns)
    u, v, winner = _auction(pairs, outside, free)
    v_most, u_least, _ = _auction(pairs.T.tocsr(), free, outside)
    partner = np.full(len(outside), -1)
    partner[winner[winner >= 0]] = np.flatnonzero(winner >= 0)
    return (u + u_least) / 2, (v + v_most) / 2, partner


def _auction(
    pairs: csr_array, outside: Float[np.ndarray, " n"], price: Float[np.ndarray, " m"]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " m"], Int[np.ndarray, " m"]]:
    """What each row gains, the prices, which start at ``price``, and each column's winner, -1 if none."""
    first, columns, value = pairs.indptr.astype(np.int64), pairs.indices, pairs.data
    price, winner = price.copy(), np.full(pairs.shape[1], -1)
    able = np.flatnonzero(np.diff(first))
    bidders = able
    for _ in range(ROUNDS if able.size else 0):
        edges, start = _edges(first, bidders)
        net = value[edges] - price[columns[edges]]
        best = np.maximum.reduceat(net, start)
        choice = np.flatnonzero(net == np.repeat(best, np.diff(start, append=len(net))))
        choice = choice[np.searchsorted(choice, start)]  # the first of equals
        net[choice] = -np.inf
        second = np.maximum(np.maximum.reduceat(net, start), outside[bidders])
        stay = best > outside[bidders]
        bidders, to = bidders[stay], columns[edges[choice[stay]]]
        offer = price[to] + (best - second)[stay] + STEP
        order, displaced = np.argsort(offer), winner[to]
        price[to[order]], winner[to[order]] = offer[order], bidders[order]  # the last one written, the highest, stays
        waiting = np.zeros(len(outside), dtype=bool)
        waiting[bidders[winner[to] != bidders]] = True
        waiting[displaced[displaced >= 0]] = True
        bidders = np.flatnonzero(waiting)
        if not bidders.size:
            break
    gain = outside.copy()
    if able.size:
        gain[able] = np.maximum(gain[able], np.maximum.reduceat(value - price[columns], first[able]))
    return gain, price, winner


def _edges(first: Int[np.ndarray, " n1"], rows: Int[np.ndarray, " k"]) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the pairs of some rows, and where in them each row's begin."""
    count = first[rows + 1] - first[rows]
    start = count.cumsum() - count
    return np.repeat(first[rows] - start, count) + np.arange(count.sum()), start
