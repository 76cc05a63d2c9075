"""Matryoshka's loss and gradients are those of a dense form; tests/saes/formats/test_interop.py has sae-lens's."""

import pytest
import torch

from sae_utils.errors import InputError
from sae_utils.saes import SAE
from sae_utils.saes.losses import training_loss
from sae_utils.saes.methods import Matryoshka

D_IN, N, K, BATCH = 5, 12, 3, 40


def make(architecture="batch_topk", widths=(2, 5, 12), S=2, **how):
    """A stack away from its first values, float64."""
    sae = SAE.create(Matryoshka(D_IN, N, architecture, K, widths=widths, **how), range(S)).double()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in sae.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return sae


def batch(seed=9):
    return torch.randn(BATCH, D_IN, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.5


def dense(sae, x, s):
    """(loss, gradients by name, FVU) of dictionary ``s``, all dense, prefix by prefix."""
    p = {name: t[s].detach().clone().requires_grad_() for name, t in sae.named_parameters()}
    pre = (x - p["b_dec"]) @ p["encoder"].T + p["b_enc"]
    if sae.config.architecture == "topk":
        z = torch.zeros_like(pre).scatter(1, pre.topk(K).indices, 1) * pre.relu()
    else:
        z = pre.relu() * (pre >= pre.flatten().topk(K * len(x)).values[-1])
    errors = [(x - z[:, :m] @ p["W_dec"][:m] - p["b_dec"]).pow(2).sum() for m in sae.config.widths]
    variance = (x - x.mean(0)).pow(2).sum()
    loss = sum(errors) / variance
    return loss.detach(), dict(zip(p, torch.autograd.grad(loss, p.values()), strict=True)), errors[-1] / variance


@pytest.mark.parametrize("widths", [(2, 5, 12), (1, 2, 3, 4, 12), (12,)])
@pytest.mark.parametrize("architecture", ["topk", "batch_topk"])
def test_loss_and_gradients_are_the_dense_ones(architecture, widths):
    sae, x = make(architecture, widths), batch()
    terms = sae.config.loss(sae, x, None, 0)
    terms.loss.sum().backward()
    for s in range(2):
        loss, gradients, fvu = dense(sae, x, s)
        torch.testing.assert_close(terms.loss[s].detach(), loss)
        torch.testing.assert_close(terms.fvu[s], fvu.detach())
        for name, p in sae.named_parameters():
            assert gradients[name].abs().max() > 0
            torch.testing.assert_close(p.grad[s], gradients[name])


def test_one_prefix_is_no_method_and_a_prefix_that_never_fires_is_the_bias_alone():
    x = batch()
    one = make(widths=(12,))
    torch.testing.assert_close(one.config.loss(one, x, None, 0).loss, training_loss(one, x, None).loss)
    silent = make(widths=(4, 12))
    with torch.no_grad():
        silent.b_enc[:, :4] = -100
    alone = (x[:, None] - silent.b_dec).pow(2).sum((0, 2)) / (x - x.mean(0)).pow(2).sum()
    added = silent.config.loss(silent, x, None, 0).loss - training_loss(silent, x, None).loss
    torch.testing.assert_close(added, alone)


def test_auxk_learns_what_all_latents_leave():
    """AuxK adds what it adds to the plain loss: both see the residual of the whole."""
    x, dead = batch(), torch.zeros(2, N, dtype=torch.bool)
    dead[:, ::3] = True
    with_auxk, without = make(auxk=2, auxk_coefficient=0.5), make()
    added = with_auxk.config.loss(with_auxk, x, dead, 0).loss - without.config.loss(without, x, dead, 0).loss
    assert (added > 0).all()
    torch.testing.assert_close(added, training_loss(with_auxk, x, dead).loss - training_loss(without, x, dead).loss)


@pytest.mark.parametrize(
    ("how", "said"),
    {
        "none": ({}, "widths=[] must ascend, and end with n_latents=12"),
        "another end": ({"widths": (2, 5)}, "widths=[2, 5] must ascend, and end with n_latents=12"),
        "falling": ({"widths": (5, 2, 12)}, "widths=[5, 2, 12] must ascend, and end with n_latents=12"),
        "twice": ({"widths": (2, 2, 12)}, "widths=[2, 2, 12] must ascend, and end with n_latents=12"),
        "zero": ({"widths": (0, 12)}, "widths[0]=0 must be"),
        "share": ({"widths": (0.5, 12)}, "widths[0]=0.5 must be"),
        "number": ({"widths": 12}, "widths=12 must be whole numbers, the last n_latents=12"),
        "another": ({"widths": (12,), "method": "decay"}, "method='decay' must be 'matryoshka'"),
    }.values(),
)
def test_impossible_values_are_refused(how, said):
    with pytest.raises(InputError) as error:
        Matryoshka(D_IN, N, "batch_topk", K, **how)
    assert str(error.value).startswith(said)


def test_an_architecture_whose_code_is_dense_is_refused():
    with pytest.raises(InputError, match="architecture='relu' has no matryoshka; allowed: topk, batch_topk"):
        Matryoshka(D_IN, N, "relu", sparsity=0.1, widths=(12,))
