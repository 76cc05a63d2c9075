"""Errors by number and weights of members, each against its definition on the outputs themselves."""

import numpy as np
import pytest
import torch
from helpers.ensembles_made import activations, boosted, stack
from helpers.synthetic_activations import planted

from sae_utils.analysis.ensembles.profile import Profile, on_frontier, principal_components, profile
from sae_utils.errors import InputError
from sae_utils.saes import ARCHITECTURES, evaluate
from sae_utils.saes.ensembles import Ensemble

N = 200


def bag(architecture="topk"):
    return Ensemble.bag(stack(architecture))


def profiled(ensemble, x):
    return profile(ensemble, x.split(70))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("make", [bag, boosted], ids=["bag", "boosted"])
def test_errors_and_sparsity_are_those_of_the_outputs(make, architecture):
    ensemble, x = make(architecture), activations(N)
    p, outputs = profiled(ensemble, x), ensemble.outputs(x).double()
    for n in (1, 2, 3):
        combined = outputs[:, :n].sum(1) if ensemble.sequential else outputs[:, :n].mean(1)
        error = (combined - x.double()).square()
        assert p.mse(p.weights(n)) == pytest.approx(error.sum(1).mean().item(), rel=1e-9)
        by_dimension = 1 - error.mean(0) / x.double().var(0, correction=0)
        assert p.explained_variance(p.weights(n)) == pytest.approx(by_dimension.mean().item(), rel=1e-9)
    quality = evaluate(ensemble, [x])
    assert p.mse(p.weights(3)) == pytest.approx(quality.mse.item(), rel=1e-5)
    assert p.fvu(p.weights(3)) == pytest.approx(quality.fvu.item(), rel=1e-5)
    assert p.l0[-1] == pytest.approx(quality.l0.item())
    assert p.l0[0] == pytest.approx(evaluate(ensemble.members[0], [x]).l0.item())


def test_explained_variance_by_hand():
    """Two dimensions, variance 1 and 4, errors 0.5 and 1: the mean of 1 - .5 and 1 - .25; FVU has 1.5 of 5."""
    second = np.zeros((3, 2, 2))
    second[:, 0, 0], second[:, 1, 1] = [0.5, 1.0, 0.0], [1.0, 4.0 + 9.0, 0.0]
    first = np.array([[0.0, 0.0], [0.0, 3.0], [0.0, 0.0]])
    second[:, 0, 1] = second[:, 1, 0] = [0.5, (1 + 13 - 1) / 2, 0.0]  # (y - x)^2 = y^2 - 2 x y + x^2
    p = Profile(False, first, second, np.ones(1), (1,))
    assert p.errors([1.0]) == pytest.approx([0.5, 1.0, 0.0])
    assert p.explained_variance([1.0]) == pytest.approx((0.5 + 0.75) / 2)  # the third does not vary
    assert p.fvu([1.0]) == pytest.approx(1.5 / 5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_ambiguity_identity(architecture):
    """MSE of the mean = mean MSE - mean squared distance from the mean, each summed over the tokens themselves."""
    ensemble, x = bag(architecture), activations(N)
    p, outputs = profiled(ensemble, x), ensemble.outputs(x).double()
    for n in (1, 2, 3):
        members, disagreement = p.ambiguity(n)
        y, mean = outputs[:, :n], outputs[:, :n].mean(1, keepdim=True)
        assert members == pytest.approx((y - x.double()[:, None]).square().sum(2).mean().item(), abs=1e-6)
        assert disagreement == pytest.approx((y - mean).square().sum(2).mean().item(), abs=1e-6)
        assert p.mse(p.weights(n)) == pytest.approx(members - disagreement, abs=1e-6)


@pytest.mark.parametrize("make", [bag, boosted], ids=["bag", "boosted"])
def test_least_squares_weights_are_those_of_the_regression(make):
    ensemble, x = make(), activations(N)
    outputs = ensemble.outputs(x).double()
    expected = np.linalg.lstsq(outputs.permute(0, 2, 1).flatten(0, 1).numpy(), x.double().flatten().numpy())[0]
    p = profiled(ensemble, x)
    found = p.least_squares(3)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    weighted = Ensemble(list(ensemble.members), found.tolist(), ensemble.sequential)
    assert evaluate(weighted, [x]).mse.item() == pytest.approx(p.mse(found), rel=1e-4)
    errors = [p.mse(p.least_squares(n)) for n in (1, 2, 3)]
    assert errors == sorted(errors, reverse=True)  # no member more makes it worse, and no other weights are better
    assert all(error <= p.mse(p.weights(n)) for n, error in enumerate(errors, 1))


def test_the_frontier_by_hand():
    cost, error = np.array([1, 2, 2, 3, 4, 1]), np.array([9, 5, 6, 5, 1, 9])
    assert on_frontier(cost, error).tolist() == [True, True, False, False, True, True]


def test_principal_components_of_the_sample_itself():
    x = planted(500)[0].double()
    centred = x - x.mean(0)
    covariance = centred.T @ centred / len(x)
    singular = torch.linalg.svdvals(centred) ** 2 / len(x)
    np.testing.assert_allclose(principal_components(covariance, covariance)[3], singular[4:].sum(), rtol=1e-9)
    assert principal_components(covariance, 2 * covariance)[-1] == pytest.approx(0, abs=1e-9)


def test_wrong_numbers_are_refused():
    p = profiled(bag(), activations(20))
    with pytest.raises(InputError, match="4 weights do not fit an ensemble of 3"):
        p.mse([1.0] * 4)
    with pytest.raises(InputError, match="n=4 must be 1 to the 3 members"):
        p.least_squares(4)
    with pytest.raises(InputError, match="no activations"):
        profile(bag(), [])
