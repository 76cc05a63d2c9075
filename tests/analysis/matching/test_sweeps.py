"""Overlap at the points of a sweep, its trends and differences, against definitions written out here."""

from itertools import permutations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats

from sae_utils.analysis.matching import sweeps
from sae_utils.analysis.matching.matching import match
from sae_utils.analysis.matching.sweeps import BOTH_WAYS, MEASURES, SweepPoint, difference, sweep_point, trend
from sae_utils.analysis.statistics import jackknife
from sae_utils.errors import InputError
from sae_utils.saes import SAE, Evaluation, SAEConfig


def point(effects, level, spread=0.01):
    """Every measure of pair (i, j) is ``level`` and what the two seeds add."""
    pairs = {(i, j): level + spread * (effects[i] + effects[j]) for i, j in permutations(range(len(effects)), 2)}
    n = (0.0,) * len(effects)
    names = (*MEASURES, *BOTH_WAYS, *(f"raw_{name}" for name in BOTH_WAYS))
    return SweepPoint({name: pairs for name in names}, dict.fromkeys(MEASURES, 0.1), n, n, n, n, 1, n)


def test_trend_is_the_slope_over_doublings_with_each_seed_left_out_at_all_points():
    levels, rng = {64: 0.8, 128: 0.7, 512: 0.45}, np.random.default_rng(0)
    points = {x: point(rng.normal(size=4), level, 0.05) for x, level in levels.items()}

    def slope(without):
        y = [np.mean([v for pair, v in p.pairs["agree"].items() if without not in pair]) for p in points.values()]
        return stats.linregress([6, 7, 9], y).slope

    found = trend(points, "agree")
    assert found.ends == pytest.approx(jackknife(slope(None), [slope(s) for s in range(4)]).ends)


def test_a_difference_is_of_the_same_seeds():
    """What a seed adds at both points cancels; what it adds at one does not."""
    effects = [0.0, 1.0, 5.0]
    assert difference([point(effects, 0.6)], [point(effects, 0.5)], "agree").ends == pytest.approx([0.1] * 3)
    found = difference([point(effects, 0.6), point([0] * 3, 0.2)], [point([0] * 3, 0.5)], "agree")
    without = [0.4 - 0.5 + 0.01 * total / 2 for total in (6, 5, 1)]
    assert found.ends == pytest.approx(jackknife(-0.1 + 0.01 * 4 / 2, without).ends)


def dictionaries():
    """Three dictionaries of 12 rows in 16 dimensions: eight rows are in all three; the last latent is dead."""
    generator = torch.Generator().manual_seed(0)
    common = torch.linalg.qr(torch.randn(16, 16, generator=generator))[0]
    sae = SAE.create(SAEConfig(16, 12, "topk", 2), (0, 1, 2))
    with torch.no_grad():
        for member in range(3):
            own = F.normalize(torch.randn(4, 8, generator=generator), dim=-1) @ common[8:]
            rows = torch.cat([common[:8], own])
            order = torch.cat([torch.randperm(11, generator=generator), torch.tensor([11])])
            sae.W_dec[member] = rows[order]
            sae.encoder[member] = 3 * rows[order]
    firing = torch.full((3, 12), 0.1)
    firing[:, 11] = 0
    tensor = torch.tensor([0.2, 0.3, 0.4], dtype=torch.float64)
    return sae, Evaluation(100, tensor, tensor, torch.full((3,), 2.0), firing, tensor + 0.1, 7)


def test_planted_overlap_is_found_without_the_dead():
    sae, evaluation = dictionaries()
    found = sweep_point(sae, evaluation, torch.eye(16))
    rows = sae.W_dec.detach()[:, :11]
    for i, j in permutations(range(3), 2):
        partner = match(rows[i], rows[j])
        assert found.pairs["shared_strict"][i, j] == np.mean(partner.cosine >= 0.7)
        assert found.pairs["shared_strict"][i, j] >= 8 / 11
        assert found.pairs["decoder_cosine"][i, j] == pytest.approx(partner.cosine.mean())
        assert found.pairs["agree"][i, j] == 1
    assert found.explained_variance == pytest.approx((0.8, 0.7, 0.6)) and found.dead == pytest.approx((1 / 12,) * 3)
    assert found.mean("agree") > found.null["agree"] and found.mean("shared_strict") > found.null["shared_strict"]
    assert found.interval("shared_strict").high <= 1
    kept = found.summary()
    assert kept["agree"] == found.interval("agree") and kept["null"] == found.null and kept["l0"] == (2.0, 2.0, 2.0)
    assert kept["explained_variance"] == found.explained_variance
    assert kept["explained_variance_trimmed"] == pytest.approx((0.7, 0.6, 0.5))
    assert kept["tokens_of_half_the_variance"] == 7


def test_along_an_empty_direction_rows_differ_raw_alone():
    """A coin's side for each dictionary, written into a direction that no activation has."""
    sae, evaluation = dictionaries()
    covariance = torch.diag(torch.tensor([1.0] * 15 + [1e-6]))
    with torch.no_grad():
        sae.encoder /= sae.encoder.norm(dim=-1, keepdim=True)
        sae.encoder[..., 15] = 0
        plain = sweep_point(sae, evaluation, covariance)
        sae.encoder[..., 15] = torch.tensor([2.0, -2.0, 2.0])[:, None]
    coins = sweep_point(sae, evaluation, covariance)
    for name in BOTH_WAYS:
        assert coins.pairs[name] == plain.pairs[name]
        assert coins.mean(name) >= 8 / 11 and plain.mean(f"raw_{name}") >= 8 / 11
    assert coins.pairs["raw_encoder_close"][0, 1] == coins.pairs["raw_shared_strict"][1, 2] == 0
    assert coins.pairs["raw_encoder_close"][0, 2] == 1
    rows = sae.encoder.detach()[0, :11]
    assert coins.empty_share[0] == pytest.approx(float((4 / rows.square().sum(-1)).mean()), rel=1e-6)
    assert plain.empty_share == (0,) * 3


def test_the_null_knows_the_shape_of_the_activations():
    """With all variance in two dimensions random directions lie close together; with even variance they do not."""
    sae, evaluation = dictionaries()
    flat = torch.diag(torch.tensor([1.0, 1.0] + [1e-6] * 14))
    assert sweep_point(sae, evaluation, flat).null["decoder_cosine"] > 0.85
    assert sweep_point(sae, evaluation, torch.eye(16)).null["decoder_cosine"] < 0.75


def test_claims_are_about_the_right_points():
    same = [0.0] * 3

    def points(**levels):
        return {key: point(same, level) for key, level in levels.items()}

    found = sweeps.claims_of(
        {
            "width": {64: point(same, 0.7), 128: point(same, 0.6)},
            "k": {8: point(same, 0.7), 32: point(same, 0.5)},
            "tokens": {1000: point(same, 0.1), 2000: point(same, 0.4)},
            "layer": {5: point(same, 0.3), 0: point(same, 0.2), 2: point(same, 0.5), 3: point(same, 0.7)},
            "site": points(mlp_out=0.5, resid_post=0.4),
            "architecture": points(topk=0.5, relu=0.6, gated=0.45, batch_topk=0.9),
        }
    )
    assert {name: round(i.estimate, 6) for name, i in found.items()} == {
        **{"width_slope": -0.1, "k_slope": -0.1, "tokens_slope": 0.3},
        **{"inner_above_first_layer": 0.4, "inner_above_last_layer": 0.3},
        **{f"relu_above_topk{ending}": 0.1 for ending in ("", "_strict", "_raw")},
        **{f"gated_above_topk{ending}": -0.05 for ending in ("", "_strict", "_raw")},
        "residual_above_mlp": -0.1,
    }


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(InputError, match="^a trend needs at least two points, not 1$"):
        trend({1: point([0] * 3, 0.5)}, "agree")
    with pytest.raises(InputError, match=r"the same seeds, not \[3, 4\] of them"):
        difference([point([0] * 3, 0.5)], [point([0] * 4, 0.5)], "agree")


def test_figure_arrays_hold_a_row_for_each_point():
    arrays = sweeps.figure_arrays("k", {8: point([0] * 3, 0.5), 16: point([0] * 3, 0.25)})
    assert arrays["k_values"].tolist() == [8, 16]
    assert arrays["k_agree"].shape == (2, 3) and arrays["k_agree"][:, 0].tolist() == [0.5, 0.25]
    assert arrays["k_null_agree"].tolist() == [0.1, 0.1]
    np.testing.assert_allclose(arrays["k_pairs_raw_encoder_close"], [[0.5] * 3, [0.25] * 3])
    assert arrays["k_l0"].shape == arrays["k_dead"].shape == arrays["k_explained_variance"].shape == (2, 3)
