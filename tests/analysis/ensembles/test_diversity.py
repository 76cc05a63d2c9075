"""Connectivity, diversity and stability by hand on small dictionaries, and the released code's slips."""

import numpy as np
import pytest
import torch
from scipy import sparse

from sae_utils.analysis.directions import random_directions
from sae_utils.analysis.ensembles.diversity import (
    BLOCK,
    connectivity,
    connectivity_null,
    diversity,
    nearest_by_group,
    over_runs,
    stability,
    stability_null,
)
from sae_utils.analysis.statistics import jackknife
from sae_utils.errors import InputError

E0, E1, E2 = torch.eye(3)


def test_connectivity_by_hand():
    """Latents 0 and 1 fire together, 2 alone: of 9 ordered pairs, 5 are active together (3 with themselves)."""
    code = sparse.csr_matrix(np.array([[1.0, 2.0, 0.0], [0.0, 0.0, 3.0], [4.0, 0.0, 0.0]]))
    found = connectivity(code, np.array([0, 1, 2]))
    np.testing.assert_allclose(found, [1 - 1 / 1, 1 - 4 / 4, 1 - 5 / 9])
    np.testing.assert_allclose(connectivity(code, np.array([0, 0, 1])), [1 - 4 / 4, 1 - 5 / 9])


def test_independent_latents_are_as_connected_as_their_null():
    """Of 100 draws, also of the first members alone; a latent that fires is active with itself."""
    rng = np.random.default_rng(0)
    frequency, member = rng.uniform(0, 0.4, 12), np.repeat([0, 1, 2], 4)
    draws = [connectivity(sparse.csr_matrix((rng.random((20, 12)) < frequency) * 1.0), member) for _ in range(400)]
    found = connectivity_null(frequency, member, 20)
    np.testing.assert_allclose(found, np.mean(draws, axis=0), atol=0.02)
    first = np.mean([(1 - frequency[i] * (frequency[j] if i != j else 1)) ** 20 for i in range(4) for j in range(4)])
    assert found[0] == pytest.approx(first)


def test_diversity_by_hand():
    """The second is close to the first (.8), the third to none; lengths do not count."""
    rows = torch.stack([E0, 5 * (0.8 * E0 + 0.6 * E1), 0.1 * E2])
    assert diversity(rows, np.array([0, 1, 1])).tolist() == [1, 1]
    assert diversity(rows, np.array([0, 1, 2])).tolist() == [1, 0, 1]


def test_likeness_within_a_block_is_seen():
    """The released code zeroes blocks of 1,024 x 1,024 on the diagonal, so it would count both copies as diverse."""
    rows = random_directions(BLOCK + 10, 64, seed=0)
    rows[1] = rows[0]  # in one block
    rows[BLOCK + 1] = rows[2]  # in two
    cosines = rows @ rows.T - 2 * torch.eye(len(rows))
    expected = int((cosines.max(1).values < 0.7).sum())
    assert diversity(rows, np.zeros(len(rows), dtype=int)).tolist() == [expected]
    assert expected <= len(rows) - 4


def test_nearest_by_group_against_the_whole_matrix():
    a, b = random_directions(30, 5, 0), random_directions(40, 5, 1)
    group = np.arange(40) % 3
    expected = np.stack([(a @ b[group == g].T).max(1).values.numpy() for g in range(3)], axis=1)
    np.testing.assert_allclose(nearest_by_group(2 * a, b, group), expected)
    alone = nearest_by_group(a[:2], a[:2], np.array([0, 2]), same=True)
    assert alone[0].tolist() == [-np.inf, -np.inf, pytest.approx(float(a[0] @ a[1]))]


def alone(runs):
    """The members of runs that have one each."""
    return [np.zeros(len(rows), dtype=int) for rows in runs]


def test_stability_by_hand():
    """Of a latent the largest cosine to any other run: run 0 has E1 from run 2, which alone run 1 does not have."""
    runs = [torch.stack([E0, E1]), E0[None], torch.stack([3 * E1, 0.8 * E0 + 0.6 * E2])]
    found = stability(runs, alone(runs))
    every = [(1 + 1) / 2, 1, (1 + 0.8) / 2]
    without = [np.mean([0.8, (0 + 0.8) / 2]), np.mean([(0.8 + 1) / 2, (1 + 0.8) / 2]), np.mean([(1 + 0) / 2, 1])]
    np.testing.assert_allclose(found[:, 0], [np.mean(every), *without], atol=1e-12)
    assert over_runs(found)[0].ends == pytest.approx(jackknife(np.mean(every), without).ends)


def test_stability_of_the_first_members_alone():
    runs = [random_directions(12, 5, seed) for seed in range(3)]
    members = [np.arange(12) // 4, np.arange(12) // 6, np.array([0, 2] * 6)]
    found = stability(runs, members)
    for j in range(3):
        first = [rows[member <= j] for rows, member in zip(runs, members, strict=True)]
        np.testing.assert_allclose(found[:, j], stability(first, alone(first))[:, 0])


def test_the_null_is_what_random_runs_of_that_size_have_and_grows_with_them():
    few, many = (stability_null([np.zeros(n, dtype=int)] * 3, torch.eye(256))[0, 0] for n in (50, 900))
    runs = [random_directions(900, 256, seed) for seed in range(1, 4)]
    largest = [(runs[i] @ torch.cat(runs[:i] + runs[i + 1 :]).T).max(1).values.mean().item() for i in range(3)]
    assert few < many == pytest.approx(np.mean(largest), abs=0.005)


@pytest.mark.parametrize("runs", [[E0[None]] * 2, [E0[None], E0[None], E0[None][:0]]])
def test_runs_that_cannot_be_compared_are_refused(runs):
    with pytest.raises(InputError, match="three runs or more, with latents"):
        stability(runs, alone(runs))
