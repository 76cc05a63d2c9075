"""Sources of activations behind one interface: in memory, from a live language model, or (activation_cache) on disk."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_utils.data.errors import InputError
from sae_utils.data.language_model import LanguageModel
from sae_utils.data.order import Order, kept_positions

BLOCK_ROWS = 256  # 65,536 activations of 128 float16 are 17 MB
FORWARD_TOKENS = 4096  # at 8,192 glibc maps the attention scores (33 MB) anew for each pass: 1.8 times slower
SAMPLE_ROWS = 128  # rows that the normalisation is estimated from


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
    """What training and evaluation read; a subclass says how the activations of some rows are got.

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

    @property
    def n_tokens(self) -> int:
        """Activations in a pass."""
        return self.order.n_tokens

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
        rest: dict[str, Tensor] | None = None
        for block in self.order.blocks(data_seed, first_batch * batch_size):
            take = torch.from_numpy(block.take)
            taken = {
                name: x.flatten(0, 1).index_select(0, take.to(x.device)) for name, x in self.read(block.rows).items()
            }
            if rest is not None:
                taken = {name: torch.cat([rest[name], x]) for name, x in taken.items()}
            n = len(taken[self.hook_points[0]])
            whole = n - n % batch_size
            for start in range(0, whole, batch_size):
                yield {name: x[start : start + batch_size].to(device).float() for name, x in taken.items()}
            rest = {name: x[whole:] for name, x in taken.items()}


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
        sha = hashlib.sha256(str(self.order.block_rows).encode())
        for name, x in self._tensors.items():
            sha.update(
                f"{name} {x.dtype} {tuple(x.shape)}".encode()
                + x.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
            )
        return sha.hexdigest()

    def read(self, rows):
        """The rows, with a context of one."""
        return {name: x[torch.from_numpy(rows).to(x.device), None] for name, x in self._tensors.items()}

    def estimate_normalisation(self) -> dict[str, Normalisation]:
        """By hook point, of all the activations."""
        return {name: Normalisation.of(x.cpu()) for name, x in self._tensors.items()}


class ActivationStream(ActivationSource):
    """Activations that a language model computes as they are asked for, for what no disk holds.

    ``rows`` [n_rows, context] are token ids. Left out of the batches: the first position of each row and, unless
    ``exclude_end_of_text`` is False, end-of-text tokens.
    """

    def __init__(
        self,
        model: LanguageModel,
        rows: Int[np.ndarray, "n_rows context"],
        hook_points: Sequence[str],
        block_rows: int = BLOCK_ROWS,
        exclude_end_of_text: bool = True,
    ):
        check_rows(model, rows)
        self.hook_points = tuple(hook_points)
        self.d_in = widths(model, rows, hook_points)
        end = model.tokenizer.eos_token_id if exclude_end_of_text else None
        self.order = Order(kept_positions(rows, end), block_rows)
        self._model, self._rows = model, rows

    @cached_property
    def content(self) -> str:
        """A hash of the model's weights, the tokens, and which of them take part."""
        about = f"{self._model.fingerprint} {self.hook_points} {self.order.block_rows} {self._rows.shape}"
        sha = hashlib.sha256(about.encode() + np.ascontiguousarray(self._rows).tobytes())
        sha.update(self.order.keep.tobytes())
        return sha.hexdigest()

    def read(self, rows):
        """Forward passes over the rows."""
        parts = list(forward(self._model, self._rows[rows], self.hook_points))
        return {name: torch.cat([part[name] for part in parts]) for name in self.hook_points}


def forward(
    model: LanguageModel, rows: Int[np.ndarray, "n_rows context"], hook_points: Sequence[str]
) -> Iterator[dict[str, Float[Tensor, "part context d"]]]:
    """Activations of the rows in order, some rows at a time.

    The last part is filled up to the size of the others, because the rounding of a matrix product depends on its
    shape: so a row's activations do not depend on how many rows it is asked for with.
    """
    size = max(1, FORWARD_TOKENS // rows.shape[1])
    for start in range(0, len(rows), size):
        part = rows[start : start + size].astype(np.int64)
        n = len(part)
        filled = np.concatenate([part, np.repeat(part[:1], size - n, axis=0)])
        yield {name: x[:n] for name, x in model.activations(torch.from_numpy(filled), hook_points).items()}


def widths(model: LanguageModel, rows: Int[np.ndarray, "n_rows context"], hook_points: Sequence[str]) -> dict[str, int]:
    """Width of each hook point, from one short row; raises InputError for unknown, repeated or no hook points."""
    if not hook_points or len(set(hook_points)) < len(hook_points):
        raise InputError(f"hook_points={list(hook_points)} must be one or more different names")
    row = torch.from_numpy(rows[:1, :2].astype(np.int64))
    return {name: x.shape[-1] for name, x in model.activations(row, hook_points).items()}


def check_whole(name: str, value: int, least: int) -> None:
    """Raise InputError where ``value`` is not a whole number of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise InputError(f"{name}={value!r} must be a whole number of at least {least}")


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
