"""Documents -> packed rows of token ids, in a file that grows and survives whatever ends the process.

``rows-<key>.bin`` holds the rows one after another. ``rows-<key>.json`` beside it says how many of them are whole and
where the next document is; it is replaced after the rows are on the disk. Rows that it does not count yet are cut off
when packing goes on.
"""

import contextlib
import itertools
import json
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from jaxtyping import Int
from tqdm import tqdm

from sae_utils.data.text.streams import Dropped
from sae_utils.errors import InputError
from sae_utils.files import only_writer, write_json

if TYPE_CHECKING:
    from transformers import BatchEncoding, PreTrainedTokenizerBase

LARGEST_IN_MEMORY = 2**28  # bytes: more rows than that stay in their file
MIXED = 8192  # rows of several sources that are written together
FEWEST, MOST = 64, 1024  # documents tokenised together: few where few are asked for, many for the tokenizer's threads


@dataclass(frozen=True)
class Block:
    """Documents that are ordered together, and where in their source they begin."""

    position: dict
    texts: list[str]


Blocks = Callable[[dict | None], Iterable[Block]]  # from a position on


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


def row_start(tokenizer: "PreTrainedTokenizerBase") -> int | None:
    """The id that a tokenizer itself puts in front of a text; None where it puts none there (GPT-2, Pythia).

    Every row begins with it: Gemma's activations and losses are useless without. Give it a tokenizer as the model's
    makers left it, as ``LanguageModel.tokenizer`` is: TransformerLens's copies put one in front for every model.
    """
    text = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a", add_special_tokens=True)["input_ids"]
    return None if whole[: len(text)] == text else whole[0]


def tokenise(tokenizer: "PreTrainedTokenizerBase", text: str | list[str], **how) -> "BatchEncoding":
    """The tokenizer's encoding of ``text``, none of it a control token: a page that shows "</s>" has these characters.

    ``how`` goes to the tokenizer. Raises InputError where a tokenizer makes a beginning or end of text of it all the
    same (a Unigram's vocabulary has these names among the others).
    """
    encoded = tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False, **how)
    ids = encoded["input_ids"] if isinstance(text, str) else itertools.chain.from_iterable(encoded["input_ids"])
    for control in {tokenizer.bos_token_id, tokenizer.eos_token_id}.intersection(ids):
        name = tokenizer.convert_ids_to_tokens(control)
        raise InputError(f"a text shows {name!r}, which this tokenizer takes for its control token, asked or not")
    return encoded


@dataclass(frozen=True)
class RowMaker:
    """Makes rows of ``context`` tokens of text: the model's own first token, if it has one, then text.

    ``end`` is the end-of-text token, with which shorter texts are filled up.
    """

    first: int | None
    end: int | None
    context: int

    @classmethod
    def of(cls, tokenizer: "PreTrainedTokenizerBase", context: int) -> Self:
        """The one for a model with this tokenizer (see ``row_start``)."""
        return cls(row_start(tokenizer), tokenizer.eos_token_id, context)

    @property
    def body(self) -> slice:
        """The places of a row that text takes."""
        return slice(0 if self.first is None else 1, None)

    @property
    def width(self) -> int:
        """How many they are."""
        return self.context - self.body.start

    def rows(self, text: Int[np.ndarray, "n width"]) -> Int[np.ndarray, "n context"]:
        """The first token, then ``text``, of whatever width."""
        first = np.full((len(text), self.body.start), self.first or 0, dtype=text.dtype)
        return np.concatenate([first, text], axis=1)

    def filled(self, texts: Sequence[Sequence[int]]) -> Int[np.ndarray, "n context"]:
        """A row for the beginning of each text. Raises InputError where one is short and there is no end-of-text."""
        if self.end is None and min(map(len, texts), default=self.width) < self.width:
            raise InputError(
                "the tokenizer has no end-of-text token (eos_token), with which texts shorter than a row are filled up"
            )
        rows = np.full((len(texts), self.width), self.end or 0, dtype=np.int64)
        for row, ids in zip(rows, texts, strict=True):
            row[: len(ids)] = ids[: self.width]
        return self.rows(rows)


@dataclass(frozen=True)
class Packer:
    """Makes rows of ``context`` tokens: the model's own first token, then documents that end in end-of-text."""

    tokenizer: "PreTrainedTokenizerBase"
    context: int

    @property
    def dtype(self) -> np.dtype:
        """uint16 where the vocabulary fits, else int32."""
        return np.dtype(np.uint16 if len(self.tokenizer) <= 2**16 else np.int32)

    def pack(self, blocks: Blocks, state: State) -> Iterator[tuple[Int[np.ndarray, "n context"], State]]:
        """New rows, some at a time, each with the state after them; the last have ``ended``."""
        maker = RowMaker.of(self.tokenizer, self.context)
        rest, size = np.array(state.rest, dtype=self.dtype), FEWEST
        used = state.used
        for block in blocks(state.position):
            while used < len(block.texts):
                batch = block.texts[used : used + size]
                tokens = np.concatenate([rest, *self._tokens(batch)])
                n = len(tokens) // maker.width
                text, rest = np.split(tokens, [n * maker.width])
                used, size = used + len(batch), min(2 * size, MOST)
                state = State(state.rows + n, tuple(rest.tolist()), block.position, used)
                yield maker.rows(text.reshape(n, maker.width)), state
            used = 0
        yield np.empty((0, self.context), dtype=self.dtype), replace(state, ended=True)

    def _tokens(self, texts: list[str]) -> Iterator[np.ndarray]:
        for ids in tokenise(self.tokenizer, texts, return_attention_mask=False)["input_ids"]:
            yield np.array([*ids, self.tokenizer.eos_token_id], dtype=self.dtype)


@dataclass(frozen=True)
class Mixer:
    """Makes rows of those of several sources: row i is the next of source ``order[i]``."""

    sources: Sequence[Int[np.ndarray, "n context"]]
    order: Int[np.ndarray, " n_rows"]
    context: int
    dtype: np.dtype

    def pack(self, blocks: Blocks, state: State) -> Iterator[tuple[Int[np.ndarray, "n context"], State]]:
        """New rows, some at a time, each with the state after them; no ``blocks`` are read: the sources are packed."""
        used = np.bincount(self.order[: state.rows], minlength=len(self.sources))
        for start in range(state.rows, len(self.order), MIXED):
            order = self.order[start : start + MIXED]
            rows = np.empty((len(order), self.context), dtype=self.dtype)
            for i, source in enumerate(self.sources):
                n = np.count_nonzero(order == i)
                rows[order == i] = source[used[i] : used[i] + n]
                used[i] += n
            yield rows, State(start + len(order))


def pack_in_file(
    path: Path, packer: Packer | Mixer, blocks: Blocks, n_rows: int, what: str
) -> Int[np.ndarray, "n_rows context"]:
    """The first ``n_rows``, from the file ``path`` (.bin), which gets those that it lacks.

    A read-only memory map where they are larger than LARGEST_IN_MEMORY. One process writes at a time; others wait.
    Raises InputError where there are fewer, where the disk is full and where the connection drops for good; what was
    packed by then is kept. ``what`` names the documents in the messages.
    """
    file = RowFile(path, packer)
    if file.state().rows < n_rows:
        with only_writer(path.with_suffix(".lock"), f"the rows of {what}"), path.open("ab", buffering=0) as end:
            state = file.extend(end, blocks, n_rows, what)
        if state.rows < n_rows:
            n_tokens = state.rows * packer.context + len(state.rest)
            there = f"{n_tokens:,} tokens, {state.rows:,} rows of {packer.context}"
            asked = f"n_rows={n_rows:,}, {n_rows * packer.context:,} tokens"
            raise InputError(f"{what} has {there}; asked for {asked}")
    return file.read(n_rows)


@dataclass(frozen=True)
class RowFile:
    """The rows of one packer in a file, with the state beside it."""

    path: Path
    packer: Packer | Mixer

    @property
    def row_bytes(self) -> int:
        """Of each row in the file."""
        return self.packer.context * self.packer.dtype.itemsize

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
        dtype, shape = self.packer.dtype, (n_rows, self.packer.context)
        if n_rows * self.row_bytes > LARGEST_IN_MEMORY:
            return np.memmap(self.path, dtype, mode="r", shape=shape)
        return np.fromfile(self.path, dtype, count=math.prod(shape)).reshape(shape)

    def extend(self, file: FileIO, blocks: Blocks, n_rows: int, what: str) -> State:
        """Packs until there are ``n_rows`` or no more documents; gives the state that it ends in."""
        state = self.state()  # another process may have been at it while this one waited
        free, needed = shutil.disk_usage(self.path.parent).free, (n_rows - state.rows) * self.row_bytes
        if needed > free:
            raise InputError(
                f"{what}: {needed / 1e9:.1f} GB of rows do not fit into {self.path.parent}, which has {free / 1e9:.1f}"
            )
        file.truncate(state.rows * self.row_bytes)
        shown = tqdm(desc="tokenising", unit="row", total=n_rows, initial=state.rows, delay=10, leave=False)
        with shown, contextlib.closing(self.packer.pack(blocks, state)) as packed:
            while state.rows < n_rows and not state.ended:
                try:
                    rows, state = next(packed)
                except Dropped as error:
                    raise Dropped(f"{error}; {self.kept()}") from error
                self.append(file, rows, state)
                shown.update(len(rows))
        return state

    def append(self, file: FileIO, rows: Int[np.ndarray, "n context"], state: State) -> None:
        """Adds rows and then replaces the state, both on the disk on return. Raises InputError where that fails."""
        try:
            left = memoryview(rows.tobytes())
            while left:  # where the disk is nearly full, it takes a part
                left = left[file.write(left) :]
            os.fsync(file.fileno())
            write_json(self.path.with_suffix(".json"), asdict(state))
        except OSError as error:
            raise InputError(f"{self.path} cannot be written ({error.strerror}); {self.kept()}") from error
