"""Ordered: loss and gradients are those of the sum over all prefixes, each reconstructed."""

import pytest
import torch

from sae_utils.errors import InputError
from sae_utils.saes import SAE, kernels
from sae_utils.saes.losses import training_loss
from sae_utils.saes.methods import Matryoshka, Ordered
from sae_utils.saes.methods import ordered as method
from sae_utils.saes.methods.ordered import ordered_error, tail

D_IN, N, K, BATCH = 5, 12, 3, 40


def make(config, S=2):
    """A stack away from its first values, float64."""
    sae = SAE.create(config, range(S)).double()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in sae.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return sae


def batch():
    return torch.randn(BATCH, D_IN, generator=torch.Generator().manual_seed(9), dtype=torch.float64) + 0.5


@pytest.mark.parametrize("chunk", [256, 7])
@pytest.mark.parametrize("exponent", [0, 0.7, 3.0])
def test_loss_and_gradients_are_those_of_all_prefixes(exponent, chunk, monkeypatch):
    monkeypatch.setattr(method, "CHUNK", chunk)
    sae, x = make(Ordered(D_IN, N, "topk", K, exponent=exponent)), batch()
    terms = sae.config.loss(sae, x, None, 0)
    (terms.loss * torch.tensor([1.0, 3.0])).sum().backward()
    p_of = torch.tensor([m**-exponent for m in range(1, N + 1)], dtype=torch.float64)
    variance = (x - x.mean(0)).pow(2).sum()
    for s in range(2):
        p = {name: t[s].detach().clone().requires_grad_() for name, t in sae.named_parameters()}
        pre = (x - p["b_dec"]) @ p["encoder"].T + p["b_enc"]
        z = torch.zeros_like(pre).scatter(1, pre.topk(K).indices, 1) * pre.relu()
        errors = [(x - z[:, :m] @ p["W_dec"][:m] - p["b_dec"]).pow(2).sum() for m in range(1, N + 1)]
        loss = (p_of / p_of.sum() * torch.stack(errors)).sum() / variance
        torch.testing.assert_close(terms.loss[s].detach(), loss.detach())
        torch.testing.assert_close(terms.fvu[s], (errors[-1] / variance).detach())
        for (name, found), grad in zip(sae.named_parameters(), torch.autograd.grad(loss, p.values()), strict=True):
            torch.testing.assert_close(found.grad[s], (1, 3)[s] * grad, msg=name)


def test_prefixes_of_equal_weight_are_the_mean_over_a_matryoshka_of_every_width():
    x, ordered = batch(), make(Ordered(D_IN, N, "topk", K))
    nested = make(Matryoshka(D_IN, N, "topk", K, widths=tuple(range(1, N + 1))))
    torch.testing.assert_close(
        ordered.config.loss(ordered, x, None, 0).loss, nested.config.loss(nested, x, None, 0).loss / N
    )


def test_auxk_adds_what_it_adds_without_the_method():
    x, dead = batch(), torch.zeros(2, N, dtype=torch.bool)
    dead[:, ::3] = True
    one, other = (make(Ordered(D_IN, N, "topk", K, auxk=auxk, auxk_coefficient=0.5)) for auxk in (2, None))
    added = one.config.loss(one, x, dead, 0).loss - other.config.loss(other, x, dead, 0).loss
    torch.testing.assert_close(added, training_loss(one, x, dead).loss - training_loss(other, x, dead).loss)


def test_sums_are_float32_under_autocast():
    sae, x = make(Ordered(D_IN, N, "topk", K)).float(), batch().float()
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


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"exponent": -1}, "exponent=-1 must be a number from 0 to 100"),
        ({"exponent": float("nan")}, "exponent=nan must be a number"),
        ({"architecture": "batch_topk"}, "architecture='batch_topk' has no ordered; allowed: topk"),
    ],
)
def test_impossible_values_are_refused(how, said):
    with pytest.raises(InputError) as error:
        Ordered(**{"d_in": 5, "n_latents": 12, "architecture": "topk", "k": 2, **how})
    assert str(error.value).startswith(said)
