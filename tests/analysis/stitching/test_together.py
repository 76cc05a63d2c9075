"""All novel latents at once, against forward passes of dictionaries that were changed by hand, and planted cases."""

import numpy as np
import pytest
import torch
from helpers.planted_stacks import sae_of
from helpers.stitched_pairs import mse, pair

from sae_utils.analysis.stitching.together import code_the_residual, insert_together, residuals
from sae_utils.analysis.stitching.walk import pair_error
from sae_utils.saes import ARCHITECTURES

CHOSEN = np.array([0, 3, 7, 11, 20])


def enlarged(sae, factor):
    same = sae.dictionary(0)
    with torch.no_grad():
        same.W_dec.mul_(factor)
    return same


@torch.no_grad()
def both_sums(small, large, x):
    """Contributions of the smaller SAE's latents and of the chosen of the larger, without biases, in raw units."""
    matrices = [torch.tensor(sae.encode(x).matrix(0, sae.config.n_latents).toarray()) for sae in (small, large)]
    matrices[1][:, np.setdiff1d(np.arange(40), CHOSEN)] = 0
    return [z @ sae.W_dec[0] / sae.scale for z, sae in zip(matrices, (small, large), strict=True)]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_number_is_that_of_forward_passes(architecture):
    small, large, x = pair(architecture, seeds=((0,), (1,)))
    first, second = x[:120], x[120:]
    found = insert_together(pair_error(small, large, [first]), pair_error(small, large, [second]), CHOSEN)
    own, inserted = both_sums(small, large, second)
    base = mse(second, small(second)[:, 0])
    with torch.no_grad():
        assert found.change == pytest.approx(mse(second, small(second)[:, 0] + inserted) / base - 1)
        scaled = small(second)[:, 0] + found.factor * inserted
        assert found.scaled_change == pytest.approx(mse(second, scaled) / base - 1)
        assert found.cosine == pytest.approx((own * inserted).sum().item() / (own.norm() * inserted.norm()).item())
        large_enough = enlarged(small, found.unshrunk_factor)(second)[:, 0]
        of_it = mse(second, large_enough + inserted) / mse(second, large_enough) - 1
        assert found.unshrunk_change == pytest.approx(of_it)
        for step in (-1e-3, 1e-3):  # factors are the best on the tokens that they were fitted on
            _, sums = both_sums(small, large, first)
            at = [mse(first, small(first)[:, 0] + (found.factor + s) * sums) for s in (0, step)]
            assert at[0] < at[1]
            at = [mse(first, enlarged(small, found.unshrunk_factor + s)(first)[:, 0]) for s in (0, step)]
            assert at[0] < at[1]


def test_nothing_chosen_has_no_numbers():
    small, large, x = pair("relu", seeds=((0,), (1,)))
    error = pair_error(small, large, [x])
    assert np.isnan(insert_together(error, error, np.array([], dtype=int)).change)


def test_a_complete_code_counts_twice():
    """The larger SAE is the smaller one again: its sum is the smaller's, and half of either is enough."""
    small, _, x = pair("topk", seeds=((0,), (1,)))
    error = pair_error(small, small, [x])
    assert insert_together(error, error, np.arange(24)).cosine == pytest.approx(1)


def missing_directions():
    """A smaller SAE that has 4 of 8 orthogonal directions, and what is on the other 4."""
    sae = sae_of(torch.eye(8, dtype=torch.float64)[None, :4], architecture="relu", sparsity=0.0)
    x = torch.rand(300, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return sae, x, torch.eye(8, dtype=torch.float64)[4:]


def test_the_residual_is_what_the_missing_directions_hold():
    sae, x, _ = missing_directions()
    expected = torch.cat([torch.zeros(300, 4).double(), x[:, 4:]], dim=1)
    torch.testing.assert_close(torch.cat(list(residuals(sae, x.split(64)))), expected)


def test_what_is_left_is_coded_by_its_largest_parts_first():
    sae, x, rows = missing_directions()
    power = x[:, 4:].square().sort(1, descending=True).values.mean(0).cumsum(0)
    for n in range(1, 5):
        found = code_the_residual(sae, 3 * rows, n, x.split(64))
        assert found == pytest.approx(-(power[n - 1] / power[-1]).item())
    assert code_the_residual(sae, -rows, 2, [x]) == 0  # activations are positive
    assert code_the_residual(sae, sae.W_dec[0], 2, [x]) == pytest.approx(0, abs=1e-12)  # nothing of it is left
