"""Groups of shared latents: planted ones are found in as many dictionaries as hold them."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.planted_stacks import planted

from sae_utils.analysis.matching.groups import groups
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
