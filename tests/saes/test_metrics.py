"""Metrics against their definitions, written down once more on all activations at once."""

import numpy as np
import pytest
import torch
from helpers.random_saes import how_sparse
from helpers.synthetic_activations import planted
from helpers.tiny_language_model import make_tiny

from sae_utils.data.activations import Normalisation
from sae_utils.data.models.language_model import load_language_model
from sae_utils.errors import InputError
from sae_utils.saes import ARCHITECTURES, SAE, SAEConfig, cross_entropy_recovered, evaluate

HOOK = "blocks.1.hook_mlp_out"


def make(architecture="topk", x=None, n_latents=40, hook=HOOK):
    x = planted(500)[0] * 5 + 100 if x is None else x
    config = SAEConfig(x.shape[1], n_latents, architecture, **how_sparse(architecture))
    return SAE.create(config, (0, 1), hook, Normalisation.of(x))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_metrics_are_their_definitions(architecture):
    """On activations far from 0, cut into uneven batches."""
    x = planted(500)[0] * 5 + 100
    sae = make(architecture, x)
    with torch.no_grad():
        sae.b_enc[0, :30] = -50.0
        if architecture == "gated":
            sae.b_mag.copy_(sae.b_enc)
    found = evaluate(sae, x.split([1, 99, 256, 144]))
    with torch.no_grad():
        code, error = sae.encode(x).dense(40), (sae(x) - x[:, None]).double()
    variance = (x.double() - x.double().mean(0)).square().sum()
    torch.testing.assert_close(found.fvu, error.square().sum((0, 2)) / variance, rtol=1e-5, atol=0)
    torch.testing.assert_close(found.mse, error.square().sum(-1).mean(0), rtol=1e-5, atol=0)
    torch.testing.assert_close(found.explained_variance, 1 - found.fvu)
    torch.testing.assert_close(found.l0, (code > 0).double().sum(-1).mean(0))
    torch.testing.assert_close(found.firing_frequency, (code > 0).double().mean(0))
    dead = ~(code > 0).any(0)
    assert torch.equal(found.alive, ~dead)
    torch.testing.assert_close(found.dead_fraction, dead.double().mean(-1))
    assert found.n_tokens == 500 and (found.dead_fraction[0] >= 0.75)


def test_limits_of_fvu():
    """A perfect dictionary has FVU 0; one that always says the mean has FVU 1, whatever the scale and the mean are."""
    x = torch.randn(300, 6, generator=torch.Generator().manual_seed(0)) * 7 - 30
    config = SAEConfig(6, 12, "topk", k=12)
    sae = SAE.create(config, [0], "", Normalisation.of(x))
    with torch.no_grad():
        sae.W_dec[0] = torch.cat([torch.eye(6), -torch.eye(6)])
        sae.encoder.copy_(sae.W_dec)
    assert evaluate(sae, [x]).fvu.item() < 1e-10
    with torch.no_grad():
        sae.b_enc.fill_(-1e4)
    found = evaluate(sae, [x])
    assert found.fvu.item() == pytest.approx(1, abs=1e-6)
    assert found.l0.item() == 0 and found.dead_fraction.item() == 1


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_language_model(make_tiny(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(scope="module")
def rows(model):
    return np.random.default_rng(0).integers(0, len(model.tokenizer), (10, 12)).astype(np.uint16)


@pytest.fixture(scope="module")
def activations(model, rows):
    tokens = torch.from_numpy(rows.astype(np.int64))
    return model.activations(tokens, [HOOK])[HOOK].flatten(0, 1).float()


def test_a_perfect_dictionary_recovers_all_and_an_empty_one_what_the_mean_does(model, rows, activations):
    d = activations.shape[1]
    sae = make(x=activations, n_latents=2 * d)
    object.__setattr__(sae.config, "k", 2 * d)
    with torch.no_grad():
        sae.W_dec[:] = torch.cat([torch.eye(d), -torch.eye(d)])
        sae.encoder.copy_(sae.W_dec)
        sae.W_dec[1] = 0
        sae.b_dec[1] = -sae.mean * sae.scale
    perfect, zeros = cross_entropy_recovered(model, [sae], rows, batch_tokens=4 * rows.shape[1])
    again = cross_entropy_recovered(model, [sae.dictionary(1), sae.dictionary(0)], rows, batch_tokens=3 * rows.shape[1])
    assert [c.replaced for c in again] == pytest.approx([zeros.replaced, perfect.replaced], rel=1e-6)
    tokens = torch.from_numpy(rows.astype(np.int64))
    assert perfect.clean == pytest.approx(model.loss(tokens).double().mean().item(), rel=1e-6)
    assert perfect.replaced == pytest.approx(perfect.clean, rel=1e-5)
    assert perfect.ablated != pytest.approx(perfect.clean, rel=1e-6)
    assert perfect.ablated == pytest.approx(zeros.ablated, rel=1e-6)
    assert zeros.replaced == pytest.approx(zeros.ablated, rel=1e-6)
    assert perfect.recovered == pytest.approx(1, abs=1e-2) and zeros.recovered == pytest.approx(0, abs=1e-2)


def test_the_first_position_is_left_alone(model, rows, activations):
    """Rows of two tokens: the only loss is at position 0, which no replacement may touch."""
    for found in cross_entropy_recovered(model, [make(x=activations)], rows[:, :2]):
        assert found.clean == found.replaced == found.ablated


def test_dictionaries_of_two_hook_points_or_none_and_no_activations_are_refused(model, rows, activations):
    with pytest.raises(InputError, match="^there are no activations to evaluate on$"):
        evaluate(make(), [])
    both = [make(x=activations), make(x=activations, hook="blocks.0.hook_mlp_out")]
    for stacks, named in ((both, "blocks.0.hook_mlp_out, blocks.1.hook_mlp_out"), ([], "none")):
        with pytest.raises(InputError, match=f"^dictionaries of one hook point are needed, not of {named}$"):
            cross_entropy_recovered(model, stacks, rows)
