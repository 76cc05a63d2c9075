from itertools import combinations

import numpy as np
import pytest
import torch
from helpers.planted_stacks import noisy, planted

from sae_utils.analysis.matching import membership
from sae_utils.analysis.matching import overlap as seeds
from sae_utils.analysis.matching.matching import Rows, compare
from sae_utils.analysis.matching.membership import Membership
from sae_utils.analysis.statistics import BOOTSTRAP, JACKKNIFE
from sae_utils.errors import InputError
from sae_utils.report.claims.entries import load_claims


def of_stack(encoders, decoders, alive=None, criterion="notebook"):
    return membership.membership(seeds.from_both_sides(encoders, decoders, alive), criterion)


def some_membership(n_seeds=5, n=40, seed=0):
    """Found by chance, at a rate of its own for each latent, with dead latents."""
    rng = np.random.default_rng(seed)
    alive = rng.random((n_seeds, n)) < 0.9
    found = (rng.random((n_seeds, n_seeds, n)) < rng.random(n)) & alive[:, None]
    found[np.arange(n_seeds), np.arange(n_seeds)] = False
    return Membership(found, alive)


@pytest.mark.parametrize("criterion", ["notebook", "strict", "max_decoder"])
def test_counts_are_a_brute_force_count(criterion):
    encoders, decoders = noisy(5, 30, 16)
    alive = torch.rand(5, 30, generator=torch.Generator().manual_seed(3)) > 0.2
    found = of_stack(encoders, decoders, alive, criterion)
    for base in range(5):
        counts = np.ones(30, dtype=int)
        for other in set(range(5)) - {base}:
            pair = compare(*(Rows(encoders[s], decoders[s], alive[s]) for s in (base, other)))
            counts += pair.shared(criterion)
        expected = np.where(alive[base], counts, 0)
        np.testing.assert_array_equal(found.counts[base], expected)
    assert found.counts.max() > 1 and (found.counts == 1).any(), "the case must be able to tell counts apart"
    shares = [[(c[a] == m).mean() for c, a in zip(found.counts, alive.numpy(), strict=True)] for m in range(1, 6)]
    np.testing.assert_allclose(membership.histogram(found), np.mean(shares, axis=1), rtol=1e-12)


def test_planted_histogram_is_recovered():
    """Of 24 latents, 12 are in all five dictionaries, 6 in two of them at most, the rest in one."""
    held = np.zeros((5, 12 + 15), dtype=bool)
    held[:, :12] = True
    for i in range(15):  # each of fifteen atoms in two dictionaries, three atoms for each pair (s, s + 1)
        held[[i % 5, (i + 1) % 5], 12 + i] = True
    rows = planted(held, n=24, d=96)
    found = of_stack(rows, rows)
    np.testing.assert_allclose(membership.histogram(found), [6 / 24, 6 / 24, 0, 0, 12 / 24])
    np.testing.assert_allclose(membership.only_in_one(found)[[0, -1]], [(6 + 6 * 3 / 4) / 24, 6 / 24])
    assert membership.u_shape(found) == pytest.approx(0)


def test_only_in_one_is_the_mean_over_all_choices():
    found = some_membership()
    for n in range(2, 6):
        shares = []
        for base in range(5):
            for chosen in combinations(sorted(set(range(5)) - {base}), n - 1):
                missing = ~found.found[base, list(chosen)].any(axis=0)
                shares.append(missing[found.alive[base]].mean())
        assert membership.only_in_one(found)[n - 2] == pytest.approx(np.mean(shares), rel=1e-12)
    assert (np.diff(membership.only_in_one(found)) <= 0).all()
    assert membership.only_in_one(found)[-1] == pytest.approx(membership.histogram(found)[0])


def test_random_dictionaries_are_in_one_only():
    rows = planted(np.zeros((4, 0), dtype=bool), n=30, d=64)
    found = of_stack(rows, rows)
    assert membership.histogram(found).tolist() == [1, 0, 0, 0]
    assert membership.only_in_one(found).tolist() == [1, 1, 1]


def test_leaving_out_a_dictionary_is_never_having_had_it():
    encoders, decoders = noisy(5, 20, 12)
    kept = [0, 1, 3, 4]
    left = of_stack(encoders, decoders).without(2)
    alone = of_stack(encoders[kept], decoders[kept])
    np.testing.assert_array_equal(left.found, alone.found)
    np.testing.assert_array_equal(left.counts, alone.counts)


def by_chance(rng, rates, n_seeds):
    """Every dictionary holds each of the atoms by chance; a latent is found where its atom is."""
    held = rng.random((n_seeds, len(rates))) < rates
    found = held[:, None] & held[None]
    found[np.arange(n_seeds), np.arange(n_seeds)] = False
    return Membership(found, held)


def test_above_independence_is_what_chance_at_one_rate_does_not_give():
    rng = np.random.default_rng(2)
    at_one_rate = [membership.above_independence(by_chance(rng, np.full(300, 0.4), 6)) for _ in range(40)]
    assert abs(np.mean(at_one_rate)) < 0.01
    some = by_chance(rng, rng.beta(0.5, 0.5, 300), 6)
    in_none, in_one_less = [], []
    for base in range(6):
        others = some.found[base, [s for s in range(6) if s != base]][:, some.alive[base]]
        in_none.append((~others).all(axis=0).mean())
        in_one_less.append((~others).mean())
    expected = np.mean(in_none) - np.mean(in_one_less) ** 5
    assert membership.above_independence(some) == pytest.approx(expected, rel=1e-12) and expected > 0.02
    found = np.zeros((3, 3, 2), dtype=bool)
    found[[0, 1, 2], [1, 2, 0], 0] = found[[0, 1, 2], [2, 0, 1], 1] = True  # each latent in just one other dictionary
    assert membership.above_independence(Membership(found, np.ones((3, 2), dtype=bool))) == -0.25


def test_intervals_cover_at_least_as_often_as_they_say():
    rng = np.random.default_rng(0)
    rates = rng.beta(0.5, 0.5, 150)  # atoms found rarely or nearly always, as in the paper
    runs = [by_chance(rng, rates, 6) for _ in range(150)]
    truth = np.mean([membership.histogram(m) for m in runs], axis=0)
    curve = np.mean([membership.only_in_one(m) for m in runs], axis=0)
    u = np.mean([membership.u_shape(m) for m in runs])

    def covered(intervals, true):
        hits = [[i.low <= t <= i.high for i, t in zip(intervals(m), true, strict=True)] for m in runs]
        return np.mean(hits, axis=0)

    assert (covered(membership.histogram_intervals, truth) > 0.91).all()  # 0.95 less two standard errors of 0.018
    assert (covered(membership.only_in_one_intervals, curve) > 0.91).all()
    found = [membership.interval(m, membership.u_shape) for m in runs]
    assert np.mean([i.low <= u <= i.high for i in found]) > 0.91
    assert found[0].method == JACKKNIFE and np.median([i.high - i.low for i in found]) < 0.4


@pytest.mark.parametrize(("floor", "scale", "exponent"), [(0.27, 0.59, 0.92), (0.05, 0.9, 0.5), (0.0, 0.7, 0.35)])
def test_fit_recovers_known_parameters(floor, scale, exponent):
    n = np.arange(2, 10)
    law = membership.fit_power_law(n, floor + scale * n**-exponent)
    assert (law.floor, law.scale, law.exponent) == pytest.approx((floor, scale, exponent), abs=2e-4)
    assert law.residual < 1e-6
    np.testing.assert_allclose(law([1.0, 4.0]), floor + scale * np.array([1, 4.0]) ** -exponent, atol=1e-3)
    plain = membership.fit_power_law(n, floor + scale * n**-exponent, offset=False)
    assert plain.floor == 0 and (plain.residual > 1e-3) == (floor > 0)


def test_numbers_of_the_paper_s_curve_are_those_in_the_claims():
    curve = [0.583, 0.484, 0.436, 0.406, 0.385, 0.370, 0.358, 0.348]
    law = membership.fit_power_law(np.arange(2, 10), np.array(curve))
    assert (law.floor, law.scale, law.exponent) == pytest.approx((0.271, 0.589, 0.918), abs=1e-3)
    assert curve[-1] - curve[0] ** 8 == pytest.approx(load_claims()["A-5"].number, abs=1e-3)
    assert law.floor == pytest.approx(load_claims()["A-6"].number, abs=1e-3)


def test_floor_of_a_stack_is_found_where_there_is_one_and_not_where_the_curve_is_straight():
    rng = np.random.default_rng(1)
    with_floor = by_chance(rng, np.repeat([0.0, 0.5], 400), 7)
    own = np.ones((7, 120), dtype=bool)  # as many latents again that no other dictionary has
    found = np.concatenate([with_floor.found, np.zeros((7, 7, 120), dtype=bool)], axis=2)
    fit = membership.fit_only_in_one(Membership(found, np.concatenate([with_floor.alive, own], axis=1)))
    share = np.mean(120 / (120 + with_floor.alive.sum(1)))
    assert fit.floor_is_identified and fit.floor.low <= share <= fit.floor.high
    assert fit.law.residual < fit.plain.residual
    assert fit.floor.estimate == fit.law.floor and fit.exponent.low <= fit.law.exponent <= fit.exponent.high
    slow = by_chance(rng, rng.beta(0.3, 1.0, 1500), 7)  # ever rarer atoms: the share goes on falling
    assert not membership.fit_only_in_one(slow).floor_is_identified


def test_too_few_dictionaries_are_refused():
    with pytest.raises(InputError, match="at least 5 dictionaries, not 4"):
        membership.fit_only_in_one(some_membership(4))
    with pytest.raises(InputError, match="3 parameters cannot be fitted to 2 points"):
        membership.fit_power_law(np.arange(2, 4), np.array([0.5, 0.4]))


def test_two_dictionaries_have_the_bootstrap_over_latents():
    m = some_membership(2, 300)
    shares, alone = membership.histogram_intervals(m), membership.only_in_one_intervals(m)
    assert [i.estimate for i in shares] == pytest.approx(membership.histogram(m))
    assert len(alone) == 1 and alone[0] == shares[0] and alone[0].method == BOOTSTRAP
    assert 0 < shares[0].low < shares[0].estimate < shares[0].high < 1


def test_what_claims_ask_takes_four_dictionaries():
    assert membership.of_claims(some_membership(3)) == {}
    m = some_membership(4)
    assert membership.of_claims(m) == {
        "u_shape": membership.interval(m, membership.u_shape),
        "only_in_one_above_independence": membership.interval(m, membership.above_independence),
    }
