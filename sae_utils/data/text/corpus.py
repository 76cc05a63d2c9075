"""Text -> packed rows of token ids: the installed Python sources, a Hugging Face dataset, or a file."""

import itertools
import json
import os
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int

from sae_utils.data.mixture import row_order, sources
from sae_utils.data.text.installed_python import installed_files, installed_sha256, manifest
from sae_utils.data.text.packing import Block, Mixer, Packer, pack_in_file, row_start
from sae_utils.data.text.streams import SUFFIXES, TextStream, local_file
from sae_utils.errors import InputError
from sae_utils.files import sha256_of
from sae_utils.paths import RESULTS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FORMAT = 3  # of the rows that are kept: raise it when documents are cut, ordered, tokenised or packed in another way
INSTALLED = "installed-python"
SPLITS = ("train", "held_out")

DEFAULT_CACHE = RESULTS / "cache"
SHUFFLE_BLOCK = 10_000  # documents that are ordered together, at most, so that memory is bounded
SHUFFLE_CHARACTERS = 2**28  # likewise


def token_rows(
    corpus: str,
    tokenizer: "PreTrainedTokenizerBase",
    split: str,
    n_rows: int,
    context: int,
    cache_dir: Path | None = DEFAULT_CACHE,
) -> Int[np.ndarray, "n_rows context"]:
    """Token ids of packed documents, each followed by the end-of-text token.

    ``corpus`` is "installed-python", a .txt, .jsonl or .parquet file, a Hugging Face dataset as "name" or
    "name:configuration", or several of these with weights (``data.mixture``), whose rows are those that each has by
    itself. Documents come in a fixed pseudo-random order, so the first rows are a fair sample. Where the tokenizer
    puts a token in front of a text by itself, each row starts with it. uint16 where the vocabulary fits, else int32.
    Kept in ``cache_dir`` unless that is None: a call that was ended goes on there, one that asks for more rows adds to
    them, and very many stay on the disk (a read-only memory map). Raises InputError for a wrong argument, where the
    split is too small, the disk is full, or the connection drops for good.
    """
    corpus = check_corpus(corpus)
    if split not in SPLITS:
        raise InputError(f"split={split!r} is unknown; allowed: {', '.join(SPLITS)}")
    if n_rows < 1 or context < 2:
        raise InputError(f"n_rows={n_rows} and context={context} must be at least 1 and 2")
    if tokenizer.eos_token_id is None:
        raise InputError("the tokenizer has no end-of-text token (eos_token), which separates the documents of a row")
    if not cache_dir:
        with tempfile.TemporaryDirectory() as folder:
            return np.array(token_rows(corpus, tokenizer, split, n_rows, context, Path(folder)))
    shares, packer, what = sources(corpus), Packer(tokenizer, context), f"corpus {corpus!r}, split {split!r}"
    if len(shares) == 1:
        identity = [FORMAT, corpus, _corpus_identity(corpus), _tokenizer_identity(tokenizer), split, context]
        return pack_in_file(_file(cache_dir, identity), packer, partial(_blocks, corpus, split), n_rows, what)
    mixed = [(source, str(share), _corpus_identity(source)) for source, share in shares.items()]
    file = _file(cache_dir, [FORMAT, mixed, _tokenizer_identity(tokenizer), split, context])
    order = row_order(list(shares.values()), n_rows)
    needed = dict(zip(shares, np.bincount(order, minlength=len(shares)).tolist(), strict=True))
    rows = {source: np.empty((0, context), dtype=packer.dtype) for source in shares}  # of a small share none may be due
    for source in sorted(filter(needed.get, shares), key=_how_soon):
        rows[source] = token_rows(source, tokenizer, split, needed[source], context, cache_dir)
    mixer = Mixer(list(rows.values()), order, context, packer.dtype)
    return pack_in_file(file, mixer, lambda _: (), n_rows, what)


def check_corpus(corpus: str) -> str:
    """``corpus`` itself; raises InputError for weights that are wrong and a file that is not there or of another kind.

    Reads nothing.
    """
    try:
        shares = sources(corpus)
    except InputError as error:
        raise InputError(f"corpus={corpus!r} {error}") from None
    for source in shares:
        _check_source(source)
    return corpus


def _check_source(corpus: str) -> None:
    (file, suffix), allowed = local_file(corpus), ", ".join(SUFFIXES)
    if file and suffix not in SUFFIXES:
        raise InputError(f"corpus={corpus!r} is a {suffix or 'plain'} file; allowed: {allowed}")
    if not corpus or os.path.isdir(os.path.expanduser(corpus)):
        raise InputError(f"corpus={corpus!r} is not {INSTALLED!r}, a {allowed} file or a dataset's name")
    if not file and suffix in SUFFIXES:
        raise InputError(f"corpus={corpus!r}: there is no such file")


def documents(corpus: str, split: str) -> Iterator[str]:
    """The texts of one side of the split, in a fixed pseudo-random order.

    Held out are the files that the bundled model's manifest lists, or else one document in ten by the hash of its text.
    Raises InputError for several sources: what is mixed is their rows.
    """
    if len(sources(corpus)) > 1:
        raise InputError(f"corpus={corpus!r} has several sources, each with its own order of documents: name one")
    return itertools.chain.from_iterable(block.texts for block in _blocks(corpus, split))


def _blocks(corpus: str, split: str, position: dict | None = None) -> Iterator[Block]:
    """Documents of one side of the split that are ordered together; from a block's position on, if it is given."""
    if corpus == INSTALLED:
        yield Block({}, [file.text for file in installed_files(split)])
        return
    stream = TextStream(corpus, position)
    while True:
        position = stream.position
        if not (texts := _take(stream)):
            return
        hashed = [(sha256_of([text]), text) for text in texts if text.strip()]
        chosen = [(key, text) for key, text in hashed if (int(key[:2], 16) % 10 == 0) == (split == "held_out")]
        yield Block(position | {"source": stream.source}, [text for _, text in sorted(chosen)])


def _take(texts: Iterator[str]) -> list[str]:
    """As many as are ordered together."""
    taken, length = [], 0
    for text in texts:
        taken.append(text)
        length += len(text)
        if len(taken) == SHUFFLE_BLOCK or length >= SHUFFLE_CHARACTERS:
            break
    return taken


def _how_soon(source: str) -> tuple[bool, bool, int]:
    """Sorts sources by how soon they are read through: one that is too small shows before the long ones are read."""
    file = local_file(source)[0]
    return file is None, source != INSTALLED, file.stat().st_size if file else 0


def _file(cache_dir: Path, identity: list) -> Path:
    return Path(cache_dir) / f"rows-{sha256_of([json.dumps(identity)])[:20]}.bin"


def _corpus_identity(corpus: str) -> str:
    if corpus == INSTALLED:
        held_out = "\n".join(manifest()["held_out"])
        return f"{installed_sha256()} {sha256_of([held_out])}"
    if file := local_file(corpus)[0]:
        return f"{file.resolve()} {file.stat().st_size} {file.stat().st_mtime_ns}"
    return "hub"


def _tokenizer_identity(tokenizer: "PreTrainedTokenizerBase") -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = backend.to_str() if backend else json.dumps(tokenizer.get_vocab(), sort_keys=True)
    return sha256_of([f"{rules} {row_start(tokenizer)} {tokenizer.eos_token_id}"])
