"""A dictionary of latents of several SAEs: its code, its reconstruction and its parameters, written out."""

import numpy as np
import pytest
import torch
from helpers.stitched_pairs import REFUSALS, other, pair

from sae_utils.errors import InputError
from sae_utils.saes import ARCHITECTURES, Part, Stitched, evaluate
from sae_utils.saes.stitched import whole


def half_and_half(architecture):
    small, large, x = pair(architecture, seeds=((0,), (1,)))
    rng = np.random.default_rng(0)
    kept = [torch.from_numpy(rng.random(sae.config.n_latents) < 0.5) for sae in (small, large)]
    b_dec = (small.b_dec + large.b_dec)[0].detach() / 2
    return Stitched([Part(small, kept[0]), Part(large, kept[1])], b_dec), (small, large), kept, x


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_code_and_reconstruction_are_those_of_the_parts(architecture):
    stitched, saes, kept, x = half_and_half(architecture)
    with torch.no_grad():
        z = [sae.encode(x).dense(sae.config.n_latents)[:, 0][:, k] for sae, k in zip(saes, kept, strict=True)]
        rows = torch.cat([sae.W_dec[0][k] for sae, k in zip(saes, kept, strict=True)])
        expected = (torch.cat(z, 1) @ rows + stitched.b_dec[0]) / saes[0].scale + saes[0].mean
    code = stitched.encode(x)
    torch.testing.assert_close(code.dense(stitched.config.n_latents)[:, 0], torch.cat(z, 1))
    torch.testing.assert_close(stitched(x)[:, 0], expected)
    assert torch.equal(stitched.W_dec[0], rows)
    found = evaluate(stitched, x.split(64))
    assert found.l0.item() == pytest.approx((torch.cat(z, 1) > 0).double().sum(1).mean().item())
    assert found.mse.item() == pytest.approx((x - expected).square().sum(1).mean().item())


def test_parameters_with_one_bias_give_the_pre_activations_of_two():
    stitched, saes, kept, x = half_and_half("relu")
    with torch.no_grad():
        x_n = (x - stitched.mean) * stitched.scale
        pre = (x_n - stitched.b_dec[0]) @ stitched.encoder[0].T + stitched.b_enc[0]
        own = [sae.pre_activations(x)[:, 0][:, k] for sae, k in zip(saes, kept, strict=True)]
    torch.testing.assert_close(pre, torch.cat(own, 1))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_all_of_one_sae_is_that_sae_bit_for_bit(architecture):
    sae, _, x = pair(architecture, torch.float32, seeds=((3,), (1,)))
    same = whole(sae)
    for name in ("encoder", "W_dec", "b_enc", "b_dec"):
        assert torch.equal(getattr(same, name), getattr(sae, name)), name
    assert torch.equal(same(x), sae(x)) and same.dictionary(0) is same
    nothing = Part(pair(architecture, torch.float32)[1].dictionary(0), torch.zeros(40, dtype=torch.bool))
    assert torch.equal(Stitched([Part(sae, torch.ones(24, dtype=torch.bool)), nothing], sae.b_dec[0])(x), sae(x))


def test_impossible_parts_are_refused():
    sae = pair("topk")[0].dictionary(0)
    every = torch.ones(24, dtype=torch.bool)
    with pytest.raises(InputError, match="^a stitched dictionary needs at least one latent$"):
        Stitched([Part(sae, ~every)], sae.b_dec[0])
    with pytest.raises(InputError, match=r"^a stack of 2 dictionaries cannot be stitched: pass sae.dictionary\(i\)$"):
        whole(pair("topk")[0])
    with pytest.raises(InputError, match=r"^dictionary\(1\) does not exist: this Stitched is one dictionary, 0$"):
        whole(sae).dictionary(1)
    for start, changes in REFUSALS.items():
        if "widths" not in start:
            stranger = other(**changes)
            parts = [Part(sae, every), Part(stranger, torch.ones(stranger.config.n_latents, dtype=torch.bool))]
            with pytest.raises(InputError, match=f"^{start}"):
                Stitched(parts, sae.b_dec[0])
