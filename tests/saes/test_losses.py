"""Losses and all gradients are those of a dense reference, one dictionary at a time."""

import pytest
import torch
from helpers import dense_reference
from helpers.random_saes import how_sparse

from sae_utils.saes import ARCHITECTURES, SAE, SAEConfig, kernels
from sae_utils.saes.losses import training_loss

SIZES = {  # S, d_in, n_latents, k, batch: odd and small; two stages of top_k; more than one chunk of rows
    "one small": (1, 5, 11, 3, 7),
    "three small": (3, 5, 11, 3, 7),
    "three wide": (3, 6, 512, 2, 12),
    "one, two chunks": (1, 4, 40, 3, kernels.CPU_CHUNK + 9),
    "all chosen": (2, 5, 11, 11, 20),
}


def make(architecture, S=1, d_in=5, n_latents=11, k=3, seed=0, **how):
    """A stack away from its first values, float64, about half of its latents active where the code is dense."""
    config = SAEConfig(d_in, n_latents, architecture, **how_sparse(architecture, k, 0.3), **how)
    sae = SAE.create(config, range(S)).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in sae.named_parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
            if name == "log_threshold":
                p.add_(2.0)  # thresholds around 0.35
    return sae


def batch_of(n, d_in):
    return torch.randn(n, d_in, generator=torch.Generator().manual_seed(9), dtype=torch.float64) + 0.5


def gradients(sae, x, dead=None):
    sae.zero_grad()
    terms = training_loss(sae, x, dead)
    terms.loss.sum().backward()
    return terms, {name: p.grad for name, p in sae.named_parameters()}


def assert_same(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-13)


def assert_as_reference(sae, x, dead=None):
    terms, found = gradients(sae, x, dead)
    loss, expected = dense_reference.loss_and_gradients(sae.config, dict(sae.named_parameters()), x, dead)
    assert_same(terms.loss, loss)
    for name, grad in expected.items():
        assert grad.abs().max() > 0, name
        assert_same(found[name], grad)
    return terms


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("unit_norm", [True, False])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_loss_and_gradients_are_the_dense_ones(architecture, unit_norm, size):
    S, d_in, n_latents, k, batch = SIZES[size]
    how = {"bandwidth": 0.5} if architecture == "jump_relu" else {}
    sae = make(architecture, S, d_in, n_latents, k, unit_norm_decoder=unit_norm, **how)
    assert_as_reference(sae, batch_of(batch, d_in))


@pytest.mark.parametrize("size", ["three small", "three wide"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_auxk_loss_and_gradients_are_the_dense_ones(architecture, size):
    """Dictionaries with many dead latents, with fewer than AuxK asks for, and with none."""
    S, d_in, n_latents, k, batch = SIZES[size]
    sae = make(architecture, S, d_in, n_latents, k, auxk=4, auxk_coefficient=0.7, bandwidth=0.5)
    dead = torch.zeros(S, n_latents, dtype=torch.bool)
    dead[0, ::2] = True
    dead[1, [1, 7]] = True
    assert_as_reference(sae, batch_of(batch, d_in), dead)


def test_auxk_reaches_the_encoder_without_a_bias_and_with_a_frozen_decoder():
    """What is frozen or absent gets no gradient; the others get the one that they would get anyway."""
    x = batch_of(50, 5)
    dead = torch.zeros(1, 11, dtype=torch.bool)
    dead[0, [2, 5, 8]] = True
    sae = make("batch_topk", k=2, auxk=2, encoder_bias=False)
    with torch.no_grad():
        sae.b_enc.zero_()
        sae.encoder[dead] *= 1e-3  # never among the kept ones
    terms, free = gradients(sae, x, dead)
    assert not terms.fired[dead].any()
    assert free["b_enc"] is None
    assert (free["encoder"][dead].norm(dim=-1) > 0).all()
    sae.W_dec.requires_grad_(False)
    _, frozen = gradients(sae, x, dead)
    assert frozen["b_enc"] is None and frozen["W_dec"] is None
    for name in ("encoder", "b_dec"):
        assert_same(frozen[name], free[name])


def test_batch_topk_offers_more_where_a_token_needs_more(monkeypatch):
    """One token so large that it takes nearly all of the batch's latents; the choice must still be exact."""
    x = batch_of(40, 5)
    x[7] *= 1000
    offered = []
    inner = kernels.encode_top_k
    monkeypatch.setattr(kernels, "encode_top_k", lambda *args: offered.append(args[-1]) or inner(*args))
    sae = make("batch_topk", S=2, n_latents=64, k=2)
    terms = assert_as_reference(sae, x)
    assert offered == [8, 16, 32, 64]
    assert terms.l0.max() <= 2


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_reported_terms(architecture):
    """FVU, L0 and which latents fired, of each dictionary, from the inference path of the SAE."""
    x = batch_of(30, 5)
    sae = make(architecture, S=2)
    terms = training_loss(sae, x, None)
    if architecture == "batch_topk":
        sae.threshold.copy_(terms.smallest_kept.clamp_min(0) - 1e-12)
    with torch.no_grad():
        code = sae.encode(x).dense(11)
        error = (sae(x) - x[:, None]).square().sum((0, 2)) / (x - x.mean(0)).square().sum()
    assert_same(terms.fvu, error)
    torch.testing.assert_close(terms.l0.float(), (code > 0).sum((0, 2)) / 30.0)
    assert torch.equal(terms.fired, (code > 0).any(0))
