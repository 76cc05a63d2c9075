import numpy as np
import pytest
import torch
from helpers.planted_stacks import sae_of
from helpers.random_saes import make, raw_activations
from scipy.stats import spearmanr

from sae_utils.analysis.directions import covariance
from sae_utils.analysis.matching import pairwise
from sae_utils.analysis.matching.metric import in_metric
from sae_utils.analysis.matching.overlap import from_both_sides
from sae_utils.analysis.stability import frontier, tokens_per_second
from sae_utils.analysis.stability.frontier import (
    EQUAL_EV,
    EQUAL_L0,
    Point,
    across_methods,
    between,
    interval,
    less_of_both,
    matched,
    measure,
)
from sae_utils.analysis.statistics import jackknife
from sae_utils.saes import evaluate
from sae_utils.saes.training import TrainingConfig

PAIRS = ((0, 1), (0, 2), (1, 2))


def point(l0, explained, strict):
    """One of three seeds: numbers of each, and of pairs."""
    each = {"l0": l0, "explained_variance": explained}
    values = {name: {(s,): value for s, value in enumerate(of)} for name, of in each.items()}
    return Point(values | {"strict": dict(zip(PAIRS, strict, strict=True))}, {})


LINE = [point([8, 8, 8], [0.6, 0.6, 0.6], [0.5, 0.5, 0.5]), point([32, 32, 32], [0.8, 0.8, 0.8], [0.1, 0.1, 0.1])]
OTHER = [point([8, 8, 8], [0.5, 0.5, 0.5], [0.7, 0.7, 0.7]), point([32, 32, 32], [0.7, 0.7, 0.7], [0.3, 0.3, 0.3])]


@pytest.mark.parametrize(
    ("axis", "where", "expected"),
    [("l0", 16, 0.3), ("l0", 8, 0.5), ("l0", 7.9, np.nan), ("l0", 33, np.nan), ("explained_variance", 0.65, 0.4)],
)
def test_between_the_points_lies_a_straight_line_over_log_l0_and_beyond_them_nothing(axis, where, expected):
    assert between(LINE, "strict", axis, where) == pytest.approx(expected, nan_ok=True)
    assert between(LINE[::-1], "strict", axis, where) == pytest.approx(expected, nan_ok=True)


def test_matched_by_hand():
    # Lines that are parallel: .2 ahead at one L0, level where as much is explained.
    found = matched(OTHER, LINE, "strict", 12)
    assert found == pytest.approx({EQUAL_L0: 0.2, EQUAL_EV: 0.0}, abs=1e-9)
    assert less_of_both(OTHER, LINE, "strict", 12) == pytest.approx(0, abs=1e-9)
    assert np.isnan(less_of_both(OTHER, LINE, "strict", 20))  # it never explains as much


def test_a_seed_that_is_left_out_takes_its_pairs_with_it():
    one = point([8, 9, 10], [0.5, 0.6, 0.7], [0.1, 0.2, 0.6])
    assert one.mean("l0", 2) == 8.5 and one.mean("strict", 0) == 0.6 and one.mean("strict") == pytest.approx(0.3)
    found = interval(lambda without: one.mean("strict", without), one.n_seeds)
    assert found == jackknife(0.3, [0.6, 0.2, 0.1])
    assert np.isnan(interval(lambda without: np.nan if without == 1 else 0.0, 3).estimate)


def test_a_correlation_over_methods_leaves_seeds_out(monkeypatch):
    monkeypatch.setattr(frontier, "RESAMPLES", 100)
    x, y = np.random.default_rng(0).random((2, 5, 3))
    stable = {str(m): lambda s, m=m: float(np.delete(x[m], [] if s is None else s).mean()) for m in range(5)}
    true = {str(m): lambda s, m=m: float(np.delete(y[m], [] if s is None else s).mean()) for m in range(5)}
    without = [spearmanr(np.delete(x, s, 1).mean(1), np.delete(y, s, 1).mean(1)).statistic for s in range(3)]
    expected = jackknife(spearmanr(x.mean(1), y.mean(1)).statistic, without, (-1, 1))
    found = across_methods(stable, true, 3)
    assert found.estimate == pytest.approx(expected.estimate) and found == across_methods(stable, true, 3)
    assert found.low <= expected.low and found.high >= expected.high
    assert np.isnan(across_methods(stable, dict.fromkeys(true, lambda s: 1.0), 3).estimate)


def test_a_correlation_leaves_methods_out_too(monkeypatch):
    monkeypatch.setattr(frontier, "RESAMPLES", 500)
    # Seeds agree exactly: all doubt is about which methods there are. A single one, far out, carries the correlation.
    x, y = [1, 2, 3, 4, 9], [3, 1, 4, 2, 9]
    stable, true = ({str(m): lambda s, value=value: value for m, value in enumerate(of)} for of in (x, y))
    draws, rng = [], np.random.default_rng(5)
    for _ in range(500):
        some = rng.integers(5, size=5)
        if len(set(some)) > 1:
            draws.append(spearmanr(np.take(x, some), np.take(y, some)).statistic)
    found = across_methods(stable, true, 3)
    assert found.estimate == pytest.approx(spearmanr(x, y).statistic) and "over methods" in found.method
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(draws, [0.025, 0.975])), abs=0.05)


def rows_in(axes, n, seed):
    """Unit directions [n, 24] within the span of some axes."""
    rows = torch.zeros(n, 24)
    rows[:, axes] = torch.randn(n, len(axes), generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(rows, dim=-1)


@pytest.mark.parametrize("apart", [True, False])
def test_what_is_unshared_overlaps_more_than_other_latents_only_where_it_lies_in_a_plane(apart):
    # Twenty latents are shared; of the others each seed has its own ten, in two dimensions, or among all the rest.
    same, own = rows_in(range(4, 24), 20, 0), [0, 1] if apart else range(4, 24)
    stack = sae_of(torch.stack([torch.cat([same, rows_in(own, 10, s + 1)]) for s in range(3)]), k=4)
    found = measure(stack, torch.randn(2000, 24, generator=torch.Generator().manual_seed(9)))
    assert (found.mean("subspace") > 0.1) == apart
    assert (found.mean("rank") < 2.5) == apart


@pytest.mark.parametrize("architecture", ["topk", "jump_relu"])
def test_a_point_has_what_the_older_measures_give(architecture):
    stack, x = make(architecture), raw_activations(400)
    found, quality = measure(stack, x), evaluate(stack, [x])
    pairs = from_both_sides(in_metric(stack.encoder, covariance([x])), stack.W_dec.detach(), quality.alive)
    assert found.mean("l0") == pytest.approx(float(quality.l0.mean()))
    assert found.mean("explained_variance") == pytest.approx(float(quality.explained_variance.mean()))
    for name, statistic, less in (("strict", "shared_strict", 0), ("cosine", "decoder_cosine", found.nulls["cosine"])):
        expected = np.nanmean(pairwise(pairs, statistic)) - less
        assert found.mean(name) == pytest.approx(expected)
    assert len(found.values["work"]) == 3 and len(found.values["cycle"]) == 1


def test_dictionaries_that_are_one_share_everything_and_do_each_others_work():
    stack, x = make("topk"), raw_activations(400)
    with torch.no_grad():
        for p in stack.parameters():
            p.copy_(p[:1].expand_as(p))
    found = measure(stack, x)
    assert found.mean("strict") == found.mean("cycle") == 1
    assert found.mean("cosine") == pytest.approx(1 - found.nulls["cosine"])
    assert found.mean("work") + found.nulls["work"] == pytest.approx(1, abs=1e-4)
    assert np.isnan(found.mean("subspace"))  # nothing is unshared


def test_timing_leaves_a_stack_as_it_was():
    stack = make("topk")
    before = stack.state_dict()["encoder"].clone()
    assert tokens_per_second(stack, raw_activations(64), TrainingConfig(6400, 64)) > 0
    assert torch.equal(stack.encoder, before)
