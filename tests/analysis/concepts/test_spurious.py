from dataclasses import replace

import numpy as np
import pytest
import torch

from sae_utils.analysis.concepts.probing import logistic_probe
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
    scores,
    setting,
    worth_scoring,
)
from sae_utils.data.activations.source import Normalisation
from sae_utils.data.labelled.windows import Quadrants
from sae_utils.errors import InputError
from sae_utils.saes.sae import SAE, SAEConfig, SparseCode

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


def test_a_planted_spurious_direction_is_removed_and_the_target_kept():
    x, codes, directions, quadrants = planted()
    found = setting(x, quadrants)
    assert found.before.mean() < 0.75 and found.before[[0, 1], [1, 0]].max() < 0.5  # worst where the two disagree
    assert found.clean.mean() > 0.95
    assert set(np.argsort(-effects(found, codes, directions))[:2]) == set(SPURIOUS)
    curve = removal_curve(found, x, codes, directions, [0, 2])
    assert (curve[0] == found.before).all()
    assert found.score(curve[0]) == 0
    assert found.score(curve[1]) > 0.9
    assert curve[1].min() > 0.9  # every quadrant, so the target is whole
    # Other way round, the same latents serve as the target and the others are removed.
    turned = setting(x, quadrants.swapped())
    assert set(np.argsort(-effects(turned, codes, directions))[:2]) == set(TARGET)


def test_random_latents_remove_little():
    x, codes, directions, quadrants = planted()
    found = setting(x, quadrants)
    orders = [random_order(codes, quadrants.train, seed) for seed in range(20)]
    scores = [found.score(removal_curve(found, x, codes, directions, [2], order)[0]) for order in orders]
    assert abs(np.mean(scores)) < 0.2


def test_random_order_has_each_latent_that_fires_once():
    _, codes, _, quadrants = planted()
    codes[:, 3] = 0
    order = random_order(codes, quadrants.train, 0)
    assert sorted(order) == [i for i in range(N_LATENTS) if i != 3]
    assert (order != random_order(codes, quadrants.train, 1)).any()


def test_one_of_two_opposed_latents_at_zero_shifts_the_answers_and_at_its_mean_does_not():
    x, codes, directions, quadrants = planted()
    found = setting(x, quadrants)
    order = np.array([SPURIOUS[0]])
    zero, mean = (removal_curve(found, x, codes, directions, [1], order, to_mean)[0] for to_mean in (False, True))
    assert found.score(mean) > found.score(zero)
    level = codes[quadrants.train].reshape(-1, N_LATENTS).mean(0)
    changed = ablate(x, codes, directions, order, level)
    assert changed[quadrants.train.ravel()].mean(0) == pytest.approx(x[quadrants.train.ravel()].mean(0), abs=1e-9)


def test_latents_without_effect_are_left_alone():
    x, codes, directions, quadrants = planted()
    directions[10:] = 0
    found = setting(x, quadrants)
    ten, all_of_them = removal_curve(found, x, codes, directions, [10, N_LATENTS])
    assert (ten == all_of_them).all()


def test_curves_of_a_stack_in_several_settings():
    x, codes, directions, quadrants = planted()
    settings = [setting(x, quadrants), setting(x, quadrants.swapped())]
    codes, directions = np.stack([codes, codes[:, ::-1]], axis=1), np.stack([directions, directions[::-1]])
    found = removal_curves(settings, x, codes, directions, [1, 2, 4])
    assert found.shape == (2, 3, 2, 2, 2)
    expected = removal_curve(settings[1], x, codes[:, 1], directions[1], [1, 2, 4])
    assert (found[1, :, 1] == expected).all()
    assert scores(settings, found)[1, :, 1] == pytest.approx(settings[1].score(expected))
    order = random_order(codes[:, 0], quadrants.train, 3)
    random = removal_curves(settings, x, codes, directions, [2], random_seed=3)
    assert (random[0, :, 0] == removal_curve(settings[0], x, codes[:, 0], directions[0], [2], order)).all()
    assert (removal_curves(settings, x, codes, directions, [1], to_mean=True) != found[:, :1]).any()


def test_score_by_hand():
    found = replace(
        setting(*[planted()[i] for i in (0, 3)]),
        before=np.array([[0.9, 0.3], [0.3, 0.9]]),
        clean=np.array([[0.9, 0.8], [0.8, 0.9]]),
    )
    assert found.harm == pytest.approx(0.25)
    after = np.array([[[0.9, 0.55], [0.55, 0.9]], [[0.5, 0.5], [0.5, 0.5]]])
    assert found.score(after) == pytest.approx([0.5, -0.4])
    assert np.isnan(replace(found, clean=found.before + 0.01).score(after)).all()


def named(found, *attributes):
    """The same setting of another pair of attributes."""
    return replace(found, quadrants=replace(found.quadrants, attributes=attributes))


def test_score_of_a_pair_is_the_mean_over_its_directions():
    x, _, _, quadrants = planted()
    found = setting(x, quadrants)
    settings = [named(found, "a", "b"), named(found, "c", "d"), named(found, "b", "a")]
    after = np.random.default_rng(0).random((2, 3, 2, 2))
    each = scores(settings, after)
    assert pair_scores(settings, after) == pytest.approx(np.stack([(each[:, 0] + each[:, 2]) / 2, each[:, 1]], axis=1))


def test_two_pairs_must_be_left_to_score():
    x, _, _, quadrants = planted()
    found = setting(x, quadrants)
    one, other, harmless = (named(found, *names) for names in (("a", "b"), ("c", "d"), ("c", "d")))
    harmless = replace(harmless, clean=harmless.before + 0.01)
    kept = worth_scoring([one, harmless, other])
    assert kept[0] is one and kept[1] is other and len(kept) == 2
    with pytest.raises(InputError, match="fewer than two pairs: nothing to score"):
        worth_scoring([one, named(found, "b", "a"), harmless])


def test_the_clean_probe_has_as_many_windows_as_the_biased_one_and_from_all_quadrants(monkeypatch):
    x, _, _, quadrants = planted(n=33)
    quadrants = replace(quadrants, train=quadrants.train[..., :21])  # an odd number: the last one is in neither
    fitted, fit = [], LinearProbe.fit
    monkeypatch.setattr(LinearProbe, "fit", lambda x, labels: fitted.append((x, labels)) or fit(x, labels))
    setting(x, quadrants)
    (biased, biased_labels), (clean, clean_labels), (spurious, _) = fitted
    assert len(biased) == len(clean) == 40 and len(spurious) == 84
    for rows, labels, expected in (
        (biased, biased_labels, [[20, 0], [0, 20]]),
        (clean, clean_labels, [[10, 10], [10, 10]]),
    ):
        has = [[(x[quadrants.train[t, s], None] == rows[labels == t]).all(-1).sum() for s in (0, 1)] for t in (0, 1)]
        assert has == expected


def test_effects_are_the_gap_between_classes_times_the_probe_s_weight():
    x, codes, directions, quadrants = planted()
    found = setting(x, quadrants)
    without, with_it = (codes[quadrants.train[:, j].ravel()].mean(0) for j in (0, 1))
    expected = [abs((with_it[i] - without[i]) * (directions[i] @ found.spurious.weight)) for i in range(N_LATENTS)]
    assert effects(found, codes, directions) == pytest.approx(expected)


def test_the_probe_in_raw_units_says_what_scikit_learn_s_says():
    x, _, _, quadrants = planted()
    train, test = x[quadrants.train].reshape(-1, D) * 7 + 3, x[quadrants.test].reshape(-1, D) * 7 + 3
    labels = np.repeat([False, True], len(train) // 2)
    assert (LinearProbe.fit(train, labels).predict(test) == logistic_probe(train, labels).predict(test)).all()


def test_quadrant_accuracy_by_hand():
    probe = LinearProbe(np.array([1.0]), 0.0)
    x = np.array([[[-1.0, -1], [1, -1]], [[1, 1], [-1, -1]]])[..., None]
    assert quadrant_accuracy(probe, x).tolist() == [[1, 0.5], [1, 0]]


@pytest.mark.parametrize("architecture", ["topk", "relu"])
def test_ablation_on_pooled_codes_is_the_mean_of_ablation_at_each_token(architecture):
    """Encode, set latents to zero, decode, add the error: token by token, with a normalisation."""
    settings = {"k": 3} if architecture == "topk" else {"sparsity": 0.1}
    sae = SAE.create(SAEConfig(D, N_LATENTS, architecture, **settings), [0, 1], "h", Normalisation(torch.ones(D), 0.5))
    x = torch.randn(20, D, generator=torch.Generator().manual_seed(0))
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


def test_leace_leaves_no_linear_trace_and_moves_as_little_as_it_can():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 6)) @ rng.normal(size=(6, 6)) + 3
    labels = x @ rng.normal(size=6) + rng.normal(size=500) > 0
    erased = leace(x, labels)(x)
    # Equal class means are what keeps every linear probe from beating a constant (Belrose et al. 2023, theorem 3.1).
    assert erased[labels].mean(0) == pytest.approx(erased[~labels].mean(0), abs=1e-9)
    assert erased.mean(0) == pytest.approx(x.mean(0), abs=1e-9)
    assert np.linalg.matrix_rank(erased - x, tol=1e-9) == 1
    # The closed form of the theorem, written with square roots of the covariance.
    values, vectors = np.linalg.eigh(np.cov(x.T, bias=True))
    root = vectors * np.sqrt(values) @ vectors.T
    u = np.linalg.solve(root, np.cov(x.T, labels.astype(float), bias=True)[:6, 6])
    projection = np.outer(u, u) / (u @ u)
    expected = x - (x - x.mean(0)) @ (root @ projection @ np.linalg.inv(root)).T
    assert erased == pytest.approx(expected, abs=1e-8)
    # Among the affine maps that do so, it moves the data least (theorem 4.3): the plain projection moves them more.
    gap = x[labels].mean(0) - x[~labels].mean(0)
    projected = x - np.outer((x - x.mean(0)) @ gap, gap) / (gap @ gap)
    assert projected[labels].mean(0) == pytest.approx(projected[~labels].mean(0), abs=1e-9)
    assert ((erased - x) ** 2).sum() < ((projected - x) ** 2).sum()


def test_erasure_is_fitted_on_training_windows_and_helps_the_biased_probe():
    x, _, _, quadrants = planted()
    found = setting(x, quadrants)
    after = erased_accuracy(found, x)
    assert found.score(after) > 0.8
    changed = x.copy()
    changed[quadrants.test[1, 1]] += 100  # moves the answers on these windows alone
    assert (erased_accuracy(found, changed)[0] == after[0]).all()
