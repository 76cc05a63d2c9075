"""Which latents of several dictionaries are versions of one latent: groups by the matching of each pair (paper A)."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from jaxtyping import Bool
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from sae_utils.analysis.matching.overlap import Pairs
from sae_utils.errors import InputError

Group = list[tuple[int, int]]  # (position in the stack, latent)
MOST_PAIRS = 60  # of disjoint sets of seeds
MOST_LISTED = 2**19  # beyond, those that are chosen are drawn one by one: of 25 seeds there are 34 million pairs


def groups(pairs: Pairs, alive: Bool[np.ndarray, "S n"], positions: Sequence[int], at_least: int) -> list[Group]:
    """Groups of latents that at least ``at_least`` of the dictionaries at ``positions`` share, largest first.

    Two latents are linked if their dictionaries share them by the strict definition. A group is a connected component,
    so it may hold two latents of one dictionary, through a third.
    ``pairs`` has every i < j. With ``at_least`` 1, alive latents that have no partner are groups too. Raises InputError
    for an ``at_least`` that no group can have.
    """
    positions, n = sorted(positions), alive.shape[1]
    if not 1 <= at_least <= len(positions):
        raise InputError(f"at_least={at_least} must be 1 to the {len(positions)} dictionaries")
    links = [np.zeros((2, 0), dtype=int)]
    for a, b in combinations(range(len(positions)), 2):
        overlap = pairs[positions[a], positions[b]]
        latents = np.flatnonzero(overlap.shared("strict"))
        links.append(np.stack([a * n + latents, b * n + overlap.decoder.partner[latents]]))
    rows, columns = np.concatenate(links, axis=1)
    size = len(positions) * n
    component = connected_components(coo_matrix((np.ones(len(rows)), (rows, columns)), (size, size)), directed=False)[1]
    found: dict[int, Group] = {}
    for flat in np.flatnonzero(alive[positions].ravel()):
        found.setdefault(int(component[flat]), []).append((positions[flat // n], int(flat % n)))
    kept = [group for group in found.values() if len({s for s, _ in group}) >= at_least]
    return sorted(kept, key=lambda group: (-len({s for s, _ in group}), group))
