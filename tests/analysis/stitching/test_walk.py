"""The walk from a small SAE to a large one: every dictionary on it against a forward pass, and its exact end."""

import numpy as np
import pytest
import torch
from helpers.random_saes import ARCHITECTURES
from helpers.stitched_pairs import REFUSALS, mse, other, related

from sae_utils.analysis.stitching.insertion import insert
from sae_utils.analysis.stitching.swap_groups import relate
from sae_utils.analysis.stitching.walk import dictionary_after, direction, pair_error, walk, walk_steps
from sae_utils.errors import InputError
from sae_utils.saes.metrics import evaluate


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_step_is_what_a_forward_pass_gives(architecture):
    small, large, x, relation, error = related(architecture)
    assert len(relation.groups) >= 3 and len(relation.novel) >= 3
    for shuffle in (None, np.random.default_rng(0)):
        steps = walk_steps(relation, error, shuffle=shuffle)
        found = walk(error, steps)
        assert found.phase == tuple(step.phase for step in steps)
        for i in range(len(steps) + 1):
            dictionary = dictionary_after(small, large, steps[:i])
            expected = evaluate(dictionary, [x])
            assert found.mse[i] == pytest.approx(expected.mse.item(), rel=1e-9)
            assert found.l0[i] == pytest.approx(expected.l0.item(), rel=1e-9)
            assert found.n_latents[i] == dictionary.config.n_latents


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_walk_ends_exactly_at_the_larger_sae(architecture, dtype):
    small, large, x, relation, error = related(architecture, dtype)
    for bias in ("with_swaps", "first", "last"):
        end = dictionary_after(small, large, walk_steps(relation, error, bias))
        for name in ("encoder", "W_dec", "b_enc", "b_dec"):
            assert torch.equal(getattr(end, name), getattr(large, name)), name
        assert torch.equal(end(x), large(x))
        found = walk(error, walk_steps(relation, error, bias))
        assert found.mse[-1] == pytest.approx(evaluate(large, [x]).mse.item(), rel=1e-6)
        assert found.n_latents[-1] == 40
    start = dictionary_after(small, large, [])
    assert torch.equal(start(x), small(x)) and torch.equal(start.b_dec, small.b_dec)


@pytest.mark.parametrize("architecture", ["relu", "topk"])
def test_phases_come_in_order_and_use_every_latent_once(architecture):
    _, _, _, relation, error = related(architecture)
    steps = walk_steps(relation, error)
    phases = [step.phase for step in steps]
    assert phases == sorted(phases, key=["insert", "swap", "remove", "dead"].index)
    assert sorted(np.concatenate([step.inserted for step in steps])) == list(range(40))
    assert sorted(np.concatenate([step.removed for step in steps])) == list(range(24))
    biases = [step.bias for step in steps]
    n_insert, n_swap = phases.count("insert"), phases.count("swap")
    assert biases[:n_insert] == [0.0] * n_insert
    np.testing.assert_allclose(biases[n_insert : n_insert + n_swap], np.arange(1, n_swap + 1) / n_swap)
    assert set(biases[n_insert + n_swap :]) == {1.0}


def test_insertions_come_in_the_order_of_what_each_alone_changes():
    small, large, x, relation, error = related("relu")
    steps = [step for step in walk_steps(relation, error) if step.phase == "insert"]
    change = insert(small, large, [x]).change[0, 0]
    alone = [error.change(direction(step, error)) for step in steps]
    np.testing.assert_allclose(alone, [change[step.inserted[0]] for step in steps], rtol=1e-9)
    assert alone == sorted(alone)


def test_the_bias_alone_is_the_shift_of_every_reconstruction():
    small, large, x, _, error = related("jump_relu")
    u = np.zeros(24 + 40 + 1)
    u[-1] = 1
    with torch.no_grad():
        moved = small(x)[:, 0] + (large.b_dec - small.b_dec)[0] / small.scale
        assert error.change(u) == pytest.approx(mse(x, moved) - mse(x, small(x)[:, 0]), rel=1e-9)


def test_without_a_group_the_bias_moves_at_the_end():
    small, large, x, _, error = related("relu")
    relation = relate(small.W_dec[0], large.W_dec[0], 1.0)
    steps = walk_steps(relation, error)
    assert {step.bias for step in steps[:-1]} == {0.0} and steps[-1].bias == 1.0
    assert torch.equal(dictionary_after(small, large, steps)(x), large(x))


def test_what_cannot_be_walked_is_refused():
    small, large, _, relation, error = related("topk")
    with pytest.raises(InputError, match="^bias='never' is unknown; allowed: with_swaps, first, last$"):
        walk_steps(relation, error, "never")
    with pytest.raises(InputError, match="^there are no activations"):
        pair_error(small, large, [])
    for start, changes in REFUSALS.items():
        for function in (lambda a, b: pair_error(a, b, []), lambda a, b: dictionary_after(a, b, [])):
            with pytest.raises(InputError, match=f"^{start}"):
                function(small, other(**changes))
