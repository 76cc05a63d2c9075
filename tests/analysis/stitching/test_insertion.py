"""Insertion of all latents at once against one forward pass per latent."""

import numpy as np
import pytest
import torch
from helpers.stitched_pairs import mse, pair

from sae_utils.analysis.stitching.insertion import insert
from sae_utils.saes import ARCHITECTURES
from sae_utils.saes.stitched import whole

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-9}


def one_by_one(small, large, x, s, t):
    """The definition: one latent's activation, by its own SAE, times its decoder row, added to the reconstruction.

    The larger SAE's decoder bias, which differs, is in its encoder alone.
    """
    with torch.no_grad():
        base, z = small(x)[:, s], large.encode(x).dense(large.config.n_latents)[:, t]
        rows = large.W_dec[t] / large.scale
        return np.array([mse(x, base + z[:, [j]] * rows[j]) - mse(x, base) for j in range(z.shape[1])])


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_all_at_once_is_one_by_one(architecture, dtype):
    small, large, x = pair(architecture, dtype)
    found = insert(small, large, x.split(64))
    assert found.change.shape == (2, 3, 40)
    for s in range(2):
        assert found.mse[s] == pytest.approx(mse(x, small(x)[:, s].detach()), rel=1e-6)
        for t in range(3):
            expected = one_by_one(small, large, x, s, t)
            largest = np.abs(expected).max()
            assert largest > 0.01
            # The oracle subtracts two means; below a thousandth of the largest change its own digits end.
            np.testing.assert_allclose(
                found.change[s, t], expected, rtol=TOLERANCE[dtype], atol=1e-3 * TOLERANCE[dtype] * largest
            )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_set_is_inserted_as_its_latents_together(architecture):
    small, large, x = pair(architecture)
    found = insert(small, large, x.split(64), sets=True)
    chosen = np.random.default_rng(0).random(40) < 0.4
    with torch.no_grad():
        z = large.encode(x).dense(40)[:, 2] * torch.from_numpy(chosen)
        x_hat = small(x)[:, 1] + z @ large.W_dec[2] / large.scale
        expected = mse(x, x_hat) - mse(x, small(x)[:, 1])
    assert found.change_of_set(1, 2, chosen) == pytest.approx(expected, rel=1e-9)
    order = found.greedy(1, 2, chosen)
    changes = found.along(1, 2, order)
    assert sorted(order) == np.flatnonzero(chosen).tolist()
    assert changes[-1] == pytest.approx(expected, rel=1e-9)
    assert changes[0] == pytest.approx(found.change[1, 2][chosen].min())
    for m in range(1, len(order)):
        before = np.isin(np.arange(40), order[:m])
        best = min(found.change_of_set(1, 2, before | (np.arange(40) == j)) for j in order[m:])
        assert changes[m] == pytest.approx(best, rel=1e-6)


def test_the_size_of_the_batches_and_the_stacks_change_nothing():
    small, large, x = pair("batch_topk")
    whole_pass, parts = insert(small, large, [x]), insert(small, large, x.split(7))
    np.testing.assert_allclose(parts.change, whole_pass.change, rtol=1e-12)
    alone = insert(small.dictionary(1), large.dictionary(2), [x])
    np.testing.assert_allclose(alone.change[0, 0], whole_pass.change[1, 2], rtol=1e-12)
    np.testing.assert_allclose(
        insert(whole(small.dictionary(1)), large, [x]).change[0], whole_pass.change[1], rtol=1e-12
    )


def test_other_decoder_rows_at_the_same_activations():
    small, large, x = pair("topk")
    generator = torch.Generator().manual_seed(3)
    rows = torch.nn.functional.normalize(
        torch.randn(large.W_dec.shape, dtype=torch.float64, generator=generator), dim=-1
    )
    rows = rows * large.W_dec.detach().norm(dim=-1, keepdim=True)
    found = insert(small, large, [x], {"random": rows})
    with torch.no_grad():
        large.W_dec.copy_(rows)
    np.testing.assert_allclose(found.change_replaced("random"), insert(small, large, [x]).change, rtol=1e-9)


def test_dead_latents_change_nothing():
    small, large, x = pair("relu")
    with torch.no_grad():
        large.b_enc[:, :5] = -1000
    found = insert(small, large, [x])
    assert not found.alive[:, :5].any() and found.alive[:, 5:].any()
    assert (found.change[:, :, :5] == 0).all()
