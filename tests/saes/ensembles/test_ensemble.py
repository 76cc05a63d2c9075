"""An ensemble is one dictionary: Proposition 3.1 of paper C, its traps, and the places that a dictionary goes."""

import pytest
import torch
from helpers.ensembles_made import activations, boosted, stack

from sae_utils.analysis.matching.matching import Rows, compare
from sae_utils.analysis.stitching.insertion import insert
from sae_utils.data.activations import Normalisation
from sae_utils.errors import InputError
from sae_utils.saes import ARCHITECTURES, SAE, SAEConfig, SparseCode, evaluate
from sae_utils.saes.ensembles import Ensemble, load_ensemble, save_ensemble
from sae_utils.saes.methods import Archetypal, Matryoshka
from sae_utils.saes.training import load_sae

WEIGHTS = (0.5, -0.3, 1.1)


def assert_close(a, b, atol=2e-5):
    torch.testing.assert_close(a, b, rtol=1e-5, atol=atol)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["mean", "weighted"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_proposition_3_1_for_bagging(architecture, weights):
    """decode(encode(x)) is the weighted sum of the members' outputs."""
    members, x = stack(architecture), activations()
    each = torch.stack([members.dictionary(j)(x)[:, 0] for j in range(3)])
    expected = torch.einsum("j,jnd->nd", torch.tensor(weights or [1 / 3] * 3), each)
    ensemble = Ensemble.bag(members, weights=weights)
    assert_close(ensemble.decode(ensemble.encode(x))[:, 0], expected)
    assert_close(ensemble(x)[:, 0], expected)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["sum", "weighted"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_proposition_3_1_for_boosting(architecture, weights):
    """Each member reads what the whole outputs of those before it leave; the weights scale the sum alone."""
    ensemble, x = boosted(architecture, weights=weights), activations()
    rest, expected = x, torch.zeros_like(x)
    for member, weight in zip(ensemble.members, weights or (1, 1, 1), strict=True):
        output = member(rest)[:, 0]
        rest, expected = rest - output, expected + weight * output
    assert_close(ensemble(x)[:, 0], expected)


@pytest.mark.parametrize("make", [lambda: Ensemble.bag(stack()), boosted], ids=["bag", "boosted"])
def test_it_is_a_dictionary_with_the_members_rows_side_by_side(make):
    """The same reconstruction from W_dec, b_dec and the dense code, as Proposition 3.1 has it."""
    ensemble, x = make(), activations()
    code = ensemble.encode(x).dense(ensemble.config.n_latents)[:, 0]
    assert ensemble.config.n_latents == code.shape[1] == 60
    assert ensemble.config.k == 9
    assert (code >= 0).all()
    normalised = code @ ensemble.W_dec[0] + ensemble.b_dec[0]
    assert_close(normalised / ensemble.scale + ensemble.mean, ensemble(x)[:, 0])


def test_coefficients_are_the_members_times_the_weights():
    members, x = stack(), activations()
    ensemble = Ensemble.bag(members, weights=WEIGHTS)
    code = ensemble.encode(x).dense(60).view(-1, 3, 20)
    own = members.encode(x).dense(20)
    assert_close(code, own * torch.tensor(WEIGHTS).abs()[:, None])
    signs = torch.tensor(WEIGHTS).sign()[:, None, None]
    assert_close(ensemble.W_dec[0].view(3, 20, 12), signs * members.W_dec)


def test_the_bias_is_counted_once_not_once_per_member():
    """The released bagging adds each member's whole decoder bias to a code that is already divided by J."""
    members, x = stack(n_seeds=4), activations()
    ensemble = Ensemble.bag(members)
    released = members(x).mean(1) + 3 * (members.b_dec.mean(0) / members.scale)
    empty = SparseCode(torch.zeros(5, 1, 16), torch.zeros(5, 1, 16, dtype=torch.int64))
    assert_close(ensemble.decode(empty)[0, 0], (members.b_dec / members.scale + members.mean).mean(0))
    assert_close(ensemble(x)[:, 0], members(x).mean(1))
    assert_close(Ensemble.bag(members, [1, 3])(x)[:, 0], members(x)[:, [1, 3]].mean(1))
    assert (ensemble(x)[:, 0] - released).abs().max() > 0.1


def test_one_member_is_that_member():
    one, x = stack(n_seeds=1), activations()
    for ensemble in (Ensemble([one]), Ensemble([one], sequential=True)):
        assert_close(ensemble(x), one(x))
        assert_close(ensemble.encode(x).dense(20), one.encode(x).dense(20))


@pytest.mark.parametrize("make", [lambda: Ensemble.bag(stack("relu")), lambda: boosted("relu")], ids=["bag", "boosted"])
def test_it_goes_where_a_dictionary_goes(make):
    """Evaluation and matching against the definitions, the folded form, and the stack of one that it is."""
    ensemble, x = make(), activations()
    quality = evaluate(ensemble, [x[:40], x[40:]])
    x_hat = torch.einsum("j,njd->nd", ensemble.weights, ensemble.outputs(x))
    assert_close(quality.mse[0], (x_hat - x).double().square().sum(1).mean())
    active = torch.cat([code.dense(20)[:, 0] > 0 for code, _ in ensemble.parts(x)], dim=1)
    assert_close(quality.l0[0], active.sum(1).double().mean())
    assert_close(quality.firing_frequency[0], active.double().mean(0))
    overlap = compare(*[Rows(ensemble.W_enc[0].T, ensemble.W_dec[0])] * 2)
    assert overlap.fraction(overlap.shared("strict")) == 1
    assert_close(ensemble.fold_normalisation()(x), ensemble(x))
    assert ensemble.dictionary(0)(x).shape == (64, 1, 12)
    with pytest.raises(InputError, match=r"dictionary\(1\) does not exist: this Ensemble is one"):
        ensemble.dictionary(1)


@pytest.mark.parametrize("architecture", ["topk", "jump_relu"])
def test_checkpoint(tmp_path, architecture):
    ensemble, x = boosted(architecture, weights=WEIGHTS), activations()
    save_ensemble(ensemble, tmp_path / "e.safetensors")
    again = load_ensemble(tmp_path / "e.safetensors")
    assert torch.equal(again(x), ensemble(x))
    assert (again.sequential, again.hook_point, again.config) == (True, "hook", ensemble.config)
    assert [m.seeds for m in again.members] == [m.seeds for m in ensemble.members]
    with pytest.raises(InputError, match="foreign"):
        load_sae(tmp_path / "e.safetensors")


@pytest.mark.parametrize(
    "config",
    [
        Matryoshka(12, 20, "topk", 3, widths=(2, 20), auxk=4),
        Archetypal(12, 20, "topk", 3, n_points=24, unit_norm_decoder=False),
    ],
)
def test_members_of_a_method_make_a_dictionary_without_one(tmp_path, config):
    members, x = SAE.create(config, range(3), "hook"), activations()
    ensemble = Ensemble.bag(members)
    assert ensemble.config == SAEConfig(12, 60, "topk", 9, unit_norm_decoder=config.unit_norm_decoder)
    assert_close(ensemble(x), members(x).mean(1, keepdim=True))
    save_ensemble(ensemble, tmp_path / "e.safetensors")
    again = load_ensemble(tmp_path / "e.safetensors")
    assert torch.equal(again(x), ensemble(x)) and again.members[2].config == config


OTHER_UNITS = Normalisation(torch.zeros(12), 1.0)
REFUSED = [
    ("at least one", lambda: Ensemble([])),
    ("member 0 is a stack of 3", lambda: Ensemble([stack()])),
    ("member 1 has hook point 'other'", lambda: Ensemble([stack(n_seeds=1), stack(n_seeds=1, hook="other")])),
    ("member 1 has architecture 'relu'", lambda: Ensemble([stack(n_seeds=1), stack("relu", 1)])),
    ("normalisation", lambda: Ensemble([stack(n_seeds=1), stack(n_seeds=1, normalisation=OTHER_UNITS)])),
    ("must be 3 finite numbers", lambda: Ensemble.bag(stack(), weights=(1.0, 2.0))),
    ("must be 3 finite numbers", lambda: Ensemble.bag(stack(), weights=(1.0, 2.0, float("nan")))),
    ("must be 3 finite numbers", lambda: Ensemble.bag(stack(), weights=((1.0, 2.0, 3.0),))),
]


@pytest.mark.parametrize("message, make", REFUSED)
def test_what_makes_no_ensemble_is_refused(message, make):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize("make", [lambda: Ensemble.bag(stack(), [0, 1]), lambda: boosted(n_members=2)])
def test_it_can_be_stitched(make):
    """Latents of a wider dictionary inserted into an ensemble, and an ensemble's into a narrower one."""
    ensemble, x = make(), activations()
    small, wide = stack(n_seeds=1, n_latents=10), stack(n_seeds=1, n_latents=50)
    for into, of in ((ensemble, wide), (small, ensemble)):
        change = insert(into, of, [x]).change[0, 0]
        rest, code = x - into(x)[:, 0], of.encode(x).dense(of.config.n_latents)[:, 0]
        for i in (0, 7, of.config.n_latents - 1):
            added = code[:, i, None] * of.W_dec[0, i] / of.scale
            expected = ((rest - added).square().sum(1) - rest.square().sum(1)).mean()
            assert change[i] == pytest.approx(expected.item(), rel=1e-3, abs=1e-4)
