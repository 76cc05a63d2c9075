"""Sums and products over bags of rows, against loops."""

import torch

from sae_utils.saes import bags

COUNTS = torch.tensor([3, 0, 5, 1, 0])  # pairs of each bag
STARTS = COUNTS.cumsum(0) - COUNTS
BAGS = torch.arange(5).repeat_interleave(COUNTS)


def table_and_rows():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(7, 4, generator=generator), torch.randint(7, (9,), generator=generator)


def test_a_bags_sum_is_of_its_rows_times_their_weights_and_0_without_any():
    table, rows = table_and_rows()
    weights = torch.linspace(-1, 1, 9)
    expected = torch.zeros(5, 4)
    for pair, bag in enumerate(BAGS.tolist()):
        expected[bag] += weights[pair] * table[rows[pair]]
    assert torch.allclose(bags.bag_sum(table, rows, STARTS, weights), expected, atol=1e-6)


def test_a_pairs_product_is_of_its_bags_row_and_its_own():
    table, rows = table_and_rows()
    left = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    expected = torch.stack([left[bag] @ table[row] for bag, row in zip(BAGS.tolist(), rows.tolist(), strict=True)])
    assert torch.allclose(bags.bag_dots(left, table, rows, STARTS, BAGS), expected, atol=1e-6)


def test_what_is_on_the_cpu_is_not_for_triton():
    assert bags.triton_for(torch.zeros(2, 2)) is None
