"""Consensus dictionaries of planted latents: they are those latents, and two of disjoint seeds agree."""

import numpy as np
import pytest
import torch
from helpers.planted_stacks import planted as planted_stack

from sae_utils.analysis.ensembles.consensus import agreement, consensus_of, halves, over_disjoint_sets
from sae_utils.analysis.matching.groups import disjoint_sets
from sae_utils.analysis.matching.overlap import overlap_of_pairs
from sae_utils.errors import InputError
from sae_utils.saes import SAE, SAEConfig

# Seeds by atoms: the first two share three atoms, the last two share two others.
HELD = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 0, 0], [1, 0, 0, 1, 1], [0, 0, 0, 1, 1]], dtype=bool)


@pytest.fixture
def stack():
    sae = SAE.create(SAEConfig(64, 8, "topk", 2), range(4), "h")
    rows = torch.nn.functional.normalize(planted_stack(HELD, 8, 64), dim=-1)
    with torch.no_grad():
        sae.W_dec.copy_(rows)
        sae.encoder.copy_(rows)
    return sae


def test_halves_share_no_seed():
    assert [list(half) for half in halves(5)] == [[0, 1], [2, 3]]
    assert [list(half) for half in halves(8)] == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_the_latents_that_the_members_share_are_kept_with_their_directions(stack):
    alive = torch.ones(4, 8, dtype=bool)
    for half, size in zip(halves(4), (3, 2), strict=True):
        found = consensus_of(stack, alive, half, 2)
        assert found.config.n_latents == size and found.n_dictionaries == 1
        cosines = (found.W_dec[0] @ stack.W_dec[half[0]].T).amax(-1)
        assert cosines.tolist() == pytest.approx([1.0] * size, abs=1e-5)


def test_dead_latents_are_no_consensus(stack):
    alive = torch.ones(4, 8, dtype=bool)
    shared = (stack.W_dec[0] @ stack.W_dec[1].T > 0.99).any(-1)
    alive[0, shared.nonzero()[0]] = False
    assert consensus_of(stack, alive, [0, 1], 2).config.n_latents == 2


def test_too_few_shared_latents_are_refused(stack):
    with pytest.raises(InputError, match="1 groups of latents are fewer than the k=2"):
        consensus_of(stack, torch.ones(4, 8, dtype=bool), [0, 2], 2)


def test_consensus_of_disjoint_sets_agree_where_latents_are_planted():
    """Three atoms in all of five seeds, and five rows of its own in each: the consensus is the atoms."""
    rows = planted_stack(np.ones((5, 3), dtype=bool), 8, 64)
    alive = np.ones((5, 8), dtype=bool)
    found = agreement(overlap_of_pairs(rows, rows), alive, rows, 2)
    assert set(found["size"].values()) == {3 / 8}
    assert over_disjoint_sets(found["consensus"]).low > 0.999
    assert over_disjoint_sets(found["random"]).high < 0.99
    with pytest.raises(InputError, match="no latent is shared by at_least=2"):
        apart = planted_stack(np.zeros((5, 3), dtype=bool), 8, 64)
        agreement(overlap_of_pairs(apart, apart), alive, apart, 2)


def test_the_interval_leaves_out_a_seed_with_its_sets():
    values = {sets: float(sum(sets[0])) for sets in disjoint_sets(5)}
    without = [np.mean([v for (a, b), v in values.items() if seed not in a + b]) for seed in range(5)]
    spread = np.sqrt(4 / 5 * ((without - np.mean(without)) ** 2).sum())
    found = over_disjoint_sets(values)
    assert found.estimate == pytest.approx(np.mean(list(values.values())))
    assert found.high - found.estimate == pytest.approx(2.776445 * spread, rel=1e-5)
