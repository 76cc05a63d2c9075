from dataclasses import astuple
from itertools import combinations

import numpy as np
import pytest
import torch
from helpers.planted_stacks import noisy, planted

from sae_utils.analysis.matching import membership
from sae_utils.analysis.matching import overlap as seeds
from sae_utils.analysis.matching.matching import Rows, compare
from sae_utils.analysis.matching.membership import ChanceLaw, Membership, PowerLaw
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
    assert membership.u_shape(found) == pytest.approx(6 / 24 - (6 + 0 + 0) / 24 / 3)
    assert membership.kept(found) == pytest.approx(6 / (6 + 6 * 3 / 4))


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


def test_kept_is_what_the_others_lack_too_and_little_where_each_finds_latents_by_chance():
    rng = np.random.default_rng(2)
    some = by_chance(rng, rng.beta(0.5, 0.5, 300), 6)
    in_none, in_one_less = [], []
    for base in range(6):
        others = some.found[base, [s for s in range(6) if s != base]][:, some.alive[base]]
        in_none.append((~others).all(axis=0).mean())
        in_one_less.append((~others).mean())
    assert membership.kept(some) == pytest.approx(np.mean(in_none) / np.mean(in_one_less), rel=1e-12)
    at_one_rate = [membership.kept(by_chance(rng, np.full(300, 0.4), 6)) for _ in range(40)]
    assert np.mean(at_one_rate) == pytest.approx(0.6**4, abs=0.01)
    everywhere = Membership(~np.eye(3, dtype=bool)[..., None].repeat(4, 2), np.ones((3, 4), dtype=bool))
    assert np.isnan(membership.kept(everywhere))


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


@pytest.mark.parametrize(
    "law",
    [
        *(PowerLaw(*p) for p in [(0.27, 0.59, 0.92), (0.05, 0.9, 0.5), (0.0, 0.7, 0.35)]),
        *(ChanceLaw(*p) for p in [(0.3, 1.0), (0.5, 0.5), (2.0, 7.0)]),
    ],
)
def test_fit_recovers_known_parameters(law):
    n = np.arange(2, 10)
    found = membership.fit(type(law), n, law(n))
    assert astuple(found) == pytest.approx(astuple(law), abs=2e-3)
    np.testing.assert_allclose(found(np.array([4.0, 20.0])), law(np.array([4, 20])), atol=1e-4)
    assert membership.prediction_error(type(law), law(n)) < 1e-5


def test_chance_law_is_the_mean_over_latents_of_what_all_others_miss():
    chances = np.random.default_rng(0).beta(0.6, 1.4, 400_000)
    n = np.arange(1, 8)
    np.testing.assert_allclose(ChanceLaw(0.6, 1.4)(n), [np.mean((1 - chances) ** (k - 1)) for k in n], atol=3e-3)


def test_numbers_of_the_paper_s_figures_are_those_in_the_claims():
    claims = load_claims()
    curve = np.array([0.583, 0.484, 0.436, 0.406, 0.385, 0.370, 0.358, 0.348])
    law = membership.fit(PowerLaw, np.arange(2, 10), curve)
    assert astuple(law) == pytest.approx((0.271, 0.589, 0.918), abs=1e-3)
    gain = membership.prediction_error(ChanceLaw, curve) - membership.prediction_error(PowerLaw, curve)
    assert gain == pytest.approx(claims["A-6"].number, abs=1e-4)
    assert curve[-1] / curve[0] == pytest.approx(claims["A-5"].number, abs=1e-3)
    histogram = np.array([34.8, 7.8, 6.4, 6.0, 5.9, 6.3, 6.9, 8.7, 17.3]) / 100
    assert histogram[-1] - histogram[1:-1].mean() == pytest.approx(claims["A-4"].number, abs=1e-3)


def test_a_share_that_falls_to_nothing_as_a_power_is_no_floor():
    curve = 0.3 * np.arange(1, 9) ** -0.5
    errors = {law: membership.prediction_error(law, curve) for law in (PowerLaw, membership.BarePowerLaw, ChanceLaw)}
    assert min(errors[membership.BarePowerLaw], errors[ChanceLaw]) < errors[PowerLaw]
    found = membership.fit(membership.BarePowerLaw, np.arange(1, 9), curve)
    assert (found.scale, found.exponent) == pytest.approx((0.3, 0.5), rel=1e-6)


def test_the_law_with_a_floor_predicts_better_where_there_is_a_floor_and_worse_where_there_is_none():
    rng = np.random.default_rng(1)
    with_floor = by_chance(rng, np.repeat([0.0, 0.5], 400), 8)
    own = np.ones((8, 120), dtype=bool)  # as many latents again that no other dictionary has
    found = np.concatenate([with_floor.found, np.zeros((8, 8, 120), dtype=bool)], axis=2)
    floor = Membership(found, np.concatenate([with_floor.alive, own], axis=1))
    assert membership.of_claims(floor)["floor_gain"].low > 0
    share = np.mean(120 / (120 + with_floor.alive.sum(1)))
    law = membership.fit_first(PowerLaw, membership.only_in_one(floor))
    assert law.floor < share < membership.only_in_one(floor)[-1] + 1e-9
    found = rng.random((8, 8, 20_000)) < rng.beta(0.5, 0.5, (8, 1, 20_000))  # ever fewer are missed, none by nature
    slow = Membership(found & ~np.eye(8, dtype=bool)[..., None], np.ones((8, 20_000), dtype=bool))
    assert membership.of_claims(slow)["floor_gain"].high < 0


def test_too_few_points_are_refused():
    with pytest.raises(InputError, match="3 parameters cannot be fitted to 2 points"):
        membership.fit(PowerLaw, np.arange(2, 4), np.array([0.5, 0.4]))


def test_two_dictionaries_have_the_bootstrap_over_latents():
    m = some_membership(2, 300)
    shares, alone = membership.histogram_intervals(m), membership.only_in_one_intervals(m)
    assert [i.estimate for i in shares] == pytest.approx(membership.histogram(m))
    assert len(alone) == 1 and alone[0] == shares[0] and alone[0].method == BOOTSTRAP
    assert 0 < shares[0].low < shares[0].estimate < shares[0].high < 1


def test_what_claims_ask_takes_four_dictionaries_and_the_laws_seven():
    assert membership.of_claims(some_membership(3)) == {}
    for n_seeds in (4, 6, 7):
        m = some_membership(n_seeds)
        found = membership.of_claims(m)
        assert list(found) == ["u_shape", "only_in_one_kept", "floor_gain"]
        assert found["u_shape"] == membership.interval(m, membership.u_shape)
        assert found["only_in_one_kept"] == membership.interval(m, membership.kept, (0.0, 1.0))
        assert np.isnan(found["floor_gain"].estimate) == (n_seeds < membership.MIN_SEEDS)
    assert found["floor_gain"] == membership.interval(m, membership.floor_gain)
