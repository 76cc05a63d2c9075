"""Consensus dictionaries of planted latents: they are those latents."""

import numpy as np
import pytest
import torch
from helpers.planted_stacks import planted as planted_stack

from sae_utils.analysis.ensembles.consensus import consensus_of, halves
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
