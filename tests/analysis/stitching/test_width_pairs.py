"""A wide stack judged against a narrow one: the numbers of each pair, their null and their summary."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.stitched_pairs import pair
from torch.nn.functional import cosine_similarity

from sae_utils.analysis.statistics import BOOTSTRAP, JACKKNIFE, STUDENT
from sae_utils.analysis.stitching.insertion import insert
from sae_utils.analysis.stitching.width_pairs import (
    STATISTICS,
    arrays_to_draw,
    compare_widths,
    random_shares,
    summarise,
)


def compared(seeds=((0, 1, 2), (0, 1, 2))):
    small, large, x = pair("topk", seeds=seeds)
    alive = np.ones((len(seeds[0]), 24), dtype=bool)
    alive[:, 5] = False
    return small, large, x, compare_widths(small, large, x.split(64), alive, torch.eye(6).double())


def defined(seeds=((0, 1, 2), (0, 1, 2))):
    """As ``compared``, but with latents of both kinds in every pair, so that every AUC is defined."""
    found = compared(seeds)[3]
    change = np.resize([-1.0, 1.0], found.insertion.change.shape)
    return replace(found, insertion=replace(found.insertion, linear=(found.insertion.square - change) / 2))


def test_a_pair_of_widths_where_all_latents_are_of_one_kind_has_no_auc_and_is_left_out():
    found, other = compared()[3], defined()
    linear = np.broadcast_to(found.insertion.square + 1, found.insertion.linear.shape)
    novel = replace(found, insertion=replace(found.insertion, linear=linear))
    both, one = (summarise(pairs, names=["auc", "novel_share"]) for pairs in ([novel, other], [other]))
    assert both["auc"] == one["auc"] and both["novel_share"].estimate > one["novel_share"].estimate


def test_cosines_are_the_largest_to_an_alive_latent():
    small, large, x, found = compared()
    targets = small.W_dec[1][torch.arange(24) != 5]
    expected = [max(cosine_similarity(r, o, dim=0).item() for o in targets) for r in large.W_dec[2]]
    np.testing.assert_allclose(found.cosine[1, 2], expected)
    cosine, change = found.latents(1, 2)
    alive = found.insertion.alive[2]
    np.testing.assert_array_equal(cosine, found.cosine[1, 2][alive])
    np.testing.assert_allclose(change, insert(small, large, [x]).change[1, 2][alive])


def test_the_null_has_the_norms_and_activations_of_the_latents():
    _, large, _, found = compared()
    assert found.random_cosine.shape == found.cosine.shape
    assert np.abs(found.random_cosine - found.cosine).max() > 0.1
    null = random_shares([found])
    each = [found.random_latents(*m) for m in found.seed_pairs()]
    assert null["novel_share"] == pytest.approx(np.mean([(change < 0).mean() for _, change in each]))
    assert null["novel_share_cosine"] == pytest.approx(np.mean([(cosine <= 0.7).mean() for cosine, _ in each]))


def test_seeds_of_a_pair_are_the_same_or_not():
    _, _, _, found = compared()
    assert found.seed_pairs(same_seed=True) == [(0, 0), (1, 1), (2, 2)]
    assert sorted(found.seed_pairs()) == [(s, t) for s in range(3) for t in range(3) if s != t]


def test_summary_over_seeds_and_over_latents():
    _, _, _, found = compared()
    summary = summarise([found, defined()])
    assert set(summary) == set(STATISTICS)
    shares = [(pair.latents(*m)[1] < 0).mean() for m in found.seed_pairs() for pair in (found, defined())]
    assert summary["novel_share"].estimate == pytest.approx(np.mean(shares))
    assert summary["novel_share"].method == JACKKNIFE
    same = summarise([found, defined()], same_seed=True)
    assert same["novel_share"].method == STUDENT
    shares = [(pair.latents(s, s)[1] < 0).mean() for s in range(3) for pair in (found, defined())]
    assert same["novel_share"].estimate == pytest.approx(np.mean(shares))
    alone = summarise([defined(seeds=((0,), (1,)))], names=["novel_share"])
    assert alone["novel_share"].method == BOOTSTRAP
    assert alone["novel_share"].low < alone["novel_share"].estimate < alone["novel_share"].high


def test_arrays_to_draw_are_of_the_widest_pair_and_its_first_seeds():
    narrow, widest = defined(), defined()
    arrays = arrays_to_draw([narrow, replace(widest, cosine=widest.cosine / 2)], "topk")
    s, t = widest.seed_pairs()[0]
    cosine, change = widest.latents(s, t)
    np.testing.assert_allclose(arrays["cosine_topk"], cosine / 2)
    np.testing.assert_allclose(arrays["change_topk"], 100 * change / widest.insertion.mse[s])
    assert arrays["share_topk"].shape == arrays["share_cosine_topk same seed"].shape == (2, 3)
    assert arrays["share_topk"][0].tolist() == list(summarise([narrow], False, ["novel_share"])["novel_share"].ends)
    assert arrays["null_share_topk"][1].tolist() == list(random_shares([widest]).values())
    alone = arrays_to_draw([defined(seeds=((0,), (1,)))], "topk")
    assert not [name for name in alone if "same seed" in name]
