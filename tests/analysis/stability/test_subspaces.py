import numpy as np
import pytest
import torch

from sae_utils.analysis.stability.subspaces import leading_subspace, subspace_overlap


def in_plane(axes, n=200, d=8, seed=0):
    """Unit directions spread evenly in the span of some axes."""
    rows = torch.zeros(n, d, dtype=torch.float64)
    rows[:, axes] = torch.randn(n, len(axes), dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return rows


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [([0, 1], [0, 1], 1), ([0, 1], [2, 3], 0), ([0, 1], [1, 2], 0.5), ([0, 1], [0, 1, 2, 3], 1), ([3], [3], 1)],
)
def test_overlap_of_planes_is_the_share_of_axes_that_the_smaller_has_in_common(one, other, expected):
    assert subspace_overlap(in_plane(one), in_plane(other, seed=1)) == pytest.approx(expected, abs=1e-9)


def test_the_rank_is_the_effective_one():
    assert leading_subspace(in_plane([0, 1, 2])).shape == (8, 3)
    few = torch.cat([in_plane([0], 97), in_plane([1, 2], 3)])
    assert leading_subspace(few).shape == (8, 1)  # (.97 + .03)^2 / (.97^2 + ...) is 1.06


def test_random_subspaces_overlap_by_rank_over_dimensions():
    values = []
    for seed in range(40):
        turned = [torch.linalg.qr(torch.randn(16, 16, generator=torch.Generator().manual_seed(2 * seed + s)))[0]
                  for s in range(2)]  # fmt: skip
        values.append(subspace_overlap(*(rows[:4].double() for rows in turned)))
    assert np.mean(values) == pytest.approx(4 / 16, abs=0.02)


def test_no_rows_have_no_subspace():
    assert np.isnan(subspace_overlap(torch.zeros(0, 3), torch.eye(3)))
