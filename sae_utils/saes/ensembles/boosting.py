"""Boosting: each dictionary is trained on what the frozen ones before it leave unexplained (paper C, section 3).

A boosted member is an ordinary stack trained by ``train`` on an ordinary source, whose activations are the residuals.
So everything in its loss, AuxK too, is about the residual. Several boosted ensembles are trained side by side: the
residual of each is a hook point of one source.
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import torch

from sae_utils.data.activations.order import Order
from sae_utils.data.activations.source import BLOCK_ROWS, ActivationSource, check_whole
from sae_utils.errors import InputError
from sae_utils.memory import HELD_GB as LARGEST_GB
from sae_utils.saes.ensembles.ensemble import Ensemble
from sae_utils.saes.sae import SAE
from sae_utils.saes.training.store import train_or_load
from sae_utils.saes.training.training import TrainingConfig

SEED_STRIDE = 10_000  # member j of the ensemble that begins with seed s has seed s + 10,000 j


class HeldSource(ActivationSource):
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
        self._name = f"{source.content} first {len(keep)}"
        parts = [source.read(rows) for rows in _in_blocks(len(keep))]
        self._held = {name: torch.cat([part[name] for part in parts]) for name in self.hook_points}

    @cached_property
    def content(self) -> str:
        """A hash of the source and the number of rows."""
        return hashlib.sha256(self._name.encode()).hexdigest()

    def read(self, rows):
        """The rows from memory."""
        return {name: x[torch.from_numpy(rows).to(x.device)] for name, x in self._held.items()}


class ResidualSource(ActivationSource):
    """What each of some frozen dictionaries leaves of the activations that it reads from another source.

    ``frozen`` maps the name of a new hook point to a dictionary, whose own ``hook_point`` is one of ``source``'s.
    """

    def __init__(self, source: ActivationSource, frozen: Mapping[str, SAE | Ensemble]):
        for sae in frozen.values():
            if sae.hook_point not in source.hook_points:
                known = ", ".join(source.hook_points)
                raise InputError(f"hook point {sae.hook_point!r} is not among the activations: {known}")
            if sae.n_dictionaries != 1:
                raise InputError(f"residuals are of one dictionary each, not of a stack of {sae.n_dictionaries}")
        self.hook_points = tuple(frozen)
        self.d_in = {name: sae.config.d_in for name, sae in frozen.items()}
        self.order, self._source, self._frozen = source.order, source, dict(frozen)

    @cached_property
    def content(self) -> str:
        """A hash of the source and of the dictionaries."""
        sha = hashlib.sha256(self._source.content.encode())
        for name, sae in self._frozen.items():
            sha.update(f"{name} {sae.hook_point} {sae.config}".encode())
            for tensor in sae.state_dict().values():
                sha.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        return sha.hexdigest()

    @torch.no_grad()
    def read(self, rows):
        """The source's activations less each dictionary's reconstruction, float32."""
        base, out = self._source.read(rows), {}
        for name, sae in self._frozen.items():
            x = base[sae.hook_point].to(sae.W_dec.device).float()
            out[name] = x - sae(x.flatten(0, 1))[:, 0].view_as(x)
        return out


def hold(source: ActivationSource, n_tokens: int | None = None, largest_gb: float = LARGEST_GB) -> ActivationSource:
    """The source's first ``n_tokens`` activations in memory; the source itself where those are more than allowed."""
    tokens = n_tokens or source.n_tokens
    size_gb = 4e-9 * tokens * sum(source.d_in.values())
    return source if size_gb > largest_gb else HeldSource(source, n_tokens)


def boost(
    first: Sequence[SAE],
    n_members: int,
    source: ActivationSource,
    training: TrainingConfig,
    folder: Path,
    progress: bool = True,
    largest_gb: float = LARGEST_GB,
) -> list[Ensemble]:
    """Boosted ensembles of ``n_members`` each, one for each trained dictionary in ``first``, in lockstep.

    Every later member has the settings of its ensemble's first one, a seed of its own, and is trained by ``training``
    on the residual of ``source``, normalised anew; trained members are kept in ``folder`` (``train_or_load``). The
    residuals are held in memory up to ``largest_gb``; beyond, stage j runs all j - 1 members before it on each batch.
    Raises InputError for stacks of more than one and for first members with the same seed.
    """
    check_whole("n_members", n_members, 1)
    if len({sae.seeds for sae in first}) < len(first):
        raise InputError(f"seeds {[sae.seeds[0] for sae in first]} of the first members must differ")
    members = [[sae] for sae in first]
    for j in range(1, n_members):
        frozen = {f"{m[0].hook_point} less {j} of seed {m[0].seeds[0]}": m[-1] for m in members}
        source = hold(ResidualSource(source, frozen), None, largest_gb)
        stacks = [
            SAE.create(m[0].config, [m[0].seeds[0] + SEED_STRIDE * j], name, source.normalisation[name]).to(m[0].W_dec)
            for name, m in zip(frozen, members, strict=True)
        ]
        for own, trained in zip(members, train_or_load(stacks, source, training, folder, progress), strict=True):
            own.append(trained)
    for own in members:
        for member in own[1:]:  # what it reads is the business of the ensemble now
            member.hook_point = own[0].hook_point
    return [Ensemble(own, sequential=True) for own in members]


def _in_blocks(n_rows: int):
    """All rows in ascending pieces."""
    return (torch.arange(i, min(i + BLOCK_ROWS, n_rows)).numpy() for i in range(0, n_rows, BLOCK_ROWS))
