"""Aligned training: the projection solves its least-squares problem, and the constraint holds after every step."""

import pytest
import torch
from helpers.random_saes import how_sparse
from helpers.synthetic_activations import planted

from sae_utils.data.activations import TensorSource
from sae_utils.saes import ARCHITECTURES, SAE
from sae_utils.saes.methods import Aligned
from sae_utils.saes.methods.aligned import align
from sae_utils.saes.training import TrainingConfig, train


def test_the_nearest_row_is_the_one_that_least_squares_gives():
    """The smallest move m of a row e with (e + m).d = 1 solves d^T m = 1 - e.d with the least norm."""
    generator = torch.Generator().manual_seed(1)
    encoder, decoder = (torch.randn(2, 6, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    moved = encoder.clone()
    align(moved, decoder)
    for s in range(2):
        for e, d, found in zip(encoder[s], decoder[s], moved[s], strict=True):
            move = torch.linalg.pinv(d[None]) @ (1 - e @ d)[None]
            torch.testing.assert_close(found, e + move)
    torch.testing.assert_close((moved * decoder).sum(-1), torch.ones(2, 6, dtype=torch.float64))
    again = moved.clone()
    align(again, decoder)
    torch.testing.assert_close(again, moved)


def test_a_row_of_zeros_leaves_the_encoder_finite():
    encoder = torch.ones(1, 2, 3)
    align(encoder, torch.zeros(1, 2, 3))
    assert torch.equal(encoder, torch.ones(1, 2, 3))


@pytest.mark.parametrize("unit_norm", [True, False])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_it_holds_at_the_start_and_after_training(architecture, unit_norm):
    source = TensorSource({"h": planted(1024)[0]})
    config = Aligned(24, 64, architecture, **how_sparse(architecture, 3, 0.05), unit_norm_decoder=unit_norm)
    sae = SAE.create(config, [0, 1], "h", source.normalisation["h"])
    before = sae.encoder.detach().clone()
    torch.testing.assert_close((sae.encoder * sae.W_dec).sum(-1), torch.ones(2, 64))
    train([sae], source, TrainingConfig(10 * 64, 64, lr=1e-2), progress=False)
    torch.testing.assert_close((sae.encoder * sae.W_dec).sum(-1), torch.ones(2, 64), rtol=0, atol=1e-5)
    assert (sae.encoder - before).abs().max() > 1e-2
    if unit_norm:
        torch.testing.assert_close(sae.W_dec.norm(dim=-1), torch.ones(2, 64))
