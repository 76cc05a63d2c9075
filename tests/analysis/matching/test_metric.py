"""The cosine of encoder rows in the metric of the data is a correlation of pre-activations."""

import pytest
import torch

from sae_utils.analysis.directions import covariance
from sae_utils.analysis.matching.matching import Rows, compare
from sae_utils.analysis.matching.metric import empty_share, in_metric
from sae_utils.errors import InputError


def drawn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_cosines_are_correlations_of_pre_activations():
    x = drawn(500, 6) @ drawn(6, 6, seed=1) + 3  # correlated, and far from zero
    rows = drawn(2, 4, 6, seed=2)
    first, second = torch.nn.functional.normalize(in_metric(rows, covariance([x])), dim=-1)
    correlations = torch.corrcoef(torch.cat([rows[0], rows[1]]) @ x.T)[:4, 4:]
    torch.testing.assert_close(first @ second.T, correlations, rtol=1e-9, atol=1e-12)


def test_a_component_along_an_empty_direction_counts_for_nothing():
    x = drawn(1000, 5)
    x[:, 4] *= 1e-6
    rows = drawn(8, 5, seed=1)
    other = rows.clone()
    rows[:, 4], other[:, 4] = 30.0, -30.0  # the same latents; the sign that the start gave differs
    metric = covariance([x])
    raw = compare(Rows(rows, rows), Rows(other, rows))
    data = compare(Rows(in_metric(rows, metric), rows), Rows(in_metric(other, metric), rows))
    assert raw.shared().mean() == 0 and data.shared().mean() == 1


def test_empty_share_is_that_of_the_squared_length():
    turn = torch.linalg.qr(drawn(4, 4))[0]
    metric = turn @ torch.diag(torch.tensor([1.0, 1, 0.02, 0.001], dtype=torch.float64)) @ turn.T
    rows = torch.tensor([[1.0, 2, 2, 4], [0, 0, 0, -7], [3, 0, 1, 0]], dtype=torch.float64) @ turn.T
    torch.testing.assert_close(empty_share(rows[None], metric)[0], torch.tensor([16 / 25, 1, 0], dtype=torch.float64))


@pytest.mark.parametrize(
    ("matrix", "said"),
    [
        (torch.eye(3), "does not fit"),
        (torch.zeros(4, 4), "not zero"),
        (torch.eye(4) * float("nan"), "must be finite"),
    ],
)
def test_refused(matrix, said):
    with pytest.raises(InputError, match=said):
        in_metric(drawn(2, 3, 4), matrix)
