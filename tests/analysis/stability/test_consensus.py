import torch
from helpers.planted_stacks import planted, sae_of
from torch.nn.functional import normalize

from sae_utils.analysis.stability.consensus import consensus
from sae_utils.saes import evaluate


def test_a_consensus_has_what_its_members_share_and_each_version_once():
    held = torch.zeros(6, 20, dtype=torch.bool)
    held[:, :8], held[:2, 8:12] = True, True  # all share eight latents, the first two four more
    rows = planted(held.numpy(), 16, 64).float()
    stack = sae_of(normalize(rows, dim=-1), rows, k=4)
    x = torch.randn(2000, 64, generator=torch.Generator().manual_seed(0))
    found, shared = consensus(stack, [[0, 1, 2], [3, 4, 5]], evaluate(stack, [x]), torch.eye(64))
    assert shared == [12, 8]  # the rest are latents of one member
    assert found.seeds == (0, 3) and found.W_dec.shape == (2, 16, 64)
    cosines = found.W_dec.detach() @ found.W_dec[0].detach().T
    same = cosines[0].fill_diagonal_(0)
    assert same.max() < 0.7  # no latent is there in two versions
    # The two consensuses share what all six do; the other rows are each member's own.
    assert int((cosines[1].max(1).values > 0.999).sum()) == 8


def test_a_latent_is_the_mean_of_its_versions():
    rows = torch.eye(8)[None, :4].repeat(2, 1, 1)
    rows[1, :, 4] = 0.5  # the same four latents, a little turned
    rows[1] = rows[1].flip(0)
    stack = sae_of(normalize(rows, dim=-1), rows, k=2)
    x = torch.randn(500, 8, generator=torch.Generator().manual_seed(0)).abs()
    found, shared = consensus(stack, [[0, 1]], evaluate(stack, [x]), torch.eye(8))
    assert shared == [4]
    versions = torch.eye(8)[:4], normalize(rows[1].flip(0), dim=-1)
    expected = normalize(versions[0] + versions[1], dim=-1)
    order = found.W_dec[0, :, :4].detach().argmax(1)
    torch.testing.assert_close(found.W_dec[0].detach(), expected[order])
    torch.testing.assert_close(found.encoder[0].detach(), ((torch.eye(8)[:4] + rows[1].flip(0)) / 2)[order])
