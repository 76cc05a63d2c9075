"""Stitching between seeds: what is planted as new is found new, choosing does not see the judging tokens, and all in
one go gives the same numbers as its steps."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch
from helpers.planted_stacks import sae_of
from helpers.stitched_pairs import pair

from sae_utils.analysis.matching.overlap import from_both_sides
from sae_utils.analysis.statistics import over_ordered_pairs
from sae_utils.analysis.stitching import between_seeds as between
from sae_utils.analysis.stitching.insertion import insert
from sae_utils.analysis.stitching.novelty import associate
from sae_utils.analysis.stitching.width_pairs import compare_widths
from sae_utils.saes import SAE, SAEConfig, evaluate

K, N_SEEDS = 2, 3


def two_seeds_of_known_directions():
    """Orthogonal directions 0..5: dictionary 0 has 0-3, dictionary 1 has 2-5 and its own order; no bias."""
    e = torch.eye(8, dtype=torch.float64)
    sae = sae_of(torch.stack([e[:4], e[[5, 2, 4, 3]]]), architecture="relu", sparsity=0.0)
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(400, 8, dtype=torch.float64, generator=generator)
    x = x * (torch.rand(400, 8, generator=generator) < 0.3)
    return sae, x, from_both_sides(sae.encoder, sae.W_dec)


def on_halves(sae, x):
    return [insert(sae, sae, [part], sets=True) for part in x.split(200)]


def test_complementary_dictionaries_are_called_so():
    sae, x, both = two_seeds_of_known_directions()
    choosing, judging = on_halves(sae, x)
    orphans, common = between.orphans(both), between.shared(both)
    assert orphans[0, 1].tolist() == [True, False, True, False]
    assert common[0, 1].tolist() == [False, True, False, True]
    assert orphans[1, 0].tolist() == [True, True, False, False]
    assert between.lowering(judging.change, orphans) == {(0, 1): 1.0, (1, 0): 1.0}
    assert between.lowering(judging.change, common) == {(0, 1): 0.0, (1, 0): 0.0}
    power = x[200:].square().mean(0)
    gain = -(power[4] + power[5]) / power[4:].sum()
    found = between.together(choosing, judging, orphans)
    for name in ("all", "sum", "lowering", "greedy"):
        assert found[name][0, 1] == pytest.approx(gain.item())
    assert found["greedy_l0"][0, 1] == pytest.approx((x[200:, 4:6] > 0).double().mean(0).sum().item())
    assert between.together(choosing, judging, common)["greedy"][0, 1] == 0


def test_copies_of_one_missing_latent_are_not_worth_their_sum():
    sae, x, _ = two_seeds_of_known_directions()
    with torch.no_grad():
        for name in ("W_dec", "encoder"):
            getattr(sae, name)[1] = getattr(sae, name)[1, [0, 0, 0, 0]]
    mask, halves = np.ones(4, dtype=bool), on_halves(sae, x)
    found = between.together(*halves, {(0, 1): mask})
    assert found["sum"][0, 1] == pytest.approx(4 * found["greedy"][0, 1])
    # Four of it: the error e becomes e - 4 e, nine times as large in square.
    assert found["all"][0, 1] == pytest.approx(-8 * found["greedy"][0, 1])
    assert between.greedy(*halves, 0, 1, mask).best == 1


def test_the_order_is_chosen_on_the_choosing_tokens():
    sae, x, _ = two_seeds_of_known_directions()
    choosing, judging = on_halves(sae, x)
    mask = np.ones(4, dtype=bool)
    way = between.greedy(choosing, judging, 0, 1, mask)
    order = choosing.greedy(0, 1, mask)
    np.testing.assert_allclose(way.change, [0, *(judging.along(0, 1, order) / judging.mse[0])])
    np.testing.assert_allclose(way.l0, [0, *judging.firing_frequency[1][order].cumsum()])
    assert way.best == 2


@pytest.mark.parametrize(("seeds", "without"), [((0, 1, 2), None), ((0, 1, 2, 3), 0)])
def test_tables_are_of_novel_and_orphan_latents(seeds, without):
    small, large, x = pair("topk", seeds=(seeds, seeds))
    with torch.no_grad():
        for name in ("W_dec", "encoder", "b_enc"):
            getattr(large, name)[1, :20] = getattr(large, name)[0, :20]  # shared
        large.b_dec[1] = large.b_dec[0]
    widths = compare_widths(small, large, x.split(64), np.ones((len(seeds), 24), dtype=bool), torch.eye(6).double())
    overlap = from_both_sides(large.encoder, large.W_dec, torch.from_numpy(widths.insertion.alive))
    found = between.novel_and_orphan([widths, widths], [overlap, overlap], without)
    three = set(seeds) - {without}
    assert set(found) == set(permutations(three, 2))
    for (u, t), tables in found.items():
        mask = widths.insertion.alive[t]
        (third,) = three - {u, t}  # narrow and wide u begin alike
        orphan = ~overlap[t, third].shared("strict")
        assert tables == (associate(widths.insertion.change[u, t][mask] < 0, orphan[mask]),) * 2
        assert sum(map(sum, tables[0].table)) == mask.sum()


@pytest.fixture(scope="module")
def stack():
    """Three dictionaries that share some rows."""
    sae = SAE.create(SAEConfig(8, 12, "topk", K), range(N_SEEDS), "h")
    with torch.no_grad():
        sae.W_dec[:, :5] = sae.W_dec[:1, :5]
        sae.encoder.copy_(sae.W_dec)
    return sae


def batches():
    x = torch.randn(512, 8, generator=torch.Generator().manual_seed(1)) * torch.linspace(0.3, 2, 8)
    return iter(x.split(64))


def test_a_larger_k_is_evaluated_on_the_given_tokens(stack):
    own = between.larger_k(stack, batches)
    base = evaluate(stack, batches())
    for i, extra in enumerate([1, 2], 1):  # an eighth, a quarter and a half of two are one
        larger = evaluate(stack.copy(replace(stack.config, k=K + extra)), batches())
        np.testing.assert_allclose(own.change[:, i], 100 * (larger.mse / base.mse - 1))
        assert own.l0[i] == pytest.approx(float((larger.l0 - base.l0).mean()))
    assert own.change.shape == (N_SEEDS, 3) and not own.change[:, 0].any()
    assert own.at(1, own.l0[2]) == pytest.approx(own.change[1, 2] / 100)


def test_intervals_and_curves_are_those_of_the_steps(stack):
    spread = torch.diag(torch.linspace(0.1, 1, 8, dtype=torch.float64))
    found = between.between_seeds(stack, batches, spread)
    encoders = stack.encoder.detach().double() @ spread.sqrt()
    both = from_both_sides(encoders, stack.W_dec, evaluate(stack, batches()).alive)
    parts = list(batches())
    halves = [insert(stack, stack, iter(parts[h::2]), sets=True) for h in range(2)]
    orphans = between.orphans(both)
    assert 0 < sum(mask.sum() for mask in orphans.values()) < 12 * len(orphans)
    lowering = {m: (halves[1].change[m] < 0)[mask].mean() for m, mask in orphans.items()}
    assert found.intervals["share that lowers MSE: orphans"].ends == over_ordered_pairs(lowering).ends
    kept = {m: (halves[1].change[m] >= 0)[both[m[::-1]].counted].mean() for m in both}
    assert found.intervals["reconstruction latents, by insertion"].estimate == pytest.approx(
        np.mean(list(kept.values()))
    )
    greedy = between.together(*halves, orphans)
    own = between.larger_k(stack, lambda: iter(parts[1::2]))
    above = np.mean([greedy["greedy"][m] - own.at(m[0], greedy["greedy_l0"][m]) for m in both])
    assert found.intervals[between.ABOVE_OWN_K].estimate == pytest.approx(above)
    assert found.curves["orphans"].shape == (N_SEEDS, len(found.grid)) and found.grid[-1] == K
    assert not found.curves["orphans"][:, 0].any()
