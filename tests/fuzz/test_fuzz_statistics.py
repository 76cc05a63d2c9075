"""Numbers of any kind give an interval about the right estimate, NaN where nothing is defined, or one InputError."""

import math
import warnings
from itertools import combinations, permutations

import numpy as np
import pytest
import torch
from helpers.fuzzing import examples, or_refused
from hypothesis import given
from hypothesis import strategies as st

from sae_utils.analysis import statistics as s
from sae_utils.analysis.directions import covariance, directions, second_moment
from sae_utils.analysis.latents.properties import subspace_share, top_components
from sae_utils.analysis.matching import match, nearest
from sae_utils.analysis.matching.matching import DEFINITIONS, Rows, compare, seen_from_second
from sae_utils.analysis.matching.membership import Membership, histogram, only_in_one
from sae_utils.analysis.stitching.novelty import accuracy_at, separation

ODD = st.sampled_from([float("nan"), float("inf"), -float("inf"), 1e300, -1e300, 0.0, 1.0, 1e-300])
VALUES = st.lists(st.floats(-10, 10) | ODD, max_size=6)
SHARES = st.lists(st.floats(0, 1) | st.sampled_from([0.0, 1.0]), max_size=6)


@pytest.fixture(autouse=True)
def _no_warnings():
    """Warnings, of empty slices for one, are numbers that nobody checked; sums of infinities may overflow."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("error")
        yield


def check(interval, values, bounds=s.UNBOUNDED):
    """An interval holds the mean of finite values; of others it is NaN, all three."""
    if interval is None or np.isfinite(values).all() and np.abs(values).max(initial=0) > 1e100:  # no sum of squares
        return
    if np.isfinite(values).all():
        assert np.isfinite(interval.ends).all()
        assert bounds[0] <= interval.low <= interval.estimate <= interval.high <= bounds[1]
        assert math.isclose(interval.estimate, np.clip(math.fsum(values) / len(values), *bounds), abs_tol=1e-9)
    else:
        assert np.isnan(interval.ends).all() or np.isfinite(interval.ends).all()


@examples(100)
@given(VALUES)
def test_intervals_over_seeds_and_widths(values):
    check(or_refused(s.over_seeds, values), values)
    check(or_refused(s.over_chains, [values]), values)
    defined = [value for value in values if not math.isnan(value)]
    check(or_refused(s.over_defined_seeds, values), defined if len(defined) > 1 else [math.nan])


@examples(15)
@given(VALUES)
def test_intervals_over_latents(values):
    check(or_refused(s.bootstrap_of_mean, np.array(values)), values)


@examples(40)
@given(SHARES)
def test_intervals_of_shares_stay_within_their_bounds(values):
    check(or_refused(s.over_seeds, values, (0.0, 1.0)), values, (0.0, 1.0))


@examples(60)
@given(st.integers(0, 5), st.data())
def test_intervals_over_pairs(n_seeds, data):
    pairs = list(combinations(range(n_seeds), 2))
    values = data.draw(st.lists(st.floats(-10, 10) | ODD, min_size=len(pairs), max_size=len(pairs)))
    missing = data.draw(st.integers(0, 1)) if pairs else 0
    found = or_refused(s.over_pairs, dict(zip(pairs[missing:], values[missing:], strict=True)))
    check(found, values)
    assert found is None or (n_seeds >= 3 and not missing)


@examples(60)
@given(st.integers(0, 4), st.integers(0, 4), st.data())
def test_intervals_over_tasks_and_seeds(n_seeds, n_tasks, data):
    size = n_seeds * n_tasks
    values = data.draw(st.lists(st.floats(0, 1) | ODD, min_size=size, max_size=size))
    check(or_refused(s.over_tasks_and_seeds, np.array(values).reshape(n_seeds, n_tasks)), values)


@examples(60)
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3)), max_size=12))
def test_intervals_over_groups(windows):
    correct, of = np.array([w[0] for w in windows]), np.array([w[1] for w in windows], dtype=int)
    check(or_refused(s.over_groups, correct, of), correct)


@st.composite
def rows(draw, d=3, most=5, odd=(0.0, 1e-30, 1e30)):
    """Latents, some of them zero, tiny, huge, equal or not finite."""
    n = draw(st.integers(0, most))
    out = torch.randn(n, d, generator=torch.Generator().manual_seed(draw(st.integers(0, 3))))
    for i in range(n):
        out[i] *= draw(st.sampled_from([1.0, 1.0, 1.0, *odd]))
    if n and draw(st.integers(0, 9)) == 0:
        out[draw(st.integers(0, n - 1)), 0] = draw(st.sampled_from([math.nan, math.inf]))
    return out


def cosines(a, b):
    """Of every pair, 0 with a row of zeros."""
    a, b = ([row / row.norm() if row.norm() else row for row in x.double()] for x in (a, b))
    return np.array([[float(one @ other) for other in b] for one in a]).reshape(len(a), len(b))


@examples(100)
@given(rows(), rows())
def test_matchings_are_the_best_of_all(a, b):
    found, close = or_refused(match, a, b), or_refused(nearest, a, b)
    finite = bool(a.isfinite().all() and b.isfinite().all())
    if not finite:
        assert found is None and close is None
    if found:
        cosine = cosines(a, b)
        k = min(len(a), len(b))
        best = max(
            sum(cosine[i, j] for i, j in zip(chosen, order, strict=True))
            for chosen in combinations(range(len(a)), k)
            for order in permutations(range(len(b)), k)
        )
        has = found.partner >= 0
        assert has.sum() == k == len(set(found.partner[has].tolist()))
        assert math.isclose(np.nansum(found.cosine), best, abs_tol=1e-9)
    if close:
        assert np.allclose(close.cosine, cosines(a, b).max(1, initial=-2))


@examples(60)
@given(rows(), rows(), st.data())
def test_what_two_dictionaries_share_is_a_share(a, b, data):
    alive = [torch.tensor(data.draw(st.lists(st.booleans(), min_size=len(x), max_size=len(x)))) for x in (a, b)]
    alive = [mask.bool() for mask in alive]
    first, second = Rows(a, a.flip(0), alive[0]), Rows(b, b.flip(0), alive[1])
    overlap = or_refused(compare, first, second)
    if overlap:
        assert alive[0].any() and alive[1].any()
        for one in (overlap, seen_from_second(overlap, first, second)):
            for name in DEFINITIONS:
                assert 0 <= one.fraction(one.shared(name)) <= 1
        assert not overlap.shared("strict")[~alive[0].numpy()].any()


@examples(60)
@given(st.integers(2, 4), st.integers(1, 4), st.integers(0, 5))
def test_shares_by_count_sum_to_one(n_seeds, n_latents, seed):
    rng = np.random.default_rng(seed)
    alive = rng.random((n_seeds, n_latents)) < 0.7
    alive[:, 0] = True
    found = (rng.random((n_seeds, n_seeds, n_latents)) < 0.5) & alive[:, None]
    found[np.arange(n_seeds), np.arange(n_seeds)] = False
    m = Membership(found, alive)
    shares = or_refused(histogram, m)
    if shares is not None:
        assert alive.any(1).all() and math.isclose(shares.sum(), 1, abs_tol=1e-9)
    alone = or_refused(only_in_one, m)
    assert alone is None or (alone >= 0).all() and (alone <= 1 + 1e-9).all()


@examples(60)
@given(rows(most=6), st.floats(-0.5, 1.5) | ODD)
def test_spreads_and_components(x, share):
    spread = or_refused(covariance, [x])
    if spread is not None:
        assert len(x)
        if x.isfinite().all():
            expected = torch.from_numpy(np.cov(x.double().numpy().T, bias=True))
            assert torch.allclose(spread, expected, atol=1e-9 * float(expected.abs().max() + 1))
        drawn = or_refused(directions, 3, spread, torch.Generator().manual_seed(0))
        assert drawn is None or torch.allclose(drawn.norm(dim=1), torch.ones(3).double())
    moment = or_refused(second_moment, x)
    assert moment is None or not x.isfinite().all() or moment.isfinite().all()
    components = or_refused(top_components, x, share)
    if components is not None:
        assert 0 < share <= 1 and 1 <= len(components) <= 3
        assert torch.allclose(components @ components.T, torch.eye(len(components)).double(), atol=1e-9)
        inside = subspace_share(x, components)
        assert ((inside >= 0) & (inside <= 1 + 1e-9) | np.isnan(inside)).all()
        assert not np.isnan(inside[(x != 0).any(1).numpy()]).any()  # NaN is for rows of zeros alone


@examples(60)
@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1) | ODD), max_size=8), st.floats(-1, 1))
def test_the_proxy_of_novelty_is_a_share(latents, threshold):
    cosine, change = np.array([x[0] for x in latents]), np.array([x[1] for x in latents])
    found, accuracy = or_refused(separation, cosine, change), or_refused(accuracy_at, threshold, cosine, change)
    one_kind = not (change < 0).any() or (change < 0).all()
    if found:
        assert math.isnan(found.auc) if one_kind else 0 <= found.auc <= 1 and 0.5 <= found.balanced_accuracy <= 1
    if accuracy is not None:
        assert math.isnan(accuracy) if one_kind else 0 <= accuracy <= 1
