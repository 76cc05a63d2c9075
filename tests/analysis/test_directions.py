import numpy as np
import pytest
import torch

from sae_utils.analysis import directions as nulls
from sae_utils.analysis.directions import covariance, directions, null_stacks, second_moment
from sae_utils.errors import InputError


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_covariance_is_numpy_s_and_does_not_depend_on_the_batches():
    x = 3 + torch.randn(500, 6, generator=generator()) @ torch.randn(6, 6, generator=generator(1))
    expected = np.cov(x.double().numpy().T, bias=True)
    for size in (500, 64, 1):
        np.testing.assert_allclose(covariance(x.split(size)).numpy(), expected, rtol=1e-9, atol=1e-12)
    far = x.double() + 1e6  # a mean that would swallow the digits of a plain sum of squares
    np.testing.assert_allclose(covariance(far.split(64)).numpy(), np.cov(far.numpy().T, bias=True), rtol=1e-6)


def test_second_moment_takes_directions_alone_and_is_about_zero():
    rows = torch.tensor([[2.0, 0.0], [7.0, 0.0], [0.0, 0.5], [0.0, -3.0]])
    np.testing.assert_allclose(second_moment(rows).numpy(), [[0.5, 0], [0, 0.5]])


def test_directions_are_unit_and_have_the_covariance_asked_for():
    x = torch.randn(4000, 5, generator=generator(), dtype=torch.float64) * torch.tensor([3, 1, 1, 0.3, 0.0])
    rotation = torch.linalg.qr(torch.randn(5, 5, generator=generator(2), dtype=torch.float64)).Q
    rows = directions(20_000, covariance([x @ rotation.T]), generator(1))
    np.testing.assert_allclose(rows.norm(dim=1), 1, rtol=1e-12)
    # The same normal variables, scaled to unit length, drawn in the other basis.
    z = torch.randn(20_000, 5, generator=generator(3), dtype=torch.float64) * torch.tensor([3, 1, 1, 0.3, 0.0])
    expected = rotation @ second_moment(z) @ rotation.T
    np.testing.assert_allclose(second_moment(rows), expected, atol=0.02)
    np.testing.assert_allclose(rows @ rotation[:, 4], 0, atol=1e-6)  # nothing where there is no variance


def test_stacks_of_every_kind():
    spread = torch.diag(torch.tensor([4.0, 1.0, 1.0, 1e-9]))
    stacks = null_stacks((3, 50), {nulls.ACTIVATIONS: spread, nulls.DECODERS: torch.eye(4)}, seed=0)
    assert set(stacks) == set(nulls.KINDS)
    for kind, (encoders, decoders) in stacks.items():
        assert encoders.shape == decoders.shape == (3, 50, 4)
        assert torch.equal(encoders, decoders) == kind.endswith(nulls.TIED)
        assert len(decoders.flatten(0, 1).unique(dim=0)) == 150, "every dictionary has directions of its own"
    assert stacks["activations_tied"][1][..., 3].abs().max() < 1e-3
    assert stacks["uniform_tied"][1][..., 3].abs().max() > 0.5
    again = null_stacks((3, 50), {nulls.ACTIVATIONS: spread, nulls.DECODERS: torch.eye(4)}, seed=0)
    assert all(torch.equal(a, b) for kind in stacks for a, b in zip(stacks[kind], again[kind], strict=True))


def test_a_source_that_is_kept_is_what_it_is_beside_the_others():
    spreads = {nulls.ACTIVATIONS: torch.diag(torch.tensor([4.0, 1.0, 1.0, 0.1])), nulls.DECODERS: torch.eye(4)}
    every, some = (null_stacks((2, 9), spreads, 0, *keep) for keep in ((), ([nulls.DECODERS],)))
    assert list(some) == ["decoders_tied", "decoders_independent"]
    for kind, stack in some.items():
        assert all(torch.equal(a, b) for a, b in zip(stack, every[kind], strict=True))


def test_what_no_direction_can_be_drawn_from_is_refused():
    with pytest.raises(InputError, match="covariance of zero"):
        directions(3, torch.zeros(4, 4), generator())
    with pytest.raises(InputError, match="no activations"):
        covariance([])
