"""Sources of activations behind one interface: in memory, or from a live language model; cache.py has those on disk."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from numbers import Real

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_utils.data.activations.order import Order, kept_positions
from sae_utils.data.activations.shuffle_buffer import shuffled_blocks
from sae_utils.data.models.language_model import LanguageModel, check_dtype
from sae_utils.errors import InputError
from sae_utils.files import sha256_of
from sae_utils.memory import BLOCK_ROWS, FORWARD_TOKENS, MemoryPlan, activation_bytes

SAMPLE_ROWS = 128  # rows that the normalisation is estimated from
_ONE_AT_A_TIME = threading.Lock()  # a model with hooks set serves one caller; two streams may prefetch from it


@dataclass(frozen=True)
class Normalisation:
    """x_norm = (x - mean) * scale, with the scale that makes E||x_norm||^2 = d_in over the sample."""

    mean: Float[Tensor, " d_in"]
    scale: float

    def __post_init__(self):
        if not (0 < self.scale < float("inf") and torch.isfinite(self.mean).all()):
            raise InputError(f"a normalisation needs a finite mean and a positive finite scale, not {self.scale}")

    @staticmethod
    def of(x: Float[Tensor, "n d_in"]) -> "Normalisation":
        """Mean and scale of a sample, summed in float64; raises InputError for activations that do not vary."""
        x = x.double()
        mean = x.mean(0)
        spread = (x - mean).square().sum(1).mean().item()
        if not spread > 0:
            raise InputError(f"the activations cannot be normalised: their total variance is {spread}")
        return Normalisation(mean.float(), (x.shape[1] / spread) ** 0.5)


class ActivationSource(ABC):
    """What training and evaluation read batches from; a subclass says how the activations of given rows are read.

    ``hook_points`` names what each batch holds, ``d_in`` its widths, ``n_tokens`` how many activations a pass has.
    """

    hook_points: tuple[str, ...]
    d_in: dict[str, int]
    order: Order

    @abstractmethod
    def read(self, rows: Int[np.ndarray, " rows"]) -> dict[str, Float[Tensor, "rows context d_in"]]:
        """All activations of the ascending ``rows``, in any floating dtype, at each hook point."""

    @property
    @abstractmethod
    def content(self) -> str:
        """A hash that is equal only for equal batches."""

    def content_at(self, hook_point: str) -> str:
        """A hash that is equal only for equal batches at one hook point."""
        return self.content

    @property
    def n_tokens(self) -> int:
        """Activations in a pass."""
        return self.order.n_tokens

    def memory(self, device: str | torch.device) -> MemoryPlan:
        """What batches on ``device`` need there while they are read: nothing, except for streams."""
        return MemoryPlan()

    @cached_property
    def normalisation(self) -> dict[str, Normalisation]:
        """By hook point, estimated once and then kept."""
        return self.estimate_normalisation()

    def estimate_normalisation(self) -> dict[str, Normalisation]:
        """By hook point, from evenly spaced rows."""
        n_rows = len(self.order.keep)
        rows = np.unique(np.linspace(0, n_rows - 1, min(n_rows, SAMPLE_ROWS)).astype(np.int64))
        keep = torch.from_numpy(self.order.keep[rows])
        return {name: Normalisation.of(x.cpu()[keep]) for name, x in self.read(rows).items()}

    def batches(
        self, batch_size: int, data_seed: int, first_batch: int = 0, device: str | torch.device = "cpu"
    ) -> Iterator[dict[str, Float[Tensor, "batch d_in"]]]:
        """Endless raw float32 batches; batch i is the same whatever ``first_batch`` the run began with."""
        check_whole("batch_size", batch_size, 1)
        check_whole("data_seed", data_seed, 0)
        check_whole("first_batch", first_batch, 0)
        return self._batches(int(batch_size), int(data_seed), int(first_batch), device)

    def _batches(self, batch_size, data_seed, first_batch, device):
        with closing(self._blocks(data_seed, first_batch * batch_size, torch.device(device))) as blocks:
            for batch in _cut(blocks, batch_size):
                # A copy, since a block may be overwritten once it is read.
                yield {name: x.to(device, torch.float32, copy=True) for name, x in batch.items()}

    def _blocks(self, data_seed, position, device) -> Iterator[dict[str, Float[Tensor, "taken d"]]]:
        """The shuffled activations of block after block; each is valid until the next is asked for."""
        for block in self.order.blocks(data_seed, position):
            take = torch.from_numpy(block.take)
            yield {
                name: x.flatten(0, 1).index_select(0, take.to(x.device)) for name, x in self.read(block.rows).items()
            }


def _cut(blocks: Iterable[dict[str, Tensor]], size: int) -> Iterator[dict[str, Float[Tensor, "size d"]]]:
    """Batches of ``size`` of the activations of all blocks laid end to end."""
    rest, missing = [], size  # of the batch that is begun: its pieces, and how many activations it lacks
    for block in blocks:
        n = len(next(iter(block.values())))
        start = 0
        while n - start >= missing:
            pieces = [*rest, {name: x[start : start + missing] for name, x in block.items()}]
            yield {name: torch.cat([piece[name] for piece in pieces]) for name in block} if rest else pieces[0]
            start += missing
            rest, missing = [], size
        if start < n:
            rest.append({name: x[start:].clone() for name, x in block.items()})
            missing -= n - start


class TensorSource(ActivationSource):
    """Activations in memory, ``{hook point: [n, d_in]}``: for synthetic data and tests.

    Raises InputError where the tensors are not floating [n, d_in] with one n.
    """

    def __init__(self, tensors: Mapping[str, Float[Tensor, "n d_in"]], block_rows: int = BLOCK_ROWS * 256):
        shapes = {name: tuple(x.shape) for name, x in tensors.items()}
        floating = all(x.ndim == 2 and x.is_floating_point() for x in tensors.values())
        if not (tensors and floating and len({shape[0] for shape in shapes.values()}) == 1):
            raise InputError(f"a TensorSource needs floating tensors [n, d_in] with one n, not {shapes}")
        self.hook_points = tuple(tensors)
        self.d_in = {name: shape[1] for name, shape in shapes.items()}
        self.order = Order(np.ones((len(tensors[self.hook_points[0]]), 1), dtype=bool), block_rows)
        self._tensors = dict(tensors)

    @cached_property
    def content(self) -> str:
        """A hash of the tensors."""
        parts = [str(self.order.block_rows)]
        for name, x in self._tensors.items():
            values = x.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
            parts += [f"{name} {x.dtype} {tuple(x.shape)}", values]
        return sha256_of(parts)

    def read(self, rows):
        """The rows, with a context of one."""
        return {name: x[torch.from_numpy(rows).to(x.device), None] for name, x in self._tensors.items()}

    def estimate_normalisation(self) -> dict[str, Normalisation]:
        """By hook point, of all the activations."""
        return {name: Normalisation.of(x.cpu()) for name, x in self._tensors.items()}


class ActivationStream(ActivationSource):
    """Activations that a language model computes as they are asked for, for what no disk holds.

    ``rows`` [n_rows, context] are token ids; the first position of each row and end-of-text tokens are left out of the
    batches. These come from a shuffle buffer of ``block_rows`` rows on the device that they are asked for on, in
    ``dtype`` (None: as the model gives them; bfloat16 halves float32). With ``prefetch`` there are two, and a thread
    fills one while the other is read; None: on CUDA alone, since on the CPU both would want the same cores. Neither
    changes the order of the batches, nor does ``prefetch`` any bit.
    """

    def __init__(
        self,
        model: LanguageModel,
        rows: Int[np.ndarray, "n_rows context"],
        hook_points: Sequence[str],
        block_rows: int = BLOCK_ROWS,
        dtype: torch.dtype | str | None = None,
        prefetch: bool | None = None,
    ):
        found = probe(model, rows, hook_points)
        self.hook_points = tuple(hook_points)
        self.d_in = {name: x.shape[-1] for name, x in found.items()}
        self.dtypes = {name: x.dtype if dtype is None else check_dtype(dtype) for name, x in found.items()}
        self.order = Order(kept_positions(rows, model.tokenizer.eos_token_id), block_rows)
        self._model, self._rows, self._prefetch = model, rows, prefetch
        self._capacity = min(block_rows, len(rows)) * rows.shape[1]  # of a buffer

    @cached_property
    def content(self) -> str:
        """A hash of the model's weights, the tokens, which of them take part, and the dtype they are kept in."""
        about = f"{self._model.fingerprint} {self.hook_points} {self.dtypes} {self.order.block_rows} {self._rows.shape}"
        return sha256_of([about, np.ascontiguousarray(self._rows), self.order.keep.tobytes()])

    def prefetches(self, device: str | torch.device) -> bool:
        """Whether batches on ``device`` come from two buffers."""
        return torch.device(device).type == "cuda" if self._prefetch is None else self._prefetch

    def memory(self, device):
        """The model, where it is there, and the buffers."""
        there = self._model.device.type == torch.device(device).type
        model = sum(weight.nbytes for weight in self._model.weights.parameters()) if there else 0
        sizes = [activation_bytes(self._capacity, self.d_in[name], dtype) for name, dtype in self.dtypes.items()]
        return MemoryPlan(model=model, buffer=sum(sizes) * (2 if self.prefetches(device) else 1))

    def read(self, rows):
        """Forward passes over the rows."""
        parts = list(self._parts(rows))
        return {name: torch.cat([part[name] for part in parts]) for name in self.hook_points}

    def _parts(self, rows):
        return forward(self._model, self._rows[rows], self.hook_points)

    def _blocks(self, data_seed, position, device):
        like = {name: (self.d_in[name], self.dtypes[name]) for name in self.hook_points}
        blocks = self.order.blocks(data_seed, position)
        return shuffled_blocks(self._parts, blocks, like, self._capacity, device, self.prefetches(device))


def forward(
    model: LanguageModel, rows: Int[np.ndarray, "n_rows context"], hook_points: Sequence[str]
) -> Iterator[dict[str, Float[Tensor, "part context d"]]]:
    """Activations of the rows in order, some rows at a time.

    The last part is filled up to the size of the others, because the rounding of a matrix product depends on its
    shape: so a row's activations do not depend on how many rows it is asked for with.
    """
    size = rows_in_a_pass(model, rows.shape[1])
    for start in range(0, len(rows), size):
        part = rows[start : start + size].astype(np.int64)
        n = len(part)
        filled = np.concatenate([part, np.repeat(part[:1], size - n, axis=0)])
        with _ONE_AT_A_TIME:
            found = model.activations(torch.from_numpy(filled), hook_points)
        yield {name: x[:n] for name, x in found.items()}


def rows_in_a_pass(model: LanguageModel, context: int) -> int:
    """How many rows of ``context`` tokens a forward pass takes on the model's device."""
    return max(1, FORWARD_TOKENS.get(model.device.type, FORWARD_TOKENS["cpu"]) // context)


def probe(
    model: LanguageModel, rows: Int[np.ndarray, "n_rows context"], hook_points: Sequence[str]
) -> dict[str, Float[Tensor, "one two d"]]:
    """Activations of a short row; raises InputError for wrong ``rows`` and for hook points that cannot be read.

    They are unknown, repeated or none, or have more than one vector for a token.
    """
    check_rows(model, rows)
    if not hook_points or len(set(hook_points)) < len(hook_points):
        raise InputError(f"hook_points={list(hook_points)} must be one or more different names")
    found = model.activations(torch.from_numpy(rows[:1, :2].astype(np.int64)), hook_points)
    for name, x in found.items():
        if x.ndim != 3:
            raise InputError(f"hook point {name!r} has {list(x.shape[2:])} numbers for a token; dictionaries read [d]")
    return found


def check_whole(name: str, value: int, least: int) -> None:
    """Raise InputError where ``value`` is not a whole number of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise InputError(f"{name}={value!r} must be a whole number of at least {least}")


def check_number(name: str, value: float, least: float, most: float) -> None:
    """Raise InputError where ``value`` is not a number from ``least`` to ``most``; NaN is none, nor is True."""
    if isinstance(value, bool) or not isinstance(value, Real) or not least <= value <= most:
        raise InputError(f"{name}={value!r} must be a number from {least:g} to {most:g}")


def check_rows(model: LanguageModel, rows: Int[np.ndarray, "n_rows context"]) -> None:
    """Raise InputError where ``rows`` are not token ids [n_rows, context] that ``model`` can read."""
    if rows.ndim != 2 or not len(rows) or not np.issubdtype(rows.dtype, np.integer):
        raise InputError(f"rows must be token ids [n_rows, context], not {rows.dtype} {list(rows.shape)}")
    if rows.shape[1] > model.context:
        raise InputError(f"rows of {rows.shape[1]} tokens are longer than the {model.context} of {model.name}")
    if rows.min() < 0 or rows.max() >= model.n_vocab:
        raise InputError(
            f"token ids {rows.min()} to {rows.max()} are not all below {model.n_vocab}, as {model.name} needs"
        )
