import numpy as np
import pytest
import torch
from helpers.random_saes import make, raw_activations

from sae_utils.analysis.stability import substitution
from sae_utils.analysis.stability.substitution import kept_work


def one_by_one(stack, pair, partner, x):
    """The same by reconstructions: each latent left out, and each replaced by its partner."""
    code = stack.encode(x).dense(stack.config.n_latents).double()
    first, second = (code[:, s, :, None] * stack.W_dec[s].double() for s in pair)
    target = stack.normalise(x).double() - stack.b_dec[pair[0]].double() - first.sum(1)

    def error(change):
        return (target + change).square().sum().item() - target.square().sum().item()

    cost = [error(first[:, a]) for a in range(len(partner)) if partner[a] >= 0]
    left = [error(first[:, a] - second[:, b]) for a, b in enumerate(partner.tolist()) if b >= 0]
    return 1 - sum(left) / sum(cost)


@pytest.mark.parametrize("architecture", ["topk", "batch_topk", "relu"])
def test_kept_work_is_that_of_reconstructions_latent_by_latent(architecture, monkeypatch):
    monkeypatch.setattr(substitution, "CHUNK", 16)
    stack, x = make(architecture), raw_activations()
    partner = torch.randperm(24, generator=torch.Generator().manual_seed(0))
    partner[3] = -1
    found = kept_work(stack, {(0, 1): partner, (2, 0): partner}, x)
    with torch.no_grad():
        expected = {pair: one_by_one(stack, pair, partner, x) for pair in ((0, 1), (2, 0))}
    assert found == pytest.approx(expected, rel=1e-4)


def test_a_latent_does_its_own_work_and_a_silent_one_does_none():
    stack, x = make("topk"), raw_activations()
    assert kept_work(stack, {(0, 0): torch.arange(24)}, x)[0, 0] == pytest.approx(1, abs=1e-5)
    with torch.no_grad():
        stack.b_enc[1] = -1e6
    assert kept_work(stack, {(0, 1): torch.arange(24)}, x)[0, 1] == pytest.approx(0, abs=1e-6)
    assert np.isnan(kept_work(stack, {(1, 0): torch.arange(24)}, x)[1, 0])
