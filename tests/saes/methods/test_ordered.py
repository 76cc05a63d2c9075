"""Ordered: loss and gradients are those of the sum over all prefixes, each reconstructed."""

import pytest
import torch
from helpers.method_stacks import D_IN, K, N, batch, dense_code, of_one, perturbed, total_variance

from sae_utils.saes import kernels
from sae_utils.saes.losses import training_loss
from sae_utils.saes.methods import Matryoshka, Ordered
from sae_utils.saes.methods import ordered as method
from sae_utils.saes.methods.ordered import ordered_error, tail


def make(**how):
    return perturbed(Ordered(D_IN, N, "topk", K, **how))


@pytest.mark.parametrize("chunk", [256, 7])
@pytest.mark.parametrize("exponent", [0, 0.7, 3.0])
def test_loss_and_gradients_are_those_of_all_prefixes(exponent, chunk, monkeypatch):
    monkeypatch.setattr(method, "CHUNK", chunk)
    sae, x = make(exponent=exponent), batch()
    terms = sae.config.loss(sae, x, None, 0)
    (terms.loss * torch.tensor([1.0, 3.0])).sum().backward()
    p_of = torch.tensor([m**-exponent for m in range(1, N + 1)], dtype=torch.float64)
    variance = total_variance(x)
    for s in range(2):
        p = of_one(sae, s)
        z = dense_code(p, x, "topk")
        errors = [(x - z[:, :m] @ p["W_dec"][:m] - p["b_dec"]).pow(2).sum() for m in range(1, N + 1)]
        loss = (p_of / p_of.sum() * torch.stack(errors)).sum() / variance
        torch.testing.assert_close(terms.loss[s].detach(), loss.detach())
        torch.testing.assert_close(terms.fvu[s], (errors[-1] / variance).detach())
        for (name, found), grad in zip(sae.named_parameters(), torch.autograd.grad(loss, p.values()), strict=True):
            torch.testing.assert_close(found.grad[s], (1, 3)[s] * grad, msg=name)


def test_prefixes_of_equal_weight_are_the_mean_over_a_matryoshka_of_every_width():
    x, ordered = batch(), make()
    nested = perturbed(Matryoshka(D_IN, N, "topk", K, widths=tuple(range(1, N + 1))))
    torch.testing.assert_close(
        ordered.config.loss(ordered, x, None, 0).loss, nested.config.loss(nested, x, None, 0).loss / N
    )


def test_auxk_adds_what_it_adds_without_the_method():
    x, dead = batch(), torch.zeros(2, N, dtype=torch.bool)
    dead[:, ::3] = True
    one, other = (make(auxk=auxk, auxk_coefficient=0.5) for auxk in (2, None))
    added = one.config.loss(one, x, dead, 0).loss - other.config.loss(other, x, dead, 0).loss
    torch.testing.assert_close(added, training_loss(one, x, dead).loss - training_loss(other, x, dead).loss)


def test_sums_are_float32_under_autocast():
    sae, x = make().float(), batch().float()
    values, latents = kernels.encode_top_k(x, sae.encoder.detach(), sae.b_enc.detach(), sae.b_dec.detach(), K)
    z, pattern = kernels.keep_top_k(values.relu(), latents, N)
    found = []
    for enabled in (True, False):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            error, _ = ordered_error(sae, x, z, pattern)
        found.append([error, *torch.autograd.grad(error.sum(), [sae.W_dec, sae.b_dec])])
    assert all(map(torch.equal, *found))


def test_the_tail_of_a_law_by_hand():
    assert tail(Ordered(5, 4, "topk", 2)).tolist() == [1, 0.75, 0.5, 0.25]
    harmonic = 1 + 1 / 2 + 1 / 3
    expected = [1, (1 / 2 + 1 / 3) / harmonic, (1 / 3) / harmonic]
    torch.testing.assert_close(tail(Ordered(5, 3, "topk", 2, exponent=1)), torch.tensor(expected, dtype=torch.float64))
