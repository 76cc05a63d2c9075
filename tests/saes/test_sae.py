"""A stack of SAEs: its parts, its folded form, its sparse codes, and what a config refuses."""

import re
from dataclasses import replace

import pytest
import torch
from helpers.random_saes import make, raw_activations

from sae_utils.data.activations import Normalisation
from sae_utils.errors import InputError
from sae_utils.saes import ARCHITECTURES, SAE, SAEConfig


def dense_reconstruction(sae, x, s):
    """The class docstring's formula, one dictionary at a time."""
    x_n = (x - sae.mean) * sae.scale
    pre = (x_n - sae.b_dec[s]) @ sae.W_enc[s] + sae.b_enc[s]
    match sae.config.architecture:
        case "relu":
            z = pre.clamp_min(0)
        case "gated":
            magnitude = (x_n - sae.b_dec[s]) @ (sae.W_enc[s] * sae.r_mag[s].exp()) + sae.b_mag[s]
            z = torch.where(pre > 0, magnitude.clamp_min(0), 0.0)
        case "topk":
            z = torch.where(pre >= pre.sort(-1, descending=True).values[:, 3:4], pre.clamp_min(0), 0.0)
        case "batch_topk":
            z = torch.where(pre > sae.threshold[s], pre, 0.0)
        case "jump_relu":
            z = torch.where(pre > sae.log_threshold[s].exp(), pre, 0.0)
    return z, (z @ sae.W_dec[s] + sae.b_dec[s]) / sae.scale + sae.mean


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_code_and_reconstruction_are_the_formulas(architecture):
    sae, x = make(architecture), raw_activations()
    with torch.no_grad():
        code = sae.encode(x)
        dense, x_hat = code.dense(24), sae(x)
        activated = sae.activate(sae.pre_activations(x))
        for s in range(3):
            z, expected = dense_reconstruction(sae, x, s)
            torch.testing.assert_close(dense[:, s], z, rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(activated[:, s], z, rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(x_hat[:, s], expected, rtol=1e-5, atol=1e-5)
        assert torch.equal(sae.decode(code), x_hat)
    assert code.values.shape == code.indices.shape == (50, 3, code.values.shape[2])
    assert (code.values >= 0).all() and (code.values > 0).any()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_nothing_active_decodes_to_the_bias(architecture):
    sae, x = make(architecture), raw_activations()
    with torch.no_grad():
        sae.b_enc.fill_(-100.0)
        if architecture == "gated":
            sae.b_mag.fill_(-100.0)
        assert sae.encode(x).dense(24).abs().max() == 0
        expected = (sae.b_dec / sae.scale + sae.mean).expand(50, 3, 6)
        torch.testing.assert_close(sae(x), expected)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_folded_normalisation_is_the_same_function(architecture):
    sae, x = make(architecture), raw_activations()
    folded = sae.fold_normalisation()
    assert folded.mean.abs().max() == 0 and folded.scale == 1
    with torch.no_grad():
        torch.testing.assert_close(folded(x), sae(x), rtol=1e-5, atol=1e-5)
        raw, normalised = folded.encode(x).dense(24), sae.encode(x).dense(24)
    torch.testing.assert_close(raw, normalised / sae.scale, rtol=1e-5, atol=1e-5)
    assert torch.equal(folded.W_dec, sae.W_dec) and folded.seeds == sae.seeds and folded.hook_point == "hook"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_dictionary_is_that_part_of_the_stack(architecture):
    sae, x = make(architecture), raw_activations()
    with torch.no_grad():
        whole = sae(x)
        for i in range(3):
            one = sae.dictionary(i)
            assert one.seeds == (sae.seeds[i],) and one.hook_point == "hook"
            torch.testing.assert_close(one(x)[:, 0], whole[:, i], rtol=1e-5, atol=1e-5)
        one.W_dec.zero_()
    assert sae.W_dec[2].abs().max() > 0


def test_parts_and_folded_keep_the_precision():
    sae = make("topk").double()
    for other in (sae.dictionary(1), sae.fold_normalisation()):
        assert {t.dtype for t in other.state_dict().values()} == {torch.float64}
    assert torch.equal(sae.dictionary(1).W_dec[0], sae.W_dec[1])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_seed_means_one_dictionary_in_any_stack(architecture):
    sae = make(architecture, seeds=(5, 6, 5), perturb=False)
    alone = make(architecture, seeds=(6,), perturb=False)
    assert torch.equal(sae.W_dec[1], alone.W_dec[0])
    assert torch.equal(sae.W_dec[0], sae.W_dec[2]) and not torch.equal(sae.W_dec[0], sae.W_dec[1])
    assert (sae.W_dec.norm(dim=-1) - 1).abs().max() < 1e-6
    assert torch.equal(sae.W_enc, sae.W_dec.transpose(1, 2))
    assert sae.b_enc.abs().max() == 0 and sae.b_dec.abs().max() == 0


def test_a_copy_differs_in_what_is_given_and_learns():
    sae = make("topk")
    sae.W_dec.requires_grad_(False)
    rows = 2 * sae.W_dec
    copy = sae.copy(replace(sae.config, k=2), hook_point="elsewhere", W_dec=rows)
    assert (copy.config.k, copy.seeds, copy.hook_point) == (2, sae.seeds, "elsewhere") and copy.W_dec.requires_grad
    changed = {name for name, t in copy.state_dict().items() if not torch.equal(t, sae.state_dict()[name])}
    assert changed == {"W_dec"} and torch.equal(copy.W_dec, rows)


def test_without_an_encoder_bias_there_is_none_to_learn():
    sae = SAE.create(SAEConfig(6, 24, "batch_topk", k=4, encoder_bias=False), [0, 1])
    assert not sae.b_enc.requires_grad and not sae.b_enc.any()
    assert SAE.create(SAEConfig(6, 24, "batch_topk", k=4), [0]).b_enc.requires_grad


def test_an_empty_slot_does_not_overwrite_a_full_one():
    code = make("relu").encode(raw_activations())
    empty_first = type(code)(torch.tensor([[[2.0, 0.0]]]), torch.tensor([[[3, 3]]]))
    assert empty_first.dense(5).tolist() == [[[0, 0, 0, 2, 0]]]
    assert (code.dense(24) != 0).sum() == (code.values != 0).sum()


BAD_CONFIGS = {
    "architecture='sae' is unknown": {"architecture": "sae", "k": 2},
    "k=25 must be": {"k": 25},
    "k=None must be": {"architecture": "batch_topk"},
    "k=2.0 must be": {"k": 2.0},
    "sparsity=0.1 has no meaning": {"k": 2, "sparsity": 0.1},
    "k=2 has no meaning": {"architecture": "relu", "k": 2},
    "sparsity=None must be": {"architecture": "gated"},
    "sparsity=nan must be": {"architecture": "relu", "sparsity": float("nan")},
    "d_in=0 must be": {"d_in": 0, "k": 2},
    "n_latents=True must be": {"n_latents": True, "k": 1},
    "auxk=25 must be": {"k": 2, "auxk": 25},
    "auxk=1.5 must be": {"k": 2, "auxk": 1.5},
    "bandwidth=0": {"architecture": "jump_relu", "sparsity": 1, "bandwidth": 0},
    "first_threshold=-1": {"architecture": "jump_relu", "sparsity": 1, "first_threshold": -1},
    "auxk_coefficient=nan": {"k": 2, "auxk": 4, "auxk_coefficient": float("nan")},
    "unit_norm_decoder='no' must be True or False": {"k": 2, "unit_norm_decoder": "no"},
}
WIDE = "activations have 7 dimensions, the SAE has d_in=6"
REFUSED = [
    *((start, lambda how=how: SAEConfig(**{"d_in": 6, "n_latents": 24, **how})) for start, how in BAD_CONFIGS.items()),
    (WIDE, lambda: make("topk")(torch.zeros(3, 7))),
    ("seeds=[] must name", lambda: SAE.create(SAEConfig(6, 24, k=2), [])),
    ("seeds=[0, 1.5] must be whole", lambda: SAE.create(SAEConfig(6, 24, k=2), [0, 1.5])),
    ("seeds=[True] must be whole", lambda: SAE.create(SAEConfig(6, 24, k=2), [True])),
    ("this needs 80.0 PB: dictionaries", lambda: SAE.create(SAEConfig(10**3, 10**13, k=2), [0])),
    (
        "normalisation has 7 dimensions, the SAE d_in=6",
        lambda: SAE.create(SAEConfig(6, 24, k=2), [0], "hook", Normalisation(torch.zeros(7), 1.0)),
    ),
]


@pytest.mark.parametrize("start, call", REFUSED)
def test_what_cannot_be_is_refused(start, call):
    with pytest.raises(InputError, match=f"^{re.escape(start)}"):
        call()
