import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from sae_utils.analysis.matching import matching
from sae_utils.analysis.matching.assignment import assign, auction, candidates, duals, products


def unit(rows):
    norm = rows.norm(dim=1, keepdim=True)
    return rows / torch.where(norm > 0, norm, 1)


def normal(generator, n, d):
    return torch.randn(n, d, dtype=torch.float64, generator=generator)


def planted(generator, n, m, d):
    """Half of the second dictionary are noisy copies, the rest random, in random order."""
    a, b = normal(generator, n, d), normal(generator, m, d)
    k = min(n, m) // 2
    b[:k] = a[:k] + torch.rand(k, 1, dtype=torch.float64, generator=generator) * 1.5 * b[:k]
    return unit(a), unit(b)[torch.randperm(m, generator=generator)]


def duplicates(generator, n, m, d):
    """Few distinct rows, each many times, so that most optima are ties."""
    rows = unit(normal(generator, 5, d))
    return tuple(rows[torch.randint(5, (size,), generator=generator)] for size in (n, m))


def zero_rows(generator, n, m, d):
    a, b = planted(generator, n, m, d)
    for rows in (a, b):
        rows[torch.rand(len(rows), generator=generator) < 0.4] = 0
    return a, b


def equal_costs(generator, n, m, d):
    row = unit(normal(generator, 1, d))
    return row.repeat(n, 1), row.repeat(m, 1)


def hubs(generator, n, m, d):
    """Three rows of the second dictionary are the nearest of all rows of the first."""
    centre = normal(generator, 1, d)
    a, b = centre + 0.6 * normal(generator, n, d), normal(generator, m, d)
    b[:3] = centre
    return unit(a), unit(b)


def opposed(generator, n, m, d):
    """Every cosine is negative, and zero rows are the best partners."""
    centre = 5 * unit(normal(generator, 1, d))
    a, b = unit(centre + normal(generator, n, d)), unit(-centre + normal(generator, m, d))
    b[: m // 4] = 0
    return a, b


def grid(generator, n, m, d):
    """Cosines of few values: rows of two equal entries, so that ties abound without duplicates."""
    return tuple(unit((torch.rand(size, d, generator=generator).argsort(dim=1) < 2).double() + 0.0) for size in (n, m))


KINDS = [planted, duplicates, zero_rows, equal_costs, hubs, opposed, grid, lambda g, n, m, d: planted(g, n, m, 2)]
SIZES = [(1, 1), (1, 9), (9, 1), (40, 40), (97, 60), (60, 97), (120, 120), (33, 200)]


def dense(a, b):
    cosine = (a @ b.T).numpy()
    rows, columns = linear_sum_assignment(cosine, maximize=True)
    return cosine, cosine[rows, columns].sum()


def check(found, a, b):
    """The result against the dense optimum, and its potentials against every pair."""
    cosine, best = dense(a, b)
    u, v = found.row_potential, found.column_potential
    has = found.partner >= 0
    assert has.sum() == min(len(a), len(b)) == len(set(found.partner[has]))
    np.testing.assert_allclose(found.cosine[has], cosine[has.nonzero()[0], found.partner[has]], atol=1e-14)
    assert np.isnan(found.cosine[~has]).all()
    assert found.objective == pytest.approx(best, rel=1e-9, abs=1e-11)
    assert (u[:, None] + v >= cosine - 1e-14).all()
    assert found.gap == pytest.approx(u.sum() + v.sum() - best, abs=1e-10)
    assert -1e-12 <= found.gap <= max(1e-6 * abs(best), 1e-8)
    free = np.setdiff1d(np.arange(len(b)), found.partner)
    if len(a) < len(b):
        assert (v >= 0).all() and (v[free] == 0).all()
    if len(a) > len(b):
        assert (u >= 0).all() and (u[~has] == 0).all()


@pytest.mark.parametrize("kind", range(len(KINDS)))
@pytest.mark.parametrize("n_candidates", [1, 3, 32])
def test_against_the_dense_solver(kind, n_candidates):
    for case, (n, m) in enumerate(SIZES):
        a, b = KINDS[kind](torch.Generator().manual_seed(100 * case), n, m, 8)
        check(assign(a, b, n_candidates, block=700), a, b)


needs_bytes = pytest.mark.skipif(not products._multiplies_bytes(), reason="no products of bytes here")
SCREENS = [False, pytest.param(True, marks=needs_bytes)]


@pytest.mark.parametrize("of_bytes", SCREENS)
def test_precision_of_the_screening_does_not_change_the_total(monkeypatch, of_bytes):
    monkeypatch.setattr(products, "_multiplies_bytes", lambda: of_bytes)
    for kind in KINDS:
        for n, m in SIZES[3:6]:
            a, b = kind(torch.Generator().manual_seed(7), n, m, 24 if kind is not grid else 8)
            check(assign(a, b, candidates=5, block=900), a, b)


@pytest.mark.parametrize("of_bytes", SCREENS)
@pytest.mark.parametrize("spikes", [False, True])
def test_pairs_left_out_are_below_their_bounds(monkeypatch, of_bytes, spikes):
    monkeypatch.setattr(products, "_multiplies_bytes", lambda: of_bytes)
    a, b = planted(torch.Generator().manual_seed(0), 300, 250, 64)
    if spikes:  # one entry far above the others must not cost the others their precision
        a, b = (unit(rows + 3 * torch.eye(64, dtype=torch.float64)[torch.arange(len(rows)) % 64]) for rows in (a, b))
    cheap = products.screen(a, b)
    pool = candidates.find_candidates(cheap, 10, 5000)
    assert cheap.error < 0.04
    cosine = (a @ b.T).numpy()
    slack = np.minimum(pool.row_bound[:, None], pool.column_bound) - cosine
    assert len(set(zip(pool.rows, pool.columns, strict=True))) == len(pool.rows)
    assert pool.best.sum() < 0.6 * len(pool.rows)
    assert (np.abs(pool.cosine - cosine[pool.rows, pool.columns]) <= cheap.error).all()
    slack[pool.rows, pool.columns] = 0
    assert slack.min() >= 0


@pytest.mark.parametrize("outside", [-1.0, 0.3])
def test_rough_potentials_are_near_the_optimum(outside):
    generator = torch.Generator().manual_seed(0)
    a, b = planted(generator, 60, 80, 8)
    cosine = (a @ b.T).numpy()
    rows, columns = np.divmod(np.arange(60 * 80), 80)
    u, v, partner = auction.rough_potentials(rows, columns, cosine.ravel(), np.full(60, outside), 80)
    has = partner >= 0
    assert len(set(partner[has])) == has.sum() and (u[has] >= outside).all() and (v >= 0).all()
    # An outside option is a column of one's own.
    own = np.where(np.eye(60, dtype=bool), outside, -9)
    best = linear_sum_assignment(np.hstack([cosine, own]), maximize=True)
    total = np.hstack([cosine, own])[best].sum()
    assert (u[:, None] + v >= cosine - 1e-9).all(), "no pair exceeds them"
    assert 0 <= u.sum() + v.sum() - total <= 60 * 3 * auction.STEP
    assert cosine[has.nonzero()[0], partner[has]].sum() + outside * (~has).sum() >= total - 60 * 2 * auction.STEP


def test_few_candidates_take_several_rounds_to_the_same_total():
    a, b = planted(torch.Generator().manual_seed(0), 400, 400, 16)
    few, many = assign(a, b, candidates=1), assign(a, b, candidates=100)
    assert few.rounds > 3 > many.rounds and few.edges < 400**2 / 10
    assert few.objective == pytest.approx(many.objective, rel=1e-12)
    check(few, a, b)


def test_order_and_side_do_not_change_the_total():
    generator = torch.Generator().manual_seed(0)
    a, b = planted(generator, 150, 130, 12)
    first = assign(a, b, candidates=4)
    rows, columns = torch.randperm(150, generator=generator), torch.randperm(130, generator=generator)
    moved, swapped = assign(a[rows], b[columns], candidates=4), assign(b, a, candidates=4)
    assert moved.objective == pytest.approx(first.objective, rel=1e-12)
    assert swapped.objective == pytest.approx(first.objective, rel=1e-12)
    back = np.where(moved.partner >= 0, columns.numpy()[moved.partner], -1)  # cosines differ, so the optimum is unique
    assert (back == first.partner[rows]).all()


def test_same_input_gives_the_same_result():
    a, b = duplicates(torch.Generator().manual_seed(0), 80, 90, 6)
    one, two = assign(a, b, candidates=2), assign(a, b, candidates=2)
    assert (one.partner == two.partner).all() and (one.row_potential == two.row_potential).all()
    assert (one.gap, one.rounds, one.edges) == (two.gap, two.rounds, two.edges)


def test_a_permuted_copy_is_found_at_once():
    a = unit(normal(torch.Generator().manual_seed(0), 500, 24))
    order = torch.randperm(500, generator=torch.Generator().manual_seed(1))
    found = assign(a, a[order], candidates=8)
    assert (order.numpy()[found.partner] == np.arange(500)).all()
    assert (found.rounds, found.edges) == (1, 500), "rough potentials leave the matched pairs alone"


def test_two_thousand_planted_latents_without_the_matrix(monkeypatch):
    sizes = []

    def spy(a, b):
        sizes.append(len(a) * len(b))
        return products.product(a, b)

    monkeypatch.setattr(candidates, "product", spy)
    monkeypatch.setattr(duals, "product", spy)
    a, b = planted(torch.Generator().manual_seed(0), 2000, 2000, 64)
    found = assign(a, b, block=2**17)
    assert max(sizes) <= 2**17 < 2000**2 / 30
    assert sum(sizes) >= 2000**2, "every pair is looked at"
    assert found.edges < 2000**2 / 20
    check(found, a, b)


def test_margin_covers_the_rounding_of_float32():
    # Rows that differ by less than float32 can tell: only the float64 cosines know the optimum.
    generator = torch.Generator().manual_seed(0)
    centre = normal(generator, 1, 64)
    a, b = (unit(centre + 1e-3 * normal(generator, 80, 64)) for _ in range(2))
    found = assign(a, b, candidates=2)
    check(found, a, b)
    assert found.gap < 1e-8


def test_near_ties_end():
    # scipy's solver of square problems did not come back from these.
    a, b = planted(torch.Generator().manual_seed(3), 300, 300, 2)
    check(assign(a, b), a, b)


@pytest.mark.parametrize("spread", [1e-3, 1e-6])
def test_500_rows_that_are_nearly_one_end_in_few_rounds(spread):
    generator = torch.Generator().manual_seed(0)
    a, b = (unit(normal(generator, 900, 64)) for _ in range(2))
    for rows in (a, b):
        rows[:500] = unit(torch.ones(64, dtype=torch.float64) + spread * normal(generator, 500, 64))
    found = assign(a, b)
    check(found, a, b)
    assert found.rounds <= 10


def test_match_takes_the_sparse_road_above_the_limit(monkeypatch):
    a, b = planted(torch.Generator().manual_seed(0), 90, 70, 8)
    a[4] = 0
    below = matching.match(3 * a, b)
    monkeypatch.setattr(matching, "DENSE_PAIRS", 89 * 70)
    above = matching.match(3 * a, b)
    assert above.gap is not None and below.gap is None and above.gap <= 1e-6 * np.nansum(above.cosine)
    assert (above.partner[above.cosine > 0] == below.partner[below.cosine > 0]).all()
    assert np.nansum(above.cosine) == pytest.approx(np.nansum(below.cosine), rel=1e-12)
    assert above.partner.dtype == below.partner.dtype and above.cosine.dtype == below.cosine.dtype
