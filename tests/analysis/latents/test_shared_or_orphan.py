import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from sae_utils.analysis.latents import shared_or_orphan as sharedness
from sae_utils.analysis.matching.membership import Membership
from sae_utils.analysis.statistics import JACKKNIFE
from sae_utils.errors import InputError


def stack(n_seeds=6, n=150, seed=0, weights=(1.5, 0.0, -0.8)):
    """Dictionaries that hold atoms by a chance that depends on the atoms' properties, each measured with noise.

    Latent i of every dictionary is its copy of atom i, or a direction of its own: found where the other has it too.
    """
    rng = np.random.default_rng(seed)
    properties = rng.normal(size=(n, len(weights)))
    chance = 1 / (1 + np.exp(-2 * properties @ np.array(weights)))
    held = rng.random((n_seeds, n)) < chance
    found = held[:, None] & held[None]
    found[np.arange(n_seeds), np.arange(n_seeds)] = False
    values = np.exp(properties) + 0.05 * rng.normal(size=(n_seeds, n, len(weights)))
    alive = rng.random((n_seeds, n)) < 0.95
    return Membership(found & alive[:, None] & alive[None], alive), values


def test_groups_are_at_least_half_of_the_others_and_none():
    found = np.zeros((5, 5, 6), dtype=bool)
    for latent, n_others in enumerate((0, 1, 2, 3, 4, 0)):
        found[0, 1 : 1 + n_others, latent] = True
    alive = np.ones((5, 6), dtype=bool)
    alive[0, 5] = False
    g = sharedness.groups(Membership(found, alive))
    assert g.shared[0].tolist() == [False, False, True, True, True, False]
    assert g.orphan[0].tolist() == [True, False, False, False, False, False]
    assert g.orphan[1].all() and not g.shared[1].any()


def test_statistics_of_the_groups_are_their_definitions():
    m, values = stack()
    values = values[..., 0]
    values[0, :5] = np.nan
    g = sharedness.groups(m)
    differences, orphans, chances = [], [], []
    for s in range(6):
        shared, orphan = (mask[s] & ~np.isnan(values[s]) for mask in (g.shared, g.orphan))
        differences.append(np.median(values[s, shared]) - np.median(values[s, orphan]))
        orphans.append(values[s, orphan].mean())
        u = mannwhitneyu(values[s, shared], values[s, orphan]).statistic
        chances.append(u / (shared.sum() * orphan.sum()))
    assert sharedness.difference(m, values) == pytest.approx(np.mean(differences))
    assert sharedness.of_orphans(m, values, np.mean) == pytest.approx(np.mean(orphans))
    assert sharedness.superiority(m, values) == pytest.approx(np.mean(chances))


def test_interval_leaves_out_a_dictionary_on_both_sides():
    m, values = stack(5)
    found = sharedness.with_interval(sharedness.superiority, m, values[..., 0], (0, 1))
    kept = [[other for other in range(5) if other != seed] for seed in range(5)]
    without = [sharedness.superiority(Membership(m.found[np.ix_(k, k)], m.alive[k]), values[k][..., 0]) for k in kept]
    error = np.sqrt(4 / 5 * ((np.array(without) - np.mean(without)) ** 2).sum())
    assert found.method == JACKKNIFE
    assert found.high - found.estimate == pytest.approx(min(2.776445 * error, 1 - found.estimate))


def test_normal_scores_are_the_same_for_any_monotone_scale_and_leave_out_what_has_no_value():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, 40, 2))
    alive = np.ones((2, 40), dtype=bool)
    alive[1, :3] = False
    values[0, 7, 1] = np.nan
    scores = sharedness.normal_scores(values, alive)
    np.testing.assert_allclose(scores, sharedness.normal_scores(np.exp(3 * values) - 5, alive))
    assert np.isnan(scores[0, 7]).all() and np.isnan(scores[1, :3]).all() and np.isnan(scores).sum() == 8
    np.testing.assert_allclose(np.nanmean(scores, axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(np.nanstd(scores, axis=1), 1)
    order = np.argsort(values[1, 3:, 0])
    assert (np.diff(scores[1, 3:, 0][order]) > 0).all()
    constant = sharedness.normal_scores(np.full((1, 9, 1), 4.0), np.ones((1, 9), dtype=bool))
    np.testing.assert_allclose(constant, 0, atol=1e-9)


def test_regression_finds_the_properties_that_were_planted():
    m, values = stack(n=400)
    found = sharedness.regress(["up", "nothing", "down"], values, m, n_draws=10)
    up, nothing, down = found.coefficients
    assert up.low > 0 and down.high < 0 and nothing.low < 0 < nothing.high
    assert up.estimate > -down.estimate > abs(nothing.estimate)
    assert found.auc.low > 0.8 and found.alone[0].low > 0.5 > found.alone[2].high
    limit = np.abs(found.null_coefficients).max(axis=0)
    assert up.low > limit[0] and down.high < -limit[2] and found.null_coefficients.shape == (10, 3)
    assert found.null_auc.mean() == pytest.approx(0.5, abs=0.03) and found.auc.low > found.null_auc.max()
    g = sharedness.groups(m)
    assert (found.n_shared, found.n_orphans) == (g.shared.sum(), g.orphan.sum())


def test_properties_that_say_nothing_predict_nothing():
    m, values = stack()
    noise = np.random.default_rng(1).normal(size=values.shape)
    found = sharedness.regress(["a", "b", "c"], noise, m, n_draws=1)
    assert found.auc.low < 0.5 < found.auc.high + 0.05 and abs(found.auc.estimate - 0.5) < 0.06
    assert all(abs(c.estimate) < 0.35 for c in found.coefficients)


def test_a_held_out_dictionary_s_labels_are_not_in_the_fit():
    """With labels that only the held-out dictionary makes, a fit without it has nothing to learn from."""
    m, values = stack(4, n=200)
    alone = m.found.copy()
    alone[:, 1:3] = alone[1:3] = False  # only 0 and 3 have latents in common
    m = Membership(alone, m.alive)
    with pytest.raises(InputError, match="all orphans: nothing to tell apart"):
        sharedness.held_out_auc(m, sharedness.normal_scores(values, m.alive))


def test_where_there_is_nothing_to_tell_apart_one_line_says_so():
    m, values = stack(3)
    with pytest.raises(InputError, match="at least 4 seeds, not 3"):
        sharedness.with_interval(sharedness.superiority, m, values[..., 0])
    none = Membership(np.zeros((5, 5, 9), dtype=bool), np.ones((5, 9), dtype=bool))
    with pytest.raises(InputError, match="both a shared latent and an orphan"):
        sharedness.difference(none, np.ones((5, 9)))
    with pytest.raises(InputError, match="all orphans: nothing to tell apart"):
        sharedness.regress(["a"], np.random.default_rng(0).normal(size=(5, 9, 1)), none)
