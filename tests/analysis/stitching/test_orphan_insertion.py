"""Insertion between seeds: what is planted as new is found new, and choosing does not see the judging tokens."""

import numpy as np
import pytest
import torch
from helpers.stitched_pairs import pair

from sae_utils.analysis.matching import overlap as seeds
from sae_utils.analysis.stitching import orphan_insertion
from sae_utils.analysis.stitching.insertion import insert
from sae_utils.analysis.stitching.novelty import associate
from sae_utils.analysis.stitching.width_pairs import RANDOM, compare_widths
from sae_utils.errors import InputError
from sae_utils.saes.sae import SAE, SAEConfig


def two_seeds_of_known_directions():
    """Orthogonal directions 0..5: dictionary 0 has 0-3, dictionary 1 has 2-5 and its own order; no bias."""
    sae = SAE(SAEConfig(8, 4, "relu", sparsity=0.0), [0, 1]).double()
    e = torch.eye(8, dtype=torch.float64)
    with torch.no_grad():
        sae.W_dec[0], sae.W_dec[1] = e[:4], e[[5, 2, 4, 3]]
        sae.encoder.copy_(sae.W_dec)
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(400, 8, dtype=torch.float64, generator=generator)
    return sae, x * (torch.rand(400, 8, generator=generator) < 0.3)


def known():
    sae, x = two_seeds_of_known_directions()
    both = seeds.from_both_sides(sae.encoder, sae.W_dec)
    random = sae.W_dec.detach().roll(1, -1)  # directions that dictionary 1 has no use for where it is told apart below
    halves = [insert(sae, sae, [part], {RANDOM: random}, sets=True) for part in x.split(200)]
    return sae, x, both, halves


def test_orphans_are_what_the_base_does_not_share():
    _, _, both, _ = known()
    assert orphan_insertion.orphans(both)[0, 1].tolist() == [True, False, True, False]
    assert orphan_insertion.shared(both)[0, 1].tolist() == [False, True, False, True]
    assert orphan_insertion.orphans(both)[1, 0].tolist() == [True, True, False, False]


def test_complementary_dictionaries_are_called_so():
    _, x, both, (choosing, judging) = known()
    orphans, common = orphan_insertion.orphans(both), orphan_insertion.shared(both)
    assert orphan_insertion.one_at_a_time(judging, orphans)["lowering"] == {(0, 1): 1.0, (1, 0): 1.0}
    assert orphan_insertion.one_at_a_time(judging, common)["lowering"] == {(0, 1): 0.0, (1, 0): 0.0}
    power = x[200:].square().mean(0)
    gain = -(power[4] + power[5]) / power[4:].sum()
    found = orphan_insertion.together(choosing, judging, orphans)
    for name in ("all", "sum", "lowering", "greedy"):
        assert found[name][0, 1] == pytest.approx(gain.item())
    assert found["greedy_n"][0, 1] == 2
    assert found["greedy_l0"][0, 1] == pytest.approx((x[200:, 4:6] > 0).double().mean(0).sum().item())
    assert orphan_insertion.together(choosing, judging, common)["greedy"][0, 1] == 0


def test_copies_of_one_missing_latent_are_not_worth_their_sum():
    sae, x = two_seeds_of_known_directions()
    with torch.no_grad():
        for name in ("W_dec", "encoder"):
            getattr(sae, name)[1] = getattr(sae, name)[1, [0, 0, 0, 0]]
    both = {(0, 1): np.ones(4, dtype=bool)}
    halves = [insert(sae, sae, [part], sets=True) for part in x.split(200)]
    found = orphan_insertion.together(*halves, both)
    assert found["sum"][0, 1] == pytest.approx(4 * found["greedy"][0, 1])
    # Four of it: the error e becomes e - 4 e, nine times as large in square.
    assert found["all"][0, 1] == pytest.approx(-8 * found["greedy"][0, 1])
    assert found["greedy_n"][0, 1] == 1


def test_the_order_is_chosen_on_the_choosing_tokens():
    _, _, both, (choosing, judging) = known()
    mask = np.ones(4, dtype=bool)
    way = orphan_insertion.greedy(choosing, judging, 0, 1, mask)
    order = choosing.greedy(0, 1, mask)
    np.testing.assert_allclose(way.change, judging.along(0, 1, order) / judging.mse[0])
    np.testing.assert_allclose(way.l0, judging.firing_frequency[1][order].cumsum())
    assert way.best == 2


def test_more_active_latents_of_the_same_dictionaries():
    small, _, x = pair("topk")
    more = orphan_insertion.with_k(small, 7)
    assert (more.encode(x).values > 0).sum(-1).max() > 4 and more.config.k == 7
    assert torch.equal(more.W_dec, small.W_dec) and torch.equal(more.mean, small.mean)
    assert torch.equal(orphan_insertion.with_k(small, 4)(x), small(x))
    with pytest.raises(InputError, match="^k of architecture='relu' cannot be set; allowed: topk$"):
        orphan_insertion.with_k(pair("relu")[0], 3)


def test_tables_are_of_novel_and_orphan_latents():
    small, large, x = pair("topk", seeds=((0, 1, 2), (0, 1, 2)))
    with torch.no_grad():
        for name in ("W_dec", "encoder", "b_enc"):
            getattr(large, name)[1, :20] = getattr(large, name)[0, :20]  # shared
        large.b_dec[1] = large.b_dec[0]
    widths = compare_widths(small, large, x.split(64), np.ones((3, 24), dtype=bool), torch.eye(6).double())
    alive = torch.from_numpy(widths.insertion.alive)
    overlap = seeds.from_both_sides(large.encoder, large.W_dec, alive)
    found = orphan_insertion.novel_and_orphan([widths, widths], [overlap, overlap])
    assert set(found) == {(s, t) for s in range(3) for t in range(3) if s != t}
    for (u, t), tables in found.items():
        mask = widths.insertion.alive[t]
        third = 3 - u - t  # narrow and wide u begin alike
        orphan = ~overlap[t, third].shared("strict")
        assert tables == (associate(widths.insertion.change[u, t][mask] < 0, orphan[mask]),) * 2
        assert sum(map(sum, tables[0].table)) == mask.sum()
    first = {m: overlap[m] for m in ((0, 1), (1, 0))}
    with pytest.raises(InputError, match="^novel latents and orphans are compared between 3 or more seeds, not 2$"):
        orphan_insertion.novel_and_orphan([widths], [first])
