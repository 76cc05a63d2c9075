"""RA-SAE: loss and gradients of what the decoder is made of, the projection row by row, and where it begins."""

import pytest
import torch
from helpers.method_stacks import D_IN, K, N, batch, dense_code, of_one, perturbed, total_variance
from helpers.synthetic_activations import planted

from sae_utils.data.activations import TensorSource
from sae_utils.errors import InputError
from sae_utils.saes import SAE
from sae_utils.saes.methods import Archetypal, archetypal
from sae_utils.saes.methods.archetypal import begin, decoder, own_share, rescale, start, weights
from sae_utils.saes.training import TrainingConfig, train

POINTS = 15


def config(**how):
    settings = {"architecture": "topk", "k": K, "n_points": POINTS, "unit_norm_decoder": False, **how}
    return Archetypal(D_IN, N, **settings)


def make(S=2, **how):
    """A stack away from its first values, float64, within its constraints."""
    sae = SAE.create(config(**how), range(S)).double()
    start(sae, torch.randn(S, POINTS, D_IN, generator=torch.Generator().manual_seed(4), dtype=torch.float64))
    perturbed(sae)
    with torch.no_grad():
        sae.config.project(sae)
    return sae


@pytest.mark.parametrize("architecture", ["topk", "batch_topk"])
def test_loss_and_gradients_are_the_dense_ones(architecture):
    sae, x = make(architecture=architecture), batch()
    terms = sae.config.loss(sae, x, None, 0)
    terms.loss.sum().backward()
    for s in range(2):
        p = of_one(sae, s)
        D = p["log_multiplier"].exp() * (p["mixture"] @ sae.points[s] + p["relaxation"])
        torch.testing.assert_close(sae.W_dec[s], D.detach())
        z = dense_code(p, x, architecture)
        loss = (x - z @ D - p["b_dec"]).pow(2).sum() / total_variance(x)
        torch.testing.assert_close(terms.loss[s].detach(), loss.detach())
        for name, grad in zip(p, torch.autograd.grad(loss, p.values()), strict=True):
            assert grad.abs().max() > 0, name
            torch.testing.assert_close(sae.get_parameter(name).grad[s], grad, msg=name)
    assert sae.W_dec.grad is None and sae.points.grad is None


def test_the_projection_row_by_row():
    sae = make(delta=0.5)
    with torch.no_grad():
        sae.mixture[0, 0] = torch.tensor([3.0, 1.0, -2.0] + [0.0] * 12)
        sae.relaxation[0, 0] = torch.tensor([3.0, 4.0, 0, 0, 0])
        sae.relaxation[0, 1] = torch.tensor([0.3, 0.1, 0, 0, 0])
        sae.relaxation[0, 2] = 0
        sae.log_multiplier[0] = 2.0
        sae.config.project(sae)
    assert sae.mixture[0, 0, :4].tolist() == pytest.approx([0.75, 0.25, 0, 0])
    assert sae.relaxation[0, :3, :2].flatten().tolist() == pytest.approx([0.3, 0.4, 0.3, 0.1, 0, 0])
    row = 0.75 * sae.points[0, 0] + 0.25 * sae.points[0, 1] + torch.tensor([0.3, 0.4, 0, 0, 0], dtype=torch.float64)
    torch.testing.assert_close(sae.W_dec[0, 0], row * torch.tensor(2.0).double().exp())
    with torch.no_grad():
        sae.mixture[0, 0] = -1
        sae.config.project(sae)
    assert not sae.mixture[0, 0].any()  # no entry above 0: nothing to divide


def test_a_rate_of_its_own_keeps_where_rows_begin_and_changes_no_dictionary():
    x, found = planted(1024, D_IN, 16)[0], {}
    for rate in (1.0, 1 / POINTS):
        source = TensorSource({"h": x})
        sae = SAE.create(config(mixture_rate=rate), [0, 1], "h", source.normalisation["h"])
        begin(sae, x[:100])
        assert torch.equal(sae.W_dec, sae.points[:, :N]) and (own_share(sae) == 1).all()
        train([sae], source, TrainingConfig(20 * 64, 64, lr=1e-2), progress=False)
        torch.testing.assert_close(weights(sae).sum(-1), torch.ones(2, N))
        torch.testing.assert_close(decoder(sae), sae.W_dec)
        found[rate] = own_share(sae)
    assert found[1 / POINTS].min() > 0.9 and found[1.0].mean() < 0.7


def test_rescaled_rows_are_one_long_on_average_and_point_where_they_did():
    sae = make()
    before = sae.W_dec.clone()
    rescale(sae)
    torch.testing.assert_close(sae.W_dec.norm(dim=-1).mean(-1), torch.ones(2, dtype=torch.float64))
    longer = before.norm(dim=-1).mean(-1)[:, None, None]
    torch.testing.assert_close(sae.W_dec * longer, before)


def test_the_decoder_is_float32_under_autocast():
    sae = make().float()
    with torch.autocast("cpu", torch.bfloat16):
        found = decoder(sae)
    assert torch.equal(found, decoder(sae))


@pytest.mark.parametrize(("delta", "multiplier"), [(0.0, False), (0.2, True)])
def test_what_must_hold_holds_after_training(delta, multiplier):
    source = TensorSource({"h": planted(1024, D_IN, 16)[0]})
    sae = SAE.create(config(delta=delta, multiplier=multiplier), [0, 1], "h", source.normalisation["h"])
    begin(sae, planted(100, D_IN, 16)[0])
    before, points = sae.W_dec.clone(), sae.points.clone()
    train([sae], source, TrainingConfig(20 * 64, 64, lr=1e-2), progress=False)
    assert (sae.mixture >= 0).all() and torch.equal(sae.points, points)
    torch.testing.assert_close(sae.mixture.sum(-1), torch.ones(2, N))
    assert sae.relaxation.norm(dim=-1).max() <= delta * (1 + 1e-5)
    assert (sae.log_multiplier != 0).all() == multiplier
    assert (sae.W_dec - before).abs().max() > 1e-2
    expected = sae.log_multiplier.exp()[..., None] * (sae.mixture @ points + sae.relaxation)
    torch.testing.assert_close(sae.W_dec, expected)


def test_a_shared_beginning_is_of_the_decoder_alone_and_an_own_one_is_the_seeds():
    x = planted(200, D_IN, 16)[0]
    shared, own, alone = SAE.create(config(), [3, 4]), SAE.create(config(), [3, 4]), SAE.create(config(), [4])
    begin(shared, x)
    begin(own, x, shared=False)
    begin(alone, x, shared=False)
    assert torch.equal(shared.W_dec[0], shared.W_dec[1]) and torch.equal(shared.W_dec, shared.points[:, :N])
    assert not torch.equal(shared.encoder[0], shared.encoder[1])
    assert not torch.equal(own.W_dec[0], own.W_dec[1]) and torch.equal(own.W_dec[1], alone.W_dec[0])
    nearest = torch.cdist(own.points, x.expand(2, -1, -1)).amin(-1)  # centroids lie among the data
    assert nearest.max() < torch.cdist(x, x).max() / 2


def test_what_memory_does_not_hold_is_refused(monkeypatch):
    needed = 4 * 4 * (2 * N * POINTS + 2 * N * D_IN)  # weights, gradient and two moments of A and R
    monkeypatch.setattr(archetypal, "free_memory", lambda device: needed / 0.9 + 1)
    SAE.create(config(), [0, 1])
    monkeypatch.setattr(archetypal, "free_memory", lambda device: needed / 0.9 - 1)
    with pytest.raises(InputError, match=r"this needs 7.68 kB: dictionaries 1.92 kB, optimiser 5.76 kB; cpu has"):
        SAE.create(config(), [0, 1])


def test_a_stack_without_points_and_too_few_activations_are_refused():
    sae = SAE.create(config(), [0])
    with pytest.raises(InputError, match="the stack has no points yet"):
        sae.config.loss(sae, torch.randn(10, D_IN), None, 0)
    with pytest.raises(InputError, match="at least n_points=15 activations, not 14"):
        begin(sae, torch.randn(14, D_IN))
