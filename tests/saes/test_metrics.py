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
from sae_utils.saes import ARCHITECTURES, SAE, SAEConfig, cross_entropy_recovered, evaluate, metrics
from sae_utils.saes.metrics import tokens_of_half, trimmed

HOOK = "blocks.1.hook_mlp_out"


def give_back(sae):
    """Makes dictionaries of axes: each gives back the k coordinates that are largest in size, exactly."""
    axes = torch.eye(sae.config.d_in)
    with torch.no_grad():
        sae.W_dec[:] = torch.cat([axes, -axes])
        sae.encoder.copy_(sae.W_dec)
    return sae


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
    sae = give_back(SAE.create(SAEConfig(6, 12, "topk", k=12), [0], "", Normalisation.of(x)))
    assert evaluate(sae, [x]).fvu.item() < 1e-10
    with torch.no_grad():
        sae.b_enc.fill_(-1e4)
    found = evaluate(sae, [x])
    assert found.fvu.item() == pytest.approx(1, abs=1e-6)
    assert found.l0.item() == 0 and found.dead_fraction.item() == 1


def keeps_largest(x, k, seeds=(0,)):
    d = x.shape[1]
    return give_back(SAE.create(SAEConfig(d, 2 * d, "topk", k=k), seeds, "", Normalisation(torch.zeros(d), 1.0)))


def explained_variance(x, x_hat):
    """Of all tokens at once, about their own mean."""
    return 1 - (x_hat - x).double().square().sum() / (x - x.mean(0)).double().square().sum()


def one_of_norm_500(n=1000, common=0.0):
    """Tokens of which one is an outlier, far along the third axis."""
    x = torch.randn(n, 8, generator=torch.Generator().manual_seed(0)) * 0.7
    x[123] = 500 * torch.eye(8)[2]
    return x + common


def test_one_token_of_norm_500_owns_explained_variance_but_not_the_trimmed():
    """Of 1,000 tokens, the others have .87."""
    x = one_of_norm_500()
    sae = keeps_largest(x, 4, (0, 1))
    found = evaluate(sae, x.split([1, 99, 500, 400]))
    others = torch.cat([x[:123], x[124:]])
    right = explained_variance(others, sae(others)[:, 0])
    assert found.explained_variance.tolist() == pytest.approx([0.998] * 2, abs=1e-3)
    assert 0.84 < right < 0.90
    torch.testing.assert_close(found.explained_variance_trimmed, right.repeat(2), rtol=1e-6, atol=0)
    assert found.tokens_of_half_the_variance == 1
    assert torch.equal(trimmed(x), others)


@pytest.mark.parametrize("n", [10_000, 999, 30])
def test_trimmed_are_a_thousandth_and_all_others_are_as_they_were(n, monkeypatch):
    """Also where more tokens are far than are held."""
    x = torch.randn(n, 6, generator=torch.Generator().manual_seed(1)) * 3
    order = x.double().square().sum(-1).argsort()
    for held in (4096, 7):
        monkeypatch.setattr(metrics, "FARTHEST_TOKENS", held)
        left_out = min(-(-n // 1000), held)
        near = x[order[: n - left_out].sort().values]
        sae = SAE.create(SAEConfig(6, 12, "topk", k=3), [0], "", Normalisation(torch.full((6,), 1e-30), 1.0))
        found = evaluate(sae, x.split(256))
        right = explained_variance(near, sae(near)[:, 0])
        torch.testing.assert_close(found.explained_variance_trimmed, right[None], rtol=1e-5, atol=1e-6)


def test_a_common_mean_is_not_variance():
    """A dictionary that was read from elsewhere has no mean of its own: the first batch's stands in."""
    x = one_of_norm_500(common=300.0)
    sae = keeps_largest(x, 8)
    assert evaluate(sae, x.split(100)).tokens_of_half_the_variance == 1
    with torch.no_grad():
        sae.mean.copy_(x.mean(0))
    assert evaluate(sae, x.split(100)).tokens_of_half_the_variance == 1


@pytest.mark.parametrize(
    ("distances", "n"), [([9.0, 1, 1, 1, 1, 1, 1, 1, 1], 1), ([1.0] * 8, 4), ([1.0] * 9, 5), ([4.0, 3, 2, 1], 2)]
)
def test_tokens_of_half_by_hand(distances, n):
    assert tokens_of_half(torch.tensor(distances)) == n


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
    sae = give_back(make(x=activations, n_latents=2 * d))
    object.__setattr__(sae.config, "k", 2 * d)
    with torch.no_grad():
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
    for broken in (float("nan"), float("inf")):
        with pytest.raises(InputError, match="^an activation to evaluate on is not finite$"):
            evaluate(make(), [torch.full((2, make().config.d_in), broken)])
    for same in (torch.full((5, 24), 0.1), torch.randn(1, 24)):  # one token has no variance, but for rounding
        with pytest.raises(InputError, match="^the [15] activations to evaluate on do not vary: no share"):
            evaluate(make(), [same])
    both = [make(x=activations), make(x=activations, hook="blocks.0.hook_mlp_out")]
    for stacks, named in ((both, "blocks.0.hook_mlp_out, blocks.1.hook_mlp_out"), ([], "none")):
        with pytest.raises(InputError, match=f"^dictionaries of one hook point are needed, not of {named}$"):
            cross_entropy_recovered(model, stacks, rows)
