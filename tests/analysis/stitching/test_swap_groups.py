"""Swap groups against a brute-force union-find, and each kind planted."""

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from sae_utils.analysis.stitching.swap_groups import KINDS, relate


def union_find(small, large, threshold):
    """Every edge merges two sets; returns the sets that have latents of both, as (small, large) tuples."""
    n, m = len(small), len(large)
    parent = list(range(n + m))

    def root(i):
        while parent[i] != i:
            i = parent[i]
        return i

    for i in range(n):
        for j in range(m):
            if torch.dot(small[i], large[j]) / (small[i].norm() * large[j].norm()) > threshold:
                parent[root(i)] = root(n + j)
    sets = {}
    for i in range(n + m):
        sets.setdefault(root(i), []).append(i)
    pairs = [(tuple(i for i in s if i < n), tuple(i - n for i in s if i >= n)) for s in sets.values()]
    return sorted(pair for pair in pairs if pair[0] and pair[1])


def as_tuples(relation):
    return sorted((tuple(g.small.tolist()), tuple(g.large.tolist())) for g in relation.groups)


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.7, 0.95])
@pytest.mark.parametrize("seed", range(3))
def test_groups_are_those_of_union_find(seed, threshold):
    generator = torch.Generator().manual_seed(seed)
    small = torch.randn(30, 6, dtype=torch.float64, generator=generator)
    large = torch.cat([small + 0.5 * torch.randn(30, 6, dtype=torch.float64, generator=generator),
                       torch.randn(25, 6, dtype=torch.float64, generator=generator)])  # fmt: skip
    relation = relate(small, 3 * large, threshold)
    assert as_tuples(relation) == union_find(small, large, threshold)
    of_small = np.concatenate([*(g.small for g in relation.groups), relation.lost])
    of_large = np.concatenate([*(g.large for g in relation.groups), relation.novel])
    assert sorted(of_small) == list(range(30)) and sorted(of_large) == list(range(55))
    cosine = normalize(large, dim=-1) @ normalize(small, dim=-1).T
    assert relation.novel.tolist() == (cosine.max(1).values <= threshold).nonzero()[:, 0].tolist()
    np.testing.assert_allclose(relation.cosine, cosine.max(1).values)
    assert relation.lost.tolist() == (cosine.max(0).values <= threshold).nonzero()[:, 0].tolist()


def planted():
    """Small 0: identical to large 1; small 1: split into large 0, 3; small 2, 3: merged into large 2; small 4: lost;
    small 5, 6 and large 4, 5: many to many; large 6: novel."""
    e = torch.eye(12, dtype=torch.float64)
    small = torch.stack([e[0], e[1], e[2] + e[3], e[2] - e[3], e[4], e[5] + e[6], e[6] + e[7]])
    large = torch.stack([e[1] + 0.5 * e[8], e[0], e[2], e[1] - 0.5 * e[8], e[5] + e[6], e[6], e[9]])
    return small, large


def test_each_kind_is_counted():
    relation = relate(*planted(), threshold=0.6)
    kinds = {group.kind: (group.small.tolist(), group.large.tolist()) for group in relation.groups}
    assert kinds == {
        "identical": ([0], [1]),
        "split": ([1], [0, 3]),
        "merged": ([2, 3], [2]),
        "many_to_many": ([5, 6], [4, 5]),
    }
    assert relation.counts() == dict.fromkeys(KINDS, 1) | {"novel": 1, "lost": 1}
    assert relation.novel.tolist() == [6] and relation.lost.tolist() == [4]


def test_dead_latents_join_nothing():
    small, large = planted()
    alive_small, alive_large = np.ones(7, dtype=bool), np.ones(7, dtype=bool)
    alive_small[3] = alive_large[1] = alive_large[6] = False
    relation = relate(small, large, 0.6, alive_small, alive_large)
    assert as_tuples(relation) == [((1,), (0, 3)), ((2,), (2,)), ((5, 6), (4, 5))]
    assert relation.lost.tolist() == [0, 4] and relation.novel.tolist() == []
    assert relation.cosine[[0, 4]] == pytest.approx([(1 / 1.25) ** 0.5, 1]) and relation.cosine[6] == 0
    assert (relate(small, large, 0.6, np.zeros(7, dtype=bool)).cosine == -1).all()
    assert relation.dead_small.tolist() == [3] and relation.dead_large.tolist() == [1, 6]


def test_blocks_of_rows_give_the_same_groups(monkeypatch):
    expected = as_tuples(relate(*planted(), threshold=0.6))
    monkeypatch.setattr("sae_utils.analysis.stitching.swap_groups.BLOCK", 2)
    assert as_tuples(relate(*planted(), threshold=0.6)) == expected
