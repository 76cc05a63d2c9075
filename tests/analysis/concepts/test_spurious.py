from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.ensembles_made import activations, stack
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sae_utils.analysis.concepts.spurious import (
    LinearProbe,
    ablate,
    effects,
    erased_accuracy,
    latent_directions,
    leace,
    pair_scores,
    quadrant_accuracy,
    random_order,
    removal_curve,
    removal_curves,
    setting,
    worth_scoring,
)
from sae_utils.data.labelled import Quadrants
from sae_utils.errors import InputError
from sae_utils.saes import SparseCode

D, N_LATENTS = 12, 30
TARGET, SPURIOUS = (4, 5), (8, 9)  # latents that fire for and against the attribute


def planted(seed=0, n=240):
    """Pooled activations, codes and directions: the target on axis 0, the spurious attribute, twice as large, on 1.

    ``n`` windows of each quadrant, of which two thirds are for training. Other latents fire at random.
    """
    rng = np.random.default_rng(seed)
    rows = rng.permutation(4 * n).reshape(2, 2, n)
    codes = np.zeros((4 * n, N_LATENTS))
    directions = 0.2 * rng.normal(size=(N_LATENTS, D))
    codes[:] = rng.random(codes.shape) * (rng.random(codes.shape) < 0.4)
    for axis, (latents, size) in enumerate(((TARGET, 1.0), (SPURIOUS, 2.0))):
        directions[list(latents)] = 0
        directions[list(latents), axis] = size, -size
        for value in (0, 1):
            members = (rows[value] if axis == 0 else rows[:, value]).ravel()
            codes[members, latents[0]] = value
            codes[members, latents[1]] = 1 - value
    x = codes @ directions + 0.3 * rng.normal(size=(4 * n, D))  # the noise is the error of the dictionary
    return x, codes, directions, Quadrants(("target", "spurious"), rows[..., : 2 * n // 3], rows[..., 2 * n // 3 :])


X, CODES, DIRECTIONS, QUADRANTS = planted()
SETTING = setting(X, QUADRANTS)


def removed(n, **how):
    """The score with the first n latents ablated."""
    return SETTING.score(removal_curve(SETTING, X, CODES, DIRECTIONS, [n], **how)[0])


def named(*attributes):
    """The same setting of another pair of attributes."""
    return replace(SETTING, quadrants=replace(QUADRANTS, attributes=attributes))


def test_a_planted_spurious_direction_is_removed_and_the_target_kept():
    before = SETTING.before
    assert before.mean() < 0.75 and before[[0, 1], [1, 0]].max() < 0.5  # worst where the two disagree
    assert SETTING.clean.mean() > 0.95
    assert set(np.argsort(-effects(SETTING, CODES, DIRECTIONS))[:2]) == set(SPURIOUS)
    curve = removal_curve(SETTING, X, CODES, DIRECTIONS, [0, 2])
    assert (curve[0] == before).all() and SETTING.score(curve[0]) == 0
    assert SETTING.score(curve[1]) > 0.9
    assert curve[1].min() > 0.9  # every quadrant, so the target is whole
    # Other way round, the same latents serve as the target and the others are removed.
    turned = setting(X, QUADRANTS.swapped())
    assert set(np.argsort(-effects(turned, CODES, DIRECTIONS))[:2]) == set(TARGET)


def test_random_latents_that_fire_remove_little():
    codes = CODES.copy()
    codes[:, 3] = 0
    orders = [random_order(codes, QUADRANTS.train, seed) for seed in range(20)]
    assert sorted(orders[0]) == [i for i in range(N_LATENTS) if i != 3]
    assert (orders[0] != orders[1]).any()
    assert abs(np.mean([removed(2, order=order) for order in orders])) < 0.2


def test_one_of_two_opposed_latents_at_zero_shifts_the_answers_and_at_its_mean_does_not():
    order = np.array([SPURIOUS[0]])
    assert removed(1, order=order, to_mean=True) > removed(1, order=order)
    level = CODES[QUADRANTS.train].reshape(-1, N_LATENTS).mean(0)
    changed = ablate(X, CODES, DIRECTIONS, order, level)
    rows = QUADRANTS.train.ravel()
    assert changed[rows].mean(0) == pytest.approx(X[rows].mean(0), abs=1e-9)


def test_latents_without_effect_are_left_alone():
    directions = DIRECTIONS.copy()
    directions[10:] = 0
    ten, all_of_them = removal_curve(SETTING, X, CODES, directions, [10, N_LATENTS])
    assert (ten == all_of_them).all()


def test_curves_of_a_stack_in_several_settings():
    settings = [SETTING, setting(X, QUADRANTS.swapped())]
    codes, directions = np.stack([CODES, CODES[:, ::-1]], axis=1), np.stack([DIRECTIONS, DIRECTIONS[::-1]])
    found = removal_curves(settings, X, codes, directions, [1, 2, 4])
    assert found.shape == (2, 3, 2, 2, 2)
    assert (found[1, :, 1] == removal_curve(settings[1], X, codes[:, 1], directions[1], [1, 2, 4])).all()
    order = random_order(CODES, QUADRANTS.train, 3)
    random = removal_curves(settings, X, codes, directions, [2], random_seed=3)
    assert (random[0, :, 0] == removal_curve(SETTING, X, CODES, DIRECTIONS, [2], order)).all()
    assert (removal_curves(settings, X, codes, directions, [1], to_mean=True) != found[:, :1]).any()


def test_score_by_hand():
    before, clean = np.array([[0.9, 0.3], [0.3, 0.9]]), np.array([[0.9, 0.8], [0.8, 0.9]])
    found = replace(SETTING, before=before, clean=clean)
    assert found.harm == pytest.approx(0.25)
    after = np.array([[[0.9, 0.55], [0.55, 0.9]], [[0.5, 0.5], [0.5, 0.5]]])
    assert found.score(after) == pytest.approx([0.5, -0.4])
    assert np.isnan(replace(found, clean=before + 0.01).score(after)).all()


def test_score_of_a_pair_is_the_mean_over_its_directions():
    settings = [named("a", "b"), named("c", "d"), named("b", "a")]
    after = np.random.default_rng(0).random((2, 3, 2, 2))
    a_b, c_d, b_a = (SETTING.score(after[:, i]) for i in range(3))
    assert pair_scores(settings, after) == pytest.approx(np.stack([(a_b + b_a) / 2, c_d], axis=1))


def test_two_pairs_must_be_left_to_score():
    one, other = named("a", "b"), named("c", "d")
    harmless = replace(other, clean=other.before + 0.01)
    kept = worth_scoring([one, harmless, other])
    assert kept[0] is one and kept[1] is other and len(kept) == 2
    with pytest.raises(InputError, match="fewer than two pairs: nothing to score"):
        worth_scoring([one, named("b", "a"), harmless])


def test_the_clean_probe_has_as_many_windows_as_the_biased_one_and_from_all_quadrants(monkeypatch):
    x, _, _, quadrants = planted(n=33)
    quadrants = replace(quadrants, train=quadrants.train[..., :21])  # an odd number: the last one is in neither
    fitted, fit = [], LinearProbe.fit
    monkeypatch.setattr(LinearProbe, "fit", lambda x, labels: fitted.append((x, labels)) or fit(x, labels))
    setting(x, quadrants)
    biased, clean, spurious = fitted
    assert len(biased[0]) == len(clean[0]) == 40 and len(spurious[0]) == 84
    for (rows, labels), expected in ((biased, [[20, 0], [0, 20]]), (clean, [[10, 10], [10, 10]])):
        has = [[(x[quadrants.train[t, s], None] == rows[labels == t]).all(-1).sum() for s in (0, 1)] for t in (0, 1)]
        assert has == expected


def test_effects_are_the_gap_between_classes_times_the_probe_s_weight():
    without, with_it = (CODES[QUADRANTS.train[:, j].ravel()].mean(0) for j in (0, 1))
    expected = np.abs((with_it - without) * (DIRECTIONS @ SETTING.spurious.weight))
    assert effects(SETTING, CODES, DIRECTIONS) == pytest.approx(expected)


def test_the_probe_in_raw_units_says_what_scikit_learn_s_says():
    train, test = (X[rows].reshape(-1, D) * 7 + 3 for rows in (QUADRANTS.train, QUADRANTS.test))
    labels = np.repeat([False, True], len(train) // 2)
    expected = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(train, labels).predict(test)
    assert (LinearProbe.fit(train, labels).predict(test) == expected).all()


def test_quadrant_accuracy_by_hand():
    probe = LinearProbe(np.array([1.0]), 0.0)
    x = np.array([[[-1.0, -1], [1, -1]], [[1, 1], [-1, -1]]])[..., None]
    assert quadrant_accuracy(probe, x).tolist() == [[1, 0.5], [1, 0]]


@pytest.mark.parametrize("architecture", ["topk", "relu"])
def test_ablation_on_pooled_codes_is_the_mean_of_ablation_at_each_token(architecture):
    """Encode, set latents to zero, decode, add the error: token by token, with a normalisation."""
    sae, x = stack(architecture, 2, D, N_LATENTS), activations(20, D)
    latents = np.array([1, 7, 20, 3, 11])
    code = sae.encode(x)
    removed = torch.isin(code.indices, torch.from_numpy(latents))
    changed = sae.decode(SparseCode(code.values.masked_fill(removed, 0.0), code.indices))
    expected = (x[:, None] - sae.decode(code) + changed).mean(0)
    directions, dense = latent_directions(sae), code.dense(N_LATENTS).mean(0).numpy()
    assert directions.shape == (2, N_LATENTS, D)
    for member in range(2):
        found = ablate(x.mean(0).numpy(), dense[member], directions[member], latents)
        assert found == pytest.approx(expected[member].detach().numpy(), abs=1e-5)


def test_leace_leaves_no_linear_trace_and_is_the_closed_form():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 6)) @ rng.normal(size=(6, 6)) + 3
    labels = x @ rng.normal(size=6) + rng.normal(size=500) > 0
    erased = leace(x, labels)(x)
    # Equal class means are what keeps every linear probe from beating a constant (Belrose et al. 2023, theorem 3.1).
    assert erased[labels].mean(0) == pytest.approx(erased[~labels].mean(0), abs=1e-9)
    assert erased.mean(0) == pytest.approx(x.mean(0), abs=1e-9)
    assert np.linalg.matrix_rank(erased - x, tol=1e-9) == 1
    # Theorem 4.3, the least change that does so, written with square roots of the covariance.
    values, vectors = np.linalg.eigh(np.cov(x.T, bias=True))
    root = vectors * np.sqrt(values) @ vectors.T
    u = np.linalg.solve(root, np.cov(x.T, labels.astype(float), bias=True)[:6, 6])
    projection = np.outer(u, u) / (u @ u)
    expected = x - (x - x.mean(0)) @ (root @ projection @ np.linalg.inv(root)).T
    assert erased == pytest.approx(expected, abs=1e-8)


def test_erasure_is_fitted_on_training_windows_and_helps_the_biased_probe():
    after = erased_accuracy(SETTING, X)
    assert SETTING.score(after) > 0.8
    changed = X.copy()
    changed[QUADRANTS.test[1, 1]] += 100  # moves the answers on these windows alone
    assert (erased_accuracy(SETTING, changed)[0] == after[0]).all()
