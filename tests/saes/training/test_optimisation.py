"""The steps around the optimiser, against numbers worked out by hand."""

import pytest
import torch
import torch.nn.functional as F

from sae_utils.saes.training import optimisation


def test_schedule_by_hand():
    """100 steps, 10 of warm-up, 20 of decay."""
    factors = [optimisation.schedule(step, 100, 0.1, 0.2) for step in range(100)]
    assert factors[0] == 0.1 and factors[4] == 0.5 and factors[9] == 1
    assert set(factors[9:81]) == {1}
    assert factors[81] == pytest.approx(0.95) and factors[90] == 0.5 and factors[99] == 0.05
    assert all(a >= b for a, b in zip(factors[80:], factors[81:], strict=False))


@pytest.mark.parametrize("n_steps", [1, 2, 7, 1000])
def test_schedule_stays_within_0_and_1(n_steps):
    for warmup, decay in ((0, 0), (0.05, 0.95), (1, 1), (0, 1), (1, 0)):
        factors = [optimisation.schedule(step, n_steps, warmup, decay) for step in range(n_steps)]
        assert all(0 < f <= 1 for f in factors)
    assert all(optimisation.schedule(step, n_steps, 0, 0) == 1 for step in range(n_steps))


def test_learning_rate_falls_with_the_root_of_the_width():
    assert optimisation.learning_rate(2**14, 2e-4) == 2e-4
    assert optimisation.learning_rate(2**10, 2e-4) == pytest.approx(8e-4)


def test_parallel_gradient_is_removed_and_the_rest_kept():
    generator = torch.Generator().manual_seed(0)
    rows = F.normalize(torch.randn(2, 5, 8, generator=generator, dtype=torch.float64), dim=-1)
    across = torch.randn(2, 5, 8, generator=generator, dtype=torch.float64)
    across -= (across * rows).sum(-1, keepdim=True) * rows
    grad = across + 3 * rows
    optimisation.remove_parallel_gradient(grad, rows)
    torch.testing.assert_close(grad, across, rtol=1e-12, atol=1e-12)


def test_rows_have_norm_one_and_their_direction():
    rows = torch.tensor([[[3.0, 4.0], [0.0, -0.1], [0.0, 0.0]]])
    optimisation.normalise_rows(rows)
    torch.testing.assert_close(rows, torch.tensor([[[0.6, 0.8], [0.0, -1.0], [0.0, 0.0]]]))


def test_each_member_is_clipped_by_itself():
    """Joint norms over the two tensors: 5, 0.5 and 0."""
    grads = [
        torch.tensor([[[3.0, 0.0]], [[0.3, 0.0]], [[0.0, 0.0]]]),
        torch.tensor([[4.0], [0.4], [0.0]]),
    ]
    norms = optimisation.clip_per_dictionary(grads, 1.0)
    torch.testing.assert_close(norms, torch.tensor([5.0, 0.5, 0.0]))
    torch.testing.assert_close(grads[0][:, 0, 0], torch.tensor([0.6, 0.3, 0.0]))
    torch.testing.assert_close(grads[1][:, 0], torch.tensor([0.8, 0.4, 0.0]))
