from dataclasses import replace
from itertools import combinations, permutations

import numpy as np
import pytest
import torch
from helpers.planted_stacks import noisy, planted
from scipy.optimize import linear_sum_assignment

from sae_utils.analysis.directions import null_stacks
from sae_utils.analysis.matching import criteria
from sae_utils.analysis.matching import overlap as seeds
from sae_utils.analysis.matching.criteria import AGAINST_NULL, CONTRASTS, CRITERIA, means, measure
from sae_utils.analysis.matching.overlap import from_both_sides
from sae_utils.analysis.statistics import BOOTSTRAP, JACKKNIFE, over_pairs
from sae_utils.errors import InputError

N_SEEDS = 4


def cosines(stack, i, j):
    a, b = (stack[s].double().numpy() / np.linalg.norm(stack[s].double().numpy(), axis=1)[:, None] for s in (i, j))
    return a @ b.T


def partners(stack, i, j):
    return linear_sum_assignment(-cosines(stack, i, j))[1]


def mean_of_pairs(value):
    return np.mean([value(i, j) for i, j in permutations(range(N_SEEDS), 2)])


def matched(stack, i, j):
    return cosines(stack, i, j)[np.arange(stack.shape[1]), partners(stack, i, j)]


def defined(enc, dec, t=0.7):
    """Every criterion of PAPERS.md A.3, B.3, C.3 and E, written out once more."""

    def same(i, j):
        return partners(enc, i, j) == partners(dec, i, j)

    def both(i, j):
        return (matched(enc, i, j) > t) & (matched(dec, i, j) > t)

    def near(stack, i, j):
        return cosines(stack, i, j).max(1)

    def stability(run):
        others = np.concatenate([cosines(dec, run, j) for j in range(N_SEEDS) if j != run], axis=1)
        return others.max(1).mean()

    def home(stack, i, j, k):
        return partners(stack, k, i)[partners(stack, j, k)[partners(stack, i, j)]] == np.arange(stack.shape[1])

    def agreeing(i, j, k):
        at_j = partners(dec, i, j)
        at_k = partners(dec, j, k)[at_j]
        return same(i, j) & same(j, k)[at_j] & same(k, i)[at_k]

    triples = list(combinations(range(N_SEEDS), 3))
    return {
        "shared_strict": mean_of_pairs(lambda i, j: np.mean(both(i, j) & same(i, j))),
        "shared_notebook": mean_of_pairs(lambda i, j: np.mean(both(i, j))),
        "shared_max_cosine": mean_of_pairs(lambda i, j: np.mean((near(enc, i, j) > t) & (near(dec, i, j) > t))),
        "shared_decoder_only": mean_of_pairs(lambda i, j: np.mean(matched(dec, i, j) > t)),
        "shared_max_decoder": mean_of_pairs(lambda i, j: np.mean(near(dec, i, j) > t)),
        "decoder_cosine": mean_of_pairs(lambda i, j: matched(dec, i, j).mean()),
        "stability": np.mean([stability(run) for run in range(N_SEEDS)]),
        "agree": mean_of_pairs(lambda i, j: np.mean(same(i, j))),
        "cycle_decoder": np.mean([home(dec, *triple).mean() for triple in triples]),
        "cycle_encoder": np.mean([home(enc, *triple).mean() for triple in triples]),
        "cycle_agreeing": np.mean([home(dec, *triple)[agreeing(*triple)].mean() for triple in triples]),
    }


@pytest.mark.parametrize("seed", range(3))
def test_every_criterion_is_its_definition(seed):
    encoders, decoders = noisy(N_SEEDS, 40, 14, seed=seed, noise=2.0)
    expected, found = defined(encoders, decoders), means(from_both_sides(encoders, decoders))
    assert set(expected) == set(CRITERIA)
    for name in CRITERIA:
        assert 0.05 < expected[name] < 0.97, "the case must be able to tell criteria apart"
        assert found[name] == pytest.approx(expected[name], rel=1e-9), name


def test_intervals_leave_out_one_dictionary_with_all_that_it_took_part_in():
    encoders, decoders = noisy(5, 30, 14, noise=1.3)
    pairs = from_both_sides(encoders, decoders)
    whole, estimates = measure(pairs), means(pairs)
    each = []
    for seed in range(5):
        kept = [s for s in range(5) if s != seed]
        each.append(means(from_both_sides(encoders[kept], decoders[kept])))
    for name in CRITERIA:
        without = np.array([found[name] for found in each])
        half = 2.776445 * np.sqrt(4 / 5 * np.square(without - without.mean()).sum())  # t, 4 degrees, 95 %
        assert whole[name].method == JACKKNIFE
        assert whole[name].estimate == pytest.approx(estimates[name])
        assert whole[name].low == pytest.approx(max(whole[name].estimate - half, 0), rel=1e-6)
        assert whole[name].high == pytest.approx(min(whole[name].estimate + half, 1), rel=1e-6)


def test_copies_share_everything_and_planted_overlap_is_recovered():
    held = np.zeros((N_SEEDS, 18), dtype=bool)
    for count, expected in ((18, 1.0), (12, 12 / 18)):
        held[:] = np.arange(18) < count
        rows = planted(held, n=18, d=96)
        found = means(from_both_sides(rows, rows))
        assert [found[f"shared_{c}"] for c in ("strict", "notebook", "decoder_only", "max_decoder")] == [expected] * 4
        assert found["agree"] == found["cycle_agreeing"] / found["cycle_decoder"] == 1
        assert found["cycle_decoder"] >= expected and found["decoder_cosine"] > expected - 1e-12


def test_dead_latents_take_no_part():
    encoders, decoders = noisy(N_SEEDS, 30, 14, noise=1.3)
    alive = torch.ones(N_SEEDS, 30, dtype=torch.bool)
    for s in range(N_SEEDS):
        alive[s, torch.randperm(30, generator=torch.Generator().manual_seed(s))[:6]] = False
    kept = torch.stack([decoders[s][alive[s]] for s in range(N_SEEDS)])
    kept_encoders = torch.stack([encoders[s][alive[s]] for s in range(N_SEEDS)])
    found = means(from_both_sides(encoders, decoders, alive))
    assert found == pytest.approx(means(from_both_sides(kept_encoders, kept)))


def test_unequal_numbers_of_alive_latents_leave_some_without_a_partner():
    encoders, decoders = noisy(N_SEEDS, 30, 14)
    alive = torch.arange(30) < torch.tensor([30, 20, 25, 30])[:, None]
    overlaps = from_both_sides(encoders, decoders, alive)
    triple = overlaps[0, 1], overlaps[1, 2], overlaps[2, 0]
    start = np.arange(30)
    by_hand = []
    for latent in start:
        at = latent
        for overlap in triple:
            at = overlap.decoder.partner[at] if at >= 0 else -1
        by_hand.append(at == latent)
    assert criteria.returning(triple, "decoder").tolist() == by_hand
    assert not criteria.agreeing(triple)[overlaps[0, 1].decoder.partner < 0].any()
    assert overlaps[0, 1].counted.sum() == 30 and sum(by_hand) <= 20
    assert all(0 <= value <= 1 for value in means(overlaps).values())


def test_the_pair_from_the_second_side_is_the_pair_compared_the_other_way_round():
    encoders, decoders = noisy(2, 30, 14, noise=1.3)
    alive = torch.rand(2, 30, generator=torch.Generator().manual_seed(1)) > 0.2
    turned = from_both_sides(encoders, decoders, alive)[1, 0]
    afresh = seeds.compare(*(seeds.Rows(encoders[s], decoders[s], alive[s]) for s in (1, 0)))
    for name in ("decoder", "encoder", "decoder_nearest", "encoder_nearest"):
        np.testing.assert_array_equal(getattr(turned, name).partner, getattr(afresh, name).partner)
        np.testing.assert_allclose(getattr(turned, name).cosine, getattr(afresh, name).cosine, rtol=1e-12)
    np.testing.assert_array_equal(turned.counted, afresh.counted)


def test_random_dictionaries():
    stacks = null_stacks((N_SEEDS, 60), {"activations": torch.diag(torch.linspace(0.1, 1, 24))}, seed=0)
    found = {kind: means(from_both_sides(*stack)) for kind, stack in stacks.items()}
    assert found["uniform_tied"]["agree"] == found["activations_tied"]["agree"] == 1
    assert found["uniform_independent"]["agree"] < 0.1 and found["uniform_independent"]["cycle_decoder"] < 0.2
    for kind in found:
        assert found[kind]["shared_strict"] < 0.05
        assert found[kind]["stability"] > found[kind]["decoder_cosine"] > 0.2  # a maximum over many is far from 0
        assert means(from_both_sides(*stacks[kind]), AGAINST_NULL)["unshared_cosine"] > 0.2  # so 0 is no bound
    assert found["activations_tied"]["decoder_cosine"] > found["uniform_tied"]["decoder_cosine"]


def test_contrasts_are_differences_of_the_criteria():
    pairs = from_both_sides(*noisy(N_SEEDS, 40, 14, noise=1.3))
    found, contrast = means(pairs), means(pairs, CONTRASTS)
    assert contrast["mean_cosine_above_strict"] == pytest.approx(found["decoder_cosine"] - found["shared_strict"])
    assert contrast["max_decoder_above_strict"] == pytest.approx(found["shared_max_decoder"] - found["shared_strict"])
    loose = [replace(o, threshold=0.55) for o in pairs.values()]
    gains = [o.shared("max_cosine").mean() / o.shared("notebook").mean() - 1 for o in loose]
    assert contrast["max_cosine_gain"] == pytest.approx(np.mean(gains)) and np.mean(gains) > 0
    rest = [o.decoder.cosine[~o.shared("strict")].mean() for o in pairs.values()]
    assert means(pairs, AGAINST_NULL)["unshared_cosine"] == pytest.approx(np.mean(rest))


def test_less_its_null_is_each_pair_s_difference():
    pairs, null = (from_both_sides(*noisy(5, 40, 14, seed=seed, noise=noise)) for seed, noise in ((0, 1.3), (1, 9.0)))
    found = measure(pairs, AGAINST_NULL, null)
    for name, criterion in AGAINST_NULL.items():
        by_pair, by_chance = (criterion.values(p, range(5)) for p in (pairs, null))
        expected = over_pairs({pair: value - by_chance[pair] for pair, value in by_pair.items()})
        assert found[name].ends == pytest.approx(expected.ends)
    same = measure(pairs, AGAINST_NULL, pairs)
    assert all(interval.ends == pytest.approx((0, 0, 0), abs=1e-12) for interval in same.values())
    two, null = ({pair: o for pair, o in many.items() if max(pair) < 2} for many in (pairs, null))
    of_two, less = measure(two, AGAINST_NULL), measure(two, AGAINST_NULL, null)
    for name, by_chance in means(null, AGAINST_NULL).items():
        assert less[name].ends == pytest.approx(np.array(of_two[name].ends) - by_chance)


def test_latents_whose_matchings_never_agree_give_no_value():
    rows = torch.eye(12)
    encoders = torch.stack([rows.roll(3 * s, 0) for s in range(4)])  # the encoders are matched to other latents
    found = means(from_both_sides(encoders, rows.expand(4, 12, 12)))
    assert found["agree"] == 0 and np.isnan(found["cycle_agreeing"]) and found["cycle_decoder"] == 1


def test_too_few_dictionaries_are_refused():
    with pytest.raises(InputError, match="at least 2 seeds, not 0 of 0"):
        measure({})
    encoders, decoders = noisy(4, 10, 8)
    with pytest.raises(InputError, match="every ordered pair"):
        measure(seeds.overlap_of_pairs(encoders, decoders))


def test_three_dictionaries_have_a_jackknife_but_of_cycles():
    pairs = from_both_sides(*noisy(3, 40, 14, noise=1.3))
    found = measure(pairs)
    assert set(CRITERIA) - set(found) == {"cycle_decoder", "cycle_encoder", "cycle_agreeing"}
    by_pair = {pair: overlap.fraction(overlap.agree) for pair, overlap in pairs.items()}
    expected = over_pairs(by_pair, (0.0, 1.0))
    assert found["agree"].ends == pytest.approx(expected.ends) and found["agree"].method == JACKKNIFE


def test_two_dictionaries_resample_latents_and_do_not_take_both_sides_for_two_pairs():
    pairs = from_both_sides(*noisy(2, 200, 14, noise=1.3))
    found = measure(pairs, CRITERIA | CONTRASTS)
    assert set(found) == {n for n in CRITERIA | CONTRASTS if not n.startswith("cycle")}
    for name in ("agree", "shared_decoder_only"):  # both sides show one matching
        values = seeds.latent_values(pairs[0, 1], name)
        half = 1.96 * values.std() / np.sqrt(200)
        assert found[name].estimate == pytest.approx(values.mean()) and found[name].method == BOOTSTRAP
        assert found[name].high - found[name].low == pytest.approx(2 * half, rel=0.15)
    assert found["stability"].low < found["stability"].estimate < found["stability"].high
