"""The order of activations in training: a closed form of (data seed, pass, block), the same for every source.

A pass permutes the token rows; ``block_rows`` consecutive rows are a block; the activations of a block are permuted.
The activations of pass after pass are one endless run, and batch i is its i-th piece. So any batch can be found
without replaying those before it, and costs the reading of its block.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Int

from sae_utils.errors import InputError


@dataclass(frozen=True)
class Block:
    """Rows to read, ascending, and which activations to take: ``take`` indexes their positions laid end to end."""

    rows: Int[np.ndarray, " rows"]
    take: Int[np.ndarray, " taken"]


@dataclass(frozen=True)
class Order:
    """``keep`` [n_rows, context]: which activations take part. Raises InputError where none does."""

    keep: Bool[np.ndarray, "n_rows context"]
    block_rows: int

    def __post_init__(self):
        if self.block_rows < 1:
            raise InputError(f"block_rows={self.block_rows} must be at least 1")
        if not self.keep.any():
            raise InputError("no activations are left: every position is excluded")

    @cached_property
    def row_counts(self) -> Int[np.ndarray, " n_rows"]:
        """Activations that each row has."""
        return self.keep.sum(1)

    @cached_property
    def n_tokens(self) -> int:
        """Activations in a pass."""
        return int(self.row_counts.sum())

    def blocks(self, data_seed: int, position: int = 0) -> Iterator[Block]:
        """The blocks of the endless run from its activation number ``position`` on; the first may be a rest."""
        pass_index, skip = divmod(position, self.n_tokens)
        while True:
            # A third number always: numpy takes (seed, pass) and (seed, pass, 0) for the same seed.
            rows = np.random.default_rng((data_seed, pass_index, 0)).permutation(len(self.keep))
            starts = np.arange(0, len(rows), self.block_rows)
            ends = np.add.reduceat(self.row_counts[rows], starts).cumsum()
            first = int(np.searchsorted(ends, skip, side="right"))
            skip -= int(ends[first - 1]) if first else 0
            for index in range(first, len(starts)):
                chosen = np.sort(rows[starts[index] : starts[index] + self.block_rows])
                take = np.flatnonzero(self.keep[chosen])
                np.random.default_rng((data_seed, pass_index, index + 1)).shuffle(take)
                yield Block(chosen, take[skip:])
                skip = 0
            pass_index += 1


def kept_positions(
    rows: Int[np.ndarray, "n_rows context"], end_of_text: int | None
) -> Bool[np.ndarray, "n_rows context"]:
    """All positions but the first of each row, where attention sinks, and those of the token ``end_of_text``."""
    keep = np.ones(rows.shape, dtype=bool) if end_of_text is None else rows != end_of_text
    keep[:, 0] = False
    return keep
