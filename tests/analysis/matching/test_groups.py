"""Groups of shared latents: planted ones are found in as many dictionaries as hold them, random ones are alive."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.planted_stacks import planted

from sae_utils.analysis.matching.groups import disjoint_sets, groups, random_groups
from sae_utils.analysis.matching.overlap import overlap_of_pairs
from sae_utils.errors import InputError

HELD = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 0, 1]], dtype=bool)  # seeds, atoms


@pytest.fixture(scope="module")
def overlaps():
    rows = planted(HELD, 8, 64)
    alive = np.ones((4, 8), dtype=bool)
    alive[3, 7] = False
    return overlap_of_pairs(rows, rows, torch.from_numpy(alive)), alive, rows


def atoms_in(found):
    """In how many dictionaries each found group is."""
    return [len({s for s, _ in group}) for group in found]


def test_planted_latents_are_found_in_as_many_seeds_as_hold_them(overlaps):
    pairs, alive, rows = overlaps
    assert atoms_in(groups(pairs, alive, range(4), 2)) == [4, 3, 2]
    assert atoms_in(groups(pairs, alive, range(4), 3)) == [4, 3]
    assert atoms_in(groups(pairs, alive, [1, 3], 2)) == [2]
    for group in groups(pairs, alive, range(4), 2):
        versions = F.normalize(torch.stack([rows[s, i] for s, i in group]), dim=-1)
        assert (versions @ versions.T).min() > 0.999
    everything = groups(pairs, alive, range(4), 1)
    assert sorted(pair for group in everything for pair in group) == sorted(zip(*np.nonzero(alive), strict=True))
    with pytest.raises(InputError, match="at_least=3 must be 1 to the 2"):
        groups(pairs, alive, [0, 1], 3)


def test_random_groups_are_alive_latents_of_the_members(overlaps):
    alive = overlaps[1]
    found = random_groups(alive, [1, 3], 15, np.random.default_rng(0))
    assert sorted(found) == [[(s, i)] for s in (1, 3) for i in np.flatnonzero(alive[s])]
    with pytest.raises(InputError, match="n_groups=16 must be at most the 15"):
        random_groups(alive, [1, 3], 16, np.random.default_rng(0))


@pytest.mark.parametrize("n_seeds, size, number", [(5, 2, 15), (8, 3, 60), (25, 12, 60), (100, 49, 100)])
def test_disjoint_sets(n_seeds, size, number):
    found = disjoint_sets(n_seeds)
    assert len(set(found)) == number
    assert all(len(a) == len(b) == size and not set(a) & set(b) for a, b in found)
    for seed in range(n_seeds):
        assert any(seed not in a + b for a, b in found)
    with pytest.raises(InputError, match="at least 5 seeds, not 4"):
        disjoint_sets(4)
