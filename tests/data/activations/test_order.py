"""The order of activations: every kept one once a pass, any position without replay, the data seed alone."""

import itertools

import numpy as np
import pytest

from sae_utils.data.activations import Order, kept_positions
from sae_utils.errors import InputError


def taken(order: Order, data_seed: int, n: int, position: int = 0) -> list[tuple[int, int]]:
    """The first ``n`` (row, position in the row) from ``position`` on."""
    context = order.keep.shape[1]
    run = (
        (int(block.rows[i // context]), int(i % context))
        for block in order.blocks(data_seed, position)
        for i in block.take
    )
    return list(itertools.islice(run, n))


@pytest.fixture
def order():
    rng = np.random.default_rng(0)
    return Order(kept_positions(rng.integers(0, 5, (23, 7)), end_of_text=0), block_rows=4)


def test_kept_are_all_but_first_positions_and_end_of_text():
    rows = np.array([[5, 1, 0, 2], [0, 0, 3, 4]])
    assert kept_positions(rows, 0).tolist() == [[False, True, False, True], [False, False, True, True]]
    assert kept_positions(rows, None).tolist() == [[False, True, True, True]] * 2


def test_each_pass_has_every_kept_activation_once_in_another_order(order):
    n = order.n_tokens
    run = taken(order, 0, 3 * n)
    passes = [run[i * n : (i + 1) * n] for i in range(3)]
    for one in passes:
        assert sorted(one) == sorted(map(tuple, np.argwhere(order.keep).tolist()))
    assert passes[0] != passes[1] != passes[2]


def test_a_run_from_anywhere_is_the_rest_of_the_run_from_the_start(order):
    run = taken(order, 3, 3 * order.n_tokens)
    for position in range(2 * order.n_tokens):
        assert taken(order, 3, 50, position) == run[position : position + 50]


def test_a_block_without_activations_is_passed_over():
    keep = np.zeros((6, 3), dtype=bool)
    keep[2, 1] = keep[5, 2] = True
    order = Order(keep, block_rows=1)
    run = taken(order, 0, 20)
    for position in range(10):
        assert sorted(run[2 * position : 2 * position + 2]) == [(2, 1), (5, 2)]
        assert taken(order, 0, 5, position) == run[position : position + 5]


def test_nothing_left_is_refused():
    with pytest.raises(InputError, match="every position is excluded"):
        Order(np.zeros((3, 4), dtype=bool), 2)
