"""Insertion between seeds in one go: the same numbers as its steps, each written out."""

import numpy as np
import pytest
import torch

from sae_utils.analysis.matching import overlap as seeds
from sae_utils.analysis.stitching import between_seeds as between
from sae_utils.analysis.stitching import orphan_insertion
from sae_utils.analysis.stitching.insertion import insert
from sae_utils.analysis.stitching.novelty import over_ordered_pairs
from sae_utils.errors import InputError
from sae_utils.saes.metrics import evaluate
from sae_utils.saes.sae import SAE, SAEConfig

K, N_SEEDS = 2, 3


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
        larger = evaluate(orphan_insertion.with_k(stack, K + extra), batches())
        np.testing.assert_allclose(own.change[:, i], 100 * (larger.mse / base.mse - 1))
        assert own.l0[i] == pytest.approx(float((larger.l0 - base.l0).mean()))
    assert own.change.shape == (N_SEEDS, 3) and not own.change[:, 0].any()
    assert own.at(1, own.l0[2]) == pytest.approx(own.change[1, 2] / 100)
    np.testing.assert_allclose(own.mean_change, own.change.mean(0))


def test_intervals_and_curves_are_those_of_the_steps(stack):
    found = between.between_seeds(stack, batches, torch.eye(8))
    both = seeds.from_both_sides(stack.encoder, stack.W_dec, evaluate(stack, batches()).alive)
    parts = list(batches())
    halves = [insert(stack, stack, iter(parts[h::2]), sets=True) for h in range(2)]
    orphans = orphan_insertion.orphans(both)
    assert 0 < sum(mask.sum() for mask in orphans.values()) < 12 * len(orphans)
    lowering = {m: (halves[1].change[m] < 0)[mask].mean() for m, mask in orphans.items()}
    assert found.intervals["share that lowers MSE: orphans"].ends == over_ordered_pairs(lowering).ends
    kept = {m: (halves[1].change[m] >= 0)[both[m[::-1]].counted].mean() for m in both}
    assert found.same_width == pytest.approx(kept)
    greedy = orphan_insertion.together(*halves, orphans)
    own = between.larger_k(stack, lambda: iter(parts[1::2]))
    above = np.mean([greedy["greedy"][m] - own.at(m[0], greedy["greedy_l0"][m]) for m in both])
    assert found.intervals[between.ABOVE_OWN_K].estimate == pytest.approx(above)
    assert found.curves["orphans"].shape == (N_SEEDS, len(found.grid)) and found.grid[-1] == K
    assert not found.curves["orphans"][:, 0].any()


def test_nothing_is_empty_and_other_architectures_are_refused():
    assert not between.NOTHING.intervals and not len(between.NOTHING.own.mean_change)
    relu = SAE.create(SAEConfig(8, 12, "relu", sparsity=0.0), range(N_SEEDS), "h")
    with pytest.raises(InputError, match="architecture='relu' has no k that could be larger; allowed: topk"):
        between.larger_k(relu, batches)
