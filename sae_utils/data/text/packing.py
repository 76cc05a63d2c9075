"""Documents -> packed rows of token ids, in a file that grows and survives whatever ends the process.

``rows-<key>.bin`` holds the rows one after another. ``rows-<key>.json`` beside it says how many of them are whole and
where the next document is; it is replaced after the rows are on the disk, and rows beyond it are cut off.
"""

import contextlib
import fcntl
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int
from tqdm import tqdm

from sae_utils.data.text.row_start import row_start
from sae_utils.data.text.streams import Dropped
from sae_utils.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LARGEST_IN_MEMORY = 2**28  # bytes: more rows than that stay in their file
FEWEST, MOST = 64, 1024  # documents tokenised together: few where few are asked for, many for the tokenizer's threads

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Block:
    """Documents that are ordered together, and where in their source they begin."""

    position: dict
    texts: list[str]


@dataclass(frozen=True)
class State:
    """What is packed: rows, the tokens that do not fill a row yet, and the document that comes next.

    ``used``: documents of the block at ``position`` that are packed; ``ended``: whether there are no more.
    """

    rows: int = 0
    rest: tuple[int, ...] = ()
    position: dict | None = None
    used: int = 0
    ended: bool = False


Blocks = Callable[[dict | None], Iterable[Block]]  # from a position on


@dataclass(frozen=True)
class Packer:
    """Rows of ``context`` tokens of documents that end in the end-of-text token, each row behind its first token."""

    tokenizer: "PreTrainedTokenizerBase"
    context: int

    @property
    def dtype(self) -> type:
        """uint16 where the vocabulary fits, else int32."""
        return np.uint16 if len(self.tokenizer) <= 2**16 else np.int32

    def pack(self, blocks: Blocks, state: State) -> Iterator[tuple[Int[np.ndarray, "n context"], State]]:
        """New rows, some at a time, each with the state after them; the last have ``ended``."""
        first = row_start(self.tokenizer)
        width = self.context - (first is not None)
        rest, size = np.array(state.rest, dtype=self.dtype), FEWEST
        used = state.used
        for block in blocks(state.position):
            while used < len(block.texts):
                batch = block.texts[used : used + size]
                tokens = np.concatenate([rest, *self._tokens(batch)])
                n = len(tokens) // width
                rows, rest = tokens[: n * width].reshape(n, width), tokens[n * width :]
                if first is not None:
                    rows = np.concatenate([np.full((n, 1), first, dtype=self.dtype), rows], axis=1)
                used, size = used + len(batch), min(2 * size, MOST)
                state = State(state.rows + n, tuple(rest.tolist()), block.position, used)
                yield rows, state
            used = 0
        yield np.empty((0, self.context), dtype=self.dtype), replace(state, ended=True)

    def _tokens(self, texts: list[str]) -> Iterator[np.ndarray]:
        encoded = self.tokenizer(texts, add_special_tokens=False, return_attention_mask=False, verbose=False)
        for ids in encoded["input_ids"]:
            yield np.array([*ids, self.tokenizer.eos_token_id], dtype=self.dtype)


def pack_in_memory(packer: Packer, blocks: Blocks, n_rows: int, what: str) -> Int[np.ndarray, "n_rows context"]:
    """The first ``n_rows``. Raises InputError where there are fewer."""
    pieces = []
    for rows, state in packer.pack(blocks, State()):
        pieces.append(rows)
        if state.rows >= n_rows:
            return np.concatenate(pieces)[:n_rows]
    raise _too_few(state, n_rows, packer, what)


def pack_in_file(
    path: Path, packer: Packer, blocks: Blocks, n_rows: int, what: str
) -> Int[np.ndarray, "n_rows context"]:
    """The first ``n_rows``, from the file ``path`` (.bin), which gets those that it lacks.

    A read-only memory map where they are larger than LARGEST_IN_MEMORY. One process writes at a time; others wait.
    Raises InputError where there are fewer, where the disk is full and where the connection drops for good; what was
    packed by then is kept.
    """
    file = RowFile(path, packer.context, packer.dtype)
    if file.state().rows < n_rows:
        with file.locked():
            _extend(file, packer, blocks, n_rows, what)
    return file.read(n_rows)


def _extend(file: "RowFile", packer: Packer, blocks: Blocks, n_rows: int, what: str) -> None:
    state = file.state()  # another process may have been at it while this one waited
    file.check_room(n_rows - state.rows, what)
    shown = tqdm(desc="tokenising", unit="row", total=n_rows, initial=state.rows, delay=10, leave=False)
    with shown, file.opened(state) as append, contextlib.closing(packer.pack(blocks, state)) as packed:
        while state.rows < n_rows and not state.ended:
            try:
                rows, state = next(packed)
            except Dropped as error:
                raise Dropped(f"{error}; {file.kept()}") from error
            append(rows, state)
            shown.update(len(rows))
    if state.rows < n_rows:
        raise _too_few(state, n_rows, packer, what)


@dataclass(frozen=True)
class RowFile:
    """Rows of one length in a file, with the state beside it."""

    path: Path
    context: int
    dtype: type

    @property
    def row_bytes(self) -> int:
        """Of each row in the file."""
        return self.context * np.dtype(self.dtype).itemsize

    def state(self) -> State:
        """What the file holds; nothing where it is not there, or shorter than its state says."""
        try:
            stored = json.loads(self.path.with_suffix(".json").read_text())
            state = State(**stored | {"rest": tuple(stored["rest"])})
            return state if self.path.stat().st_size >= state.rows * self.row_bytes else State()
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return State()

    def kept(self) -> str:
        """What is there after a failure, in words."""
        return f"{self.state().rows:,} rows are kept, and the same call goes on from there"

    def read(self, n_rows: int) -> Int[np.ndarray, "n_rows context"]:
        """The first ``n_rows``, mapped where they are large."""
        if n_rows * self.row_bytes > LARGEST_IN_MEMORY:
            return np.memmap(self.path, dtype=self.dtype, mode="r", shape=(n_rows, self.context))
        return np.fromfile(self.path, dtype=self.dtype, count=n_rows * self.context).reshape(n_rows, self.context)

    def check_room(self, n_rows: int, what: str) -> None:
        """Raise InputError where the disk has no room for so many more rows."""
        free, needed = shutil.disk_usage(self.path.parent).free, n_rows * self.row_bytes
        if needed > free:
            raise InputError(
                f"{what}: {needed / 1e9:.1f} GB of rows do not fit into {self.path.parent}, which has {free / 1e9:.1f}"
            )

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Waits until no other process writes."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                logger.warning("another process is packing %s: waiting for it", self.path)
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextlib.contextmanager
    def opened(self, state: State) -> Iterator[Callable[[np.ndarray, State], None]]:
        """A function that appends rows and then writes the state, both on the disk when it returns."""

        def append(rows: np.ndarray, state: State) -> None:
            try:
                left = memoryview(rows.tobytes())
                while left:  # where the disk is nearly full, it takes a part
                    left = left[file.write(left) :]
                os.fsync(file.fileno())
                self._write(state)
            except OSError as error:
                raise InputError(f"{self.path} cannot be written ({error.strerror}); {self.kept()}") from error

        with open(self.path, "r+b", buffering=0) as file:
            file.truncate(state.rows * self.row_bytes)
            file.seek(0, os.SEEK_END)
            yield append

    def _write(self, state: State) -> None:
        part = self.path.with_suffix(".json.part")
        with open(part, "w") as file:
            json.dump(asdict(state), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, self.path.with_suffix(".json"))


def _too_few(state: State, n_rows: int, packer: Packer, what: str) -> InputError:
    n_tokens = state.rows * packer.context + len(state.rest)
    return InputError(
        f"{what} has {n_tokens:,} tokens, {state.rows:,} rows of {packer.context}; asked for n_rows={n_rows:,}"
    )
