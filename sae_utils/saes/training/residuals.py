"""Sources that training needs beside the data's own: activations held in memory, and residuals for boosting.

Each boosted dictionary is trained on what the frozen ones before it leave unexplained (paper C, section 3). It is an
ordinary stack on an ordinary source, whose activations are the residuals: so everything in its loss, AuxK too, is about
the residual. Boosted ensembles are trained side by side (``grid``): each residual is a hook point of one source.
"""

from collections.abc import Mapping

import numpy as np
import torch

from sae_utils.data.activations import ActivationSource, Order, check_whole
from sae_utils.errors import InputError
from sae_utils.files import sha256_of
from sae_utils.memory import BLOCK_ROWS, HELD_GB
from sae_utils.saes.base import Dictionary
from sae_utils.saes.training.checkpoints import raw_bytes


class _DerivedSource(ActivationSource):
    """A source made from another, hook point by hook point."""

    @property
    def content(self) -> str:
        """A hash of the hook points' contents."""
        return sha256_of([f"{name} {self.content_at(name)}" for name in self.hook_points])


class HeldSource(_DerivedSource):
    """The first rows of another source in memory, as many as have ``n_tokens`` activations; all of them if None.

    Raises InputError where the source has fewer.
    """

    def __init__(self, source: ActivationSource, n_tokens: int | None = None):
        keep = source.order.keep
        if n_tokens is not None:
            check_whole("n_tokens", n_tokens, 1)
            if n_tokens > source.n_tokens:
                raise InputError(f"n_tokens={n_tokens} must be at most the {source.n_tokens} activations of the source")
            keep = keep[: 1 + int(source.order.row_counts.cumsum().searchsorted(n_tokens))]
        self.hook_points, self.d_in = source.hook_points, source.d_in
        self.order = Order(keep, source.order.block_rows)
        # Of strings: the source itself is not needed again, and may hold much memory.
        self._contents = {name: sha256_of([source.content_at(name), f"first {len(keep)}"]) for name in self.hook_points}
        blocks = np.split(np.arange(len(keep)), range(BLOCK_ROWS, len(keep), BLOCK_ROWS))
        parts = [source.read(rows) for rows in blocks]
        self._held = {name: torch.cat([part[name] for part in parts]) for name in self.hook_points}

    def content_at(self, hook_point: str) -> str:
        """A hash of what the source has there and of the number of rows."""
        return self._contents[hook_point]

    def read(self, rows):
        """The rows from memory."""
        return {name: x[torch.from_numpy(rows).to(x.device)] for name, x in self._held.items()}


class PartSource(_DerivedSource):
    """Every ``step``-th row, from the ``first`` on, of part ``which`` of ``n_parts`` equal parts of another source.

    Raises InputError where there is no activation in these rows.
    """

    def __init__(self, source: ActivationSource, which: int, n_parts: int, first: int = 0, step: int = 1):
        n_rows = len(source.order.keep)
        self._rows = np.arange(n_rows * which // n_parts + first, n_rows * (which + 1) // n_parts, step)
        self.hook_points, self.d_in, self._source = source.hook_points, source.d_in, source
        self.order = Order(source.order.keep[self._rows], source.order.block_rows)

    def content_at(self, hook_point: str) -> str:
        """A hash of what the source has there and of which rows."""
        return sha256_of([self._source.content_at(hook_point), self._rows.astype(np.int64)])

    def memory(self, device):
        """As the source."""
        return self._source.memory(device)

    def read(self, rows):
        """The rows from the source."""
        return self._source.read(self._rows[rows])


class ResidualSource(_DerivedSource):
    """What each of some frozen dictionaries leaves of the activations that it reads from another source.

    ``frozen`` maps the name of a new hook point to a dictionary, whose own ``hook_point`` is one of ``source``'s.
    """

    def __init__(self, source: ActivationSource, frozen: Mapping[str, Dictionary]):
        for sae in frozen.values():
            if sae.hook_point not in source.hook_points:
                known = ", ".join(source.hook_points)
                raise InputError(f"hook point {sae.hook_point!r} is not among the activations: {known}")
            if sae.n_dictionaries != 1:
                raise InputError(f"residuals are of one dictionary each, not of a stack of {sae.n_dictionaries}")
        self.hook_points = tuple(frozen)
        self.d_in = {name: sae.config.d_in for name, sae in frozen.items()}
        self.order, self._source, self._frozen = source.order, source, dict(frozen)

    def content_at(self, hook_point: str) -> str:
        """A hash of the dictionary and of what it reads: not of the others whose residuals are beside it."""
        sae = self._frozen[hook_point]
        tensors = [raw_bytes(tensor) for tensor in sae.state_dict().values()]
        return sha256_of([self._source.content_at(sae.hook_point), f"{sae.hook_point} {sae.config}", *tensors])

    @torch.no_grad()
    def read(self, rows):
        """The source's activations less each dictionary's reconstruction, float32."""
        base, out = self._source.read(rows), {}
        for name, sae in self._frozen.items():
            x = base[sae.hook_point].to(sae.W_dec.device).float()
            out[name] = x - sae(x.flatten(0, 1))[:, 0].view_as(x)
        return out


def hold(source: ActivationSource, n_tokens: int | None = None) -> ActivationSource:
    """The source's first ``n_tokens`` activations in memory; the source itself where they take over ``HELD_GB``."""
    size_gb = 4e-9 * (n_tokens or source.n_tokens) * sum(source.d_in.values())
    return source if size_gb > HELD_GB else HeldSource(source, n_tokens)
