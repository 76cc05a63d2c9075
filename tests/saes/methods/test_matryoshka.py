"""Matryoshka's loss and gradients are those of a dense form; tests/saes/formats/test_interop.py has sae-lens's."""

import pytest
import torch
from helpers.method_stacks import D_IN, K, N, batch, dense_code, of_one, perturbed, total_variance

from sae_utils.saes.losses import training_loss
from sae_utils.saes.methods import Matryoshka


def make(architecture="batch_topk", widths=(2, 5, 12), **how):
    return perturbed(Matryoshka(D_IN, N, architecture, K, widths=widths, **how))


@pytest.mark.parametrize("widths", [(2, 5, 12), (1, 2, 3, 4, 12), (12,)])
@pytest.mark.parametrize("architecture", ["topk", "batch_topk"])
def test_loss_and_gradients_are_the_dense_ones(architecture, widths):
    sae, x = make(architecture, widths), batch()
    terms = sae.config.loss(sae, x, None, 0)
    terms.loss.sum().backward()
    for s in range(2):
        p = of_one(sae, s)
        z = dense_code(p, x, architecture)
        errors = [(x - z[:, :m] @ p["W_dec"][:m] - p["b_dec"]).pow(2).sum() / total_variance(x) for m in widths]
        torch.testing.assert_close(terms.loss[s].detach(), sum(errors).detach())
        torch.testing.assert_close(terms.fvu[s], errors[-1].detach())
        for name, grad in zip(p, torch.autograd.grad(sum(errors), p.values()), strict=True):
            assert grad.abs().max() > 0
            torch.testing.assert_close(sae.get_parameter(name).grad[s], grad)


def test_a_prefix_that_never_fires_is_the_bias_alone():
    x, silent = batch(), make(widths=(4, 12))
    with torch.no_grad():
        silent.b_enc[:, :4] = -100
    alone = (x[:, None] - silent.b_dec).pow(2).sum((0, 2)) / total_variance(x)
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
