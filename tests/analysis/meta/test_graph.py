"""Graphs, splits and sparse regression against loops over pairs written out here."""

from itertools import combinations

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from sae_utils.analysis.directions import random_directions
from sae_utils.analysis.meta import graph as meta_graph
from sae_utils.analysis.meta.meta_sae import explained_variance
from sae_utils.errors import InputError


@pytest.fixture(scope="module")
def rows():
    return random_directions(30, 8, seed=0).float()


@pytest.fixture(scope="module")
def small():
    return random_directions(6, 8, seed=1).float()


@pytest.fixture(scope="module")
def active():
    return torch.rand(30, 12, generator=torch.Generator().manual_seed(2)) < 0.15


def meta_latents_of(active):
    return [set(row.nonzero()[:, 0].tolist()) for row in active]


def pairs_sharing(active):
    sets = meta_latents_of(active)
    return {(i, j) for i, j in combinations(range(len(sets)), 2) if sets[i] & sets[j]}


def test_closest_is_the_largest_cosine(rows, small):
    found = meta_graph.closest(3 * rows, {"a": 2 * small, "b": rows})
    np.testing.assert_allclose(found["a"], (rows @ small.T).amax(1), rtol=1e-5)
    np.testing.assert_allclose(found["b"], 1, rtol=1e-5)


def test_shared_edges_are_counted_at_the_same_number(rows, small, active):
    edges = pairs_sharing(active)
    cosines = rows @ small.T
    near = {(i, j): float(torch.minimum(cosines[i], cosines[j]).max()) for i, j in combinations(range(30), 2)}
    others = set(sorted(near, key=near.get, reverse=True)[: len(edges)])
    own = {(i, j): float(rows[i] @ rows[j]) for i, j in combinations(range(30), 2)}
    nearest_own = set(sorted(own, key=own.get, reverse=True)[: len(edges)])
    found = meta_graph.edge_shares(rows, active, {"small": small})
    assert 20 < len(edges) < 400
    assert found["small"] == pytest.approx(len(edges & others) / len(edges))
    assert found["own cosines"] == pytest.approx(len(edges & nearest_own) / len(edges))
    assert found["chance"] == pytest.approx(len(edges) / (30 * 29 / 2))


def test_a_graph_shares_all_edges_with_itself_and_fewer_with_random_directions():
    """Random directions share more than chance: rows that are alike are near the same one of any directions."""
    parts = torch.eye(20)
    made_of = torch.rand(200, 20, generator=torch.Generator().manual_seed(0)) < 0.1
    made_of[:, 0] |= ~made_of.any(1)
    rows = normalize(made_of.float() @ parts, dim=-1)
    others = {"parts": parts, "random": random_directions(20, 20, seed=9).float()}
    found = meta_graph.edge_shares(rows, made_of, others)
    assert found["parts"] == 1
    assert found["chance"] < found["random"] < 0.7
    assert np.isnan(meta_graph.edge_shares(rows, torch.zeros(200, 20, dtype=torch.bool), others)["parts"])


def test_of_many_latents_some_are_drawn(rows, small, active, monkeypatch):
    monkeypatch.setattr(meta_graph, "MOST_ROWS", 10)
    chosen = torch.randperm(30, generator=torch.Generator().manual_seed(4))[:10]
    edges = pairs_sharing(active[chosen])
    assert meta_graph.edge_shares(rows, active, {}, seed=4)["chance"] == pytest.approx(len(edges) / 45)


def test_a_latent_splits_from_its_nearest_if_it_is_near_enough(rows, small):
    cosines = rows @ small.T
    origin = meta_graph.split_from(5 * rows, small, threshold=0.4)
    for row, found in zip(cosines, origin.tolist(), strict=True):
        assert found == (int(row.argmax()) if row.max() > 0.4 else -1)
    assert 0 < (origin >= 0).sum() < 30


def test_sharing_of_siblings_is_the_mean_jaccard_index_of_their_pairs(rows, small, active):
    origin = meta_graph.split_from(rows, small, threshold=0.3)
    sets = meta_latents_of(active)
    kept = [i for i in range(30) if origin[i] >= 0]
    pairs = list(combinations(kept, 2))
    alike = {(i, j): len(sets[i] & sets[j]) / max(1, len(sets[i] | sets[j])) for i, j in pairs}
    siblings = [pair for pair in pairs if origin[pair[0]] == origin[pair[1]]]
    found = meta_graph.split_sharing(rows, active, origin, n_permutations=200)
    assert found.n_pairs == len(siblings) > 3
    assert found.siblings == pytest.approx(np.mean([alike[pair] for pair in siblings]))
    assert np.mean(found.permuted) == pytest.approx(np.mean(list(alike.values())), abs=0.02)
    strangers = [pair for pair in pairs if pair not in siblings]
    cosine = {(i, j): float(rows[i] @ rows[j]) for i, j in pairs}
    matched = [min(strangers, key=lambda p, s=s: abs(cosine[p] - cosine[s])) for s in siblings]
    assert found.equal_cosine == pytest.approx(np.mean([alike[pair] for pair in matched]))
    assert found.cosine == pytest.approx(np.mean([cosine[pair] for pair in siblings]))
    assert found.matched_cosine == pytest.approx(np.mean([cosine[pair] for pair in matched]))


def test_without_splits_there_is_nothing_to_compare(rows, active):
    found = meta_graph.split_sharing(rows, active, torch.arange(30))
    assert found.n_pairs == 0 and np.isnan(found.siblings) and found.permuted == ()
    with pytest.raises(InputError, match="30 latents, 30 codes and 3 origins"):
        meta_graph.split_sharing(rows, active, torch.arange(3))


def test_pooled_sharing_counts_pairs_alike():
    none = meta_graph.SplitSharing(0)
    some = meta_graph.SplitSharing(1, 0.8, (0.1, 0.3), 0.5, 0.9, 0.4)
    more = meta_graph.SplitSharing(3, 0.4, (0.2, 0.2), 0.1, 0.5, 0.4)
    found = meta_graph.pooled_sharing([none, some, more])
    assert found.n_pairs == 4 and found.siblings == pytest.approx(0.5)
    assert found.permuted == pytest.approx((0.175, 0.225)) and found.equal_cosine == pytest.approx(0.2)
    assert found.cosine == pytest.approx(0.6) and found.matched_cosine == pytest.approx(0.4)
    nothing = meta_graph.pooled_sharing([none, none])
    assert nothing.n_pairs == 0 and np.isnan(nothing.siblings) and np.isnan(nothing.equal_cosine)


def test_slope():
    assert meta_graph.slope_per_doubling([64, 128, 256], [1.0, 1.5, 2.0]) == pytest.approx(0.5)


def test_matching_pursuit_finds_sums_of_orthogonal_atoms_and_least_squares_of_one_term(rows):
    atoms, _ = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(0)))
    assert meta_graph.matching_pursuit(rows, atoms, 8) == pytest.approx(1, abs=1e-6)
    centred = rows - rows.mean(0)
    products = centred @ atoms.T
    best = products.abs().argmax(1)
    approximation = products.gather(1, best[:, None]) * atoms[best] + rows.mean(0)
    assert meta_graph.matching_pursuit(rows, atoms, 1) == pytest.approx(
        explained_variance(rows, approximation), abs=1e-5
    )
    assert meta_graph.matching_pursuit(rows, atoms[:3], 5) < 1


@pytest.mark.parametrize("n_terms", [1, 3, 8])
def test_matching_pursuit_of_many_atoms_is_that_of_scikit_learn(rows, n_terms, monkeypatch):
    """Also of rows that are sums of fewer atoms than may be used."""
    atoms = random_directions(20, 8, seed=4).float()
    rows = torch.cat([rows, atoms[:3], atoms[3:5] + atoms[5:7]])
    expected = meta_graph.matching_pursuit(rows, atoms, n_terms)
    monkeypatch.setattr(meta_graph, "MOST_ATOMS", 19)
    assert meta_graph.matching_pursuit(rows, atoms, n_terms) == pytest.approx(expected, abs=1e-9)
