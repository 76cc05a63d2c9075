"""Summaries of several ensembles against what evaluation and the definitions give, and the prediction of the gain."""

import numpy as np
import pytest
import torch
from helpers.ensembles_made import activations, boosted, stack

from sae_utils.analysis.directions import covariance, random_directions
from sae_utils.analysis.ensembles import summary as ensemble_summary
from sae_utils.analysis.ensembles.bagging_gain import OVER_KINDS, correlation, pair_gains, pair_overlaps, slope
from sae_utils.analysis.ensembles.profile import Profile, profile
from sae_utils.analysis.matching.metric import in_metric
from sae_utils.analysis.matching.overlap import from_both_sides
from sae_utils.analysis.statistics import JACKKNIFE, over_seeds
from sae_utils.data.activations import TensorSource
from sae_utils.errors import InputError
from sae_utils.saes import SAEConfig, evaluate
from sae_utils.saes.ensembles import Ensemble
from sae_utils.saes.ensembles.paper_c import Rivals, rival_cells
from sae_utils.saes.training import TrainingConfig
from sae_utils.saes.training.grid import Activations, Cell, train_cells

X = activations(1200)


@pytest.fixture(scope="module")
def bags():
    return [Ensemble.bag(stack(n_seeds=9), [3 * r, 3 * r + 1, 3 * r + 2]) for r in range(3)]


def test_costs_and_intervals_are_those_of_the_ensembles():
    metrics = {"l0": np.array([[4.0, 8.0], [6.0, 10.0]]), "mse": np.array([[3.0, 1.0], [5.0, 2.0]])}
    config = SAEConfig(d_in=3, n_latents=5, k=2)
    weights = 2 * 3 * 5  # of encoder and decoder: six operations each to train, two to pass through
    assert ensemble_summary.costs(metrics, config, 10) == [(5, 60 * weights, 4), (9, 120 * weights, 1.5)]
    assert ensemble_summary.costs(metrics, config, 10, sequential=True)[1] == (9, 140 * weights, 1.5)
    found = ensemble_summary.intervals_of({"bagging": metrics})["bagging"]
    np.testing.assert_array_equal(found["mse"], [over_seeds([3.0, 5.0]).ends, over_seeds([1.0, 2.0]).ends])
    runs = {"boosting": {"stability": np.array([[0.5], [0.4], [0.5], [0.6]])}}
    found = ensemble_summary.intervals_of(runs, ensemble_summary.run_rows)["boosting"]["stability"]
    np.testing.assert_array_equal(found, ensemble_summary.run_rows(runs["boosting"]["stability"]))


def test_reconstruction_is_that_of_the_first_members(bags):
    found = ensemble_summary.reconstruction(ensemble_summary.profiles(bags, X))
    for r, whole in enumerate(bags):
        for n in (1, 3):
            quality = evaluate(Ensemble(list(whole.members)[:n]), [X])
            assert found["mse"][r, n - 1] == pytest.approx(quality.mse.item(), rel=1e-5)
            assert found["fvu"][r, n - 1] == pytest.approx(quality.fvu.item(), rel=1e-5)
            assert found["l0"][r, n - 1] == pytest.approx(quality.l0.item(), rel=1e-6)
            assert found["relative_sparsity"][r, n - 1] == pytest.approx(quality.l0.item() / (20 * n), rel=1e-6)


def test_learned_weights_come_from_the_other_tokens(bags):
    fitted, evaluated = (ensemble_summary.profiles(bags, part) for part in X.split(600))
    found = ensemble_summary.reconstruction(evaluated, fitted)["mse"]
    assert found[1, 2] == pytest.approx(evaluated[1].mse(fitted[1].least_squares(3)))
    assert found[1, 2] > evaluated[1].mse(evaluated[1].least_squares(3))


def both_metrics(ensembles):
    profiles = ensemble_summary.profiles(ensembles, X)
    structure = ensemble_summary.dictionary_metrics(ensembles, profiles, X)
    return structure, ensemble_summary.stabilities(ensembles, profiles)


def test_a_member_by_itself_is_the_mean_over_members(bags):
    """So a bag is above it in explained variance, or equal, whatever the members."""
    profiles = ensemble_summary.profiles(bags, X)
    found, whole = ensemble_summary.single_members(profiles), ensemble_summary.reconstruction(profiles)
    for r, bag in enumerate(bags):
        alone = [evaluate(member, [X]) for member in bag.members]
        assert found["mse"][r, 0] == pytest.approx(np.mean([q.mse.item() for q in alone]), rel=1e-5)
        assert found["l0"][r, 0] == pytest.approx(np.mean([q.l0.item() for q in alone]), rel=1e-6)
        assert found["relative_sparsity"][r, 0] == pytest.approx(found["l0"][r, 0] / 20)
    assert (whole["explained_variance"][:, -1:] >= found["explained_variance"]).all()


def test_metrics_are_of_alive_latents(bags):
    """A latent that never fires changes none of them, whatever its decoder row."""
    with torch.no_grad():
        for bag in bags:
            bag.members[1].b_enc[0, 4] = -100
    before, stable = both_metrics(bags)
    with torch.no_grad():
        for bag in bags:
            bag.W_dec[0, 24] = bag.W_dec[0, 3]
    after, stable_after = both_metrics(bags)
    assert before["alive"][0].tolist() == [20, 39, 59]
    for name, values in before.items():
        np.testing.assert_array_equal(values, after[name])
    for name, values in stable.items():
        np.testing.assert_allclose(values, stable_after[name], atol=1e-6)
    assert (before["diversity"] <= before["alive"]).all()


def test_differences_are_of_the_last_number_of_members():
    values = np.array([[1.0, 5.0], [3.0, 5.0], [2.0, 5.0]])
    found = ensemble_summary.difference({"fvu": values}, {"fvu": values[:, :1] - 1}, "fvu")
    assert found.ends == over_seeds([5.0 - 0, 5 - 2, 5 - 1]).ends


def test_the_gain_of_a_pair_is_half_the_relative_disagreement(bags):
    p = profile(bags[0], X.split(300))
    outputs = bags[0].outputs(X).double()
    mse = (outputs - X.double()[:, None]).square().sum(2).mean(0)
    apart = (outputs[:, 0] - outputs[:, 2]).square().sum(1).mean()
    assert pair_gains(p)[0, 2] == pytest.approx((apart / 4 / ((mse[0] + mse[2]) / 2)).item(), rel=1e-9)


@pytest.mark.parametrize("spread", [covariance([X]), None], ids=["metric of the data", "raw"])
def test_overlaps_of_a_bag_are_those_of_its_stack(bags, spread):
    members = stack(n_seeds=9)
    encoders = members.encoder if spread is None else in_metric(members.encoder, spread)
    alive = torch.ones(3, 20, dtype=torch.bool)
    alive[1, 7] = False
    p = profile(bags[0], X.split(300))
    p.firing_frequency[:] = alive.flatten().numpy()
    both = from_both_sides(encoders[:3], members.W_dec[:3], alive)
    shared = {pair: o.fraction(o.shared("strict")) for pair, o in both.items()}
    found = pair_overlaps(bags[0], p, spread)
    assert found == {(i, j): (shared[i, j] + shared[j, i]) / 2 for i, j in ((0, 1), (0, 2), (1, 2))}


@pytest.mark.parametrize(("common", "expected"), [(0.0, 1.0), (1.0, 0.5), (1e6, 0.0)])
def test_errors_of_a_bag_that_are_independent_are_averaged_away(common, expected):
    """Each member's error is one of its own, of variance 1, and a common one: by the moments of a profile."""
    second = np.zeros((1, 5, 5))  # the activation is 0, so a member's output is its error
    second[0, :4, :4] = common + np.eye(4)
    p = Profile(False, np.zeros((1, 5)), second, np.ones(4), (1, 1, 1, 1))
    assert ensemble_summary.share_of_independent([p])[0] == pytest.approx(expected, abs=1e-5)


def test_ensembles_of_rivals_share_no_member(tmp_path):
    reads = Activations(("hook",), 600)
    single = Cell("single", SAEConfig(12, 16, "topk", 2), "hook", (0, 1, 2, 3), TrainingConfig(600, 100), reads)
    sources = {reads: TensorSource({"hook": X})}
    trained = train_cells(rival_cells(single, 2, 2), sources, tmp_path, progress=False)
    found = ensemble_summary.as_ensembles(Rivals.of(trained, 2, 2))
    sizes = {name: [len(e.members) for e in kind] for name, kind in found.items()}
    assert sizes == {"bagging": [2, 2], "boosting": [2, 2], "expanded": [1, 1]}
    assert [[m.seeds[0] for m in bag.members] for bag in found["bagging"]] == [[0, 1], [2, 3]]
    assert [e.config.n_latents for kind in found.values() for e in kind] == [32] * 6


def test_correlation_over_pairs():
    x = {(i, j): float(i + 2 * j) for i in range(5) for j in range(i + 1, 5)}
    assert correlation(x, {pair: 3 - 2 * v for pair, v in x.items()}).estimate == pytest.approx(-1)
    assert correlation(x, dict.fromkeys(x, 2.0)).estimate == 0
    with pytest.raises(InputError, match="of 4 seeds"):
        correlation({(0, 1): 1.0}, {(0, 1): 1.0})


def test_slope_over_kinds():
    x = {name: float(i) for i, name in enumerate("abcde")}
    found, predicted = slope(x, {name: 1 + 3 * v for name, v in x.items()})
    assert (found.estimate, found.method) == (pytest.approx(3), OVER_KINDS)
    np.testing.assert_allclose(predicted, [1, 4, 7, 10, 13])
    with pytest.raises(InputError, match="at least 4, not 3"):
        slope({k: x[k] for k in "abc"}, x)


def test_boosted_ensembles_have_the_same_summary():
    structure, found = both_metrics([boosted() for _ in range(3)])
    assert structure["connectivity"].shape == structure["connectivity_null"].shape == (3, 3)
    np.testing.assert_allclose(ensemble_summary.run_rows(found["stability"]), 1.0)  # the same three times
    lead = ensemble_summary.run_difference(found["stability"], found["stability_decoders"])
    assert lead.estimate == pytest.approx(found["stability_excess"][0, -1])
    assert lead.low > 0 and lead.method == JACKKNIFE


def test_a_member_that_all_ensembles_share_is_stable_and_others_are_at_their_null():
    """Of three ensembles the second member is the same, the first ones have rows of their own."""
    ensembles = []
    for seed in range(3):
        members = [stack(n_seeds=9).dictionary(seed), stack(n_seeds=9).dictionary(8)]
        with torch.no_grad():
            members[0].W_dec.copy_(random_directions(20, 12, seed)[None])
        ensembles.append(Ensemble(members))
    found = ensemble_summary.member_stabilities(ensembles, ensemble_summary.profiles(ensembles, X))
    assert found["stability"].shape == (4, 2)
    assert found["stability"][:, 1] == pytest.approx(1)
    assert abs(found["stability_excess"][0, 0]) < 0.05 < 0.2 < found["stability_excess"][0, 1]
