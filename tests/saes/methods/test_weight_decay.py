"""Weight decay: loss and gradients by hand, and what it does to latents that nothing needs."""

import pytest
import torch
from helpers.synthetic_activations import planted

from sae_utils.data.activations import TensorSource
from sae_utils.saes import SAE, losses
from sae_utils.saes.methods import WeightDecay
from sae_utils.saes.training import TrainingConfig, train


@pytest.mark.parametrize(("architecture", "how"), [("topk", {"k": 3}), ("relu", {"sparsity": 0.1})])
def test_loss_and_gradients_by_hand(architecture, how):
    """The published loss over the variance per token; each weight's gradient gains 2 decay w over it."""
    sae = SAE.create(WeightDecay(5, 12, architecture, decay=0.7, unit_norm_decoder=False, **how), [0, 1]).double()
    x = torch.randn(40, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        sae.encoder[0] *= 2
        sae.W_dec[1] *= 3
    plain = losses.training_loss(sae, x, None).loss
    expected = torch.autograd.grad(plain.sum(), [sae.encoder, sae.W_dec, sae.b_enc, sae.b_dec])
    per_token = (x - x.mean(0)).square().sum() / 40
    terms = sae.config.loss(sae, x, None, 0)
    found = torch.autograd.grad(terms.loss.sum(), [sae.encoder, sae.W_dec, sae.b_enc, sae.b_dec])
    # 12 rows of length 1 in each matrix, but for the two that were stretched
    penalty = 0.7 * torch.tensor([12 * 4 + 12, 12 + 12 * 9], dtype=torch.float64) / per_token
    torch.testing.assert_close(terms.loss - plain, penalty, rtol=1e-5, atol=0)
    for i, w in enumerate((sae.encoder, sae.W_dec)):
        torch.testing.assert_close(found[i] - expected[i], 2 * 0.7 * w.detach() / per_token)
    for i in (2, 3):
        torch.testing.assert_close(found[i], expected[i])
    assert torch.equal(terms.fvu, losses.training_loss(sae, x, None).fvu)


def test_no_decay_is_no_method():
    sae = SAE.create(WeightDecay(5, 12, "topk", 3), [0])
    x = torch.randn(40, 5)
    assert torch.equal(sae.config.loss(sae, x, None, 0).loss, losses.training_loss(sae, x, None).loss)


def test_latents_that_never_fire_collapse_and_the_others_do_not():
    source = TensorSource({"h": planted(2048)[0]})
    lengths = {}
    for decay in (0.0, 0.3):
        config = WeightDecay(24, 64, "topk", 3, decay=decay, unit_norm_decoder=False)
        sae = SAE.create(config, [0], "h", source.normalisation["h"])
        with torch.no_grad():
            sae.b_enc[0, :20] = -100
        train([sae], source, TrainingConfig(150 * 64, 64, lr=3e-2), progress=False)
        lengths[decay] = sae.W_dec.detach().norm(dim=-1)[0]
    torch.testing.assert_close(lengths[0.0][:20], torch.ones(20))
    assert lengths[0.3][:20].max() < 1e-3 and lengths[0.3][20:].max() > 0.1
