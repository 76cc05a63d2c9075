"""Text -> packed rows of token ids: the installed Python sources, a Hugging Face dataset, a file or a URL."""

import hashlib
import itertools
import json
import logging
from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sae_utils.data.text import installed_python
from sae_utils.data.text.installed_python import SourceFile
from sae_utils.data.text.packing import Block, Packer, pack_in_file, pack_in_memory
from sae_utils.data.text.row_start import row_start
from sae_utils.data.text.streams import SUFFIXES, TextStream, is_url, suffix
from sae_utils.errors import InputError
from sae_utils.paths import MODELS, RESULTS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FORMAT = 2  # of the rows that are kept: raise it when documents are ordered, split or packed in another way
INSTALLED = "installed-python"
SPLITS = ("train", "held_out")
MANIFEST = MODELS / "pycode-2m" / "corpus.json"

DEFAULT_CACHE = RESULTS / "cache"
SHUFFLE_BLOCK = 10_000  # documents that are ordered together, at most, so that memory is bounded
SHUFFLE_CHARACTERS = 2**28  # likewise

logger = logging.getLogger(__name__)


def token_rows(
    corpus: str,
    tokenizer: "PreTrainedTokenizerBase",
    split: str,
    n_rows: int,
    context: int,
    cache_dir: Path | None = DEFAULT_CACHE,
) -> np.ndarray:
    """Token ids [n_rows, context] of packed documents, each followed by the end-of-text token.

    ``corpus`` is "installed-python", a .txt, .jsonl or .parquet file or URL, or a Hugging Face dataset as "name" or
    "name:configuration". Documents come in a fixed pseudo-random order, so the first rows are a fair sample. Where the
    tokenizer puts a token in front of a text by itself, each row starts with it. uint16 where the vocabulary fits,
    else int32. Kept in ``cache_dir`` unless that is None: a call that was ended goes on there, one that asks for more
    rows adds to them, and very many stay on the disk (a read-only memory map). Raises InputError for a wrong argument,
    where the split is too small, the disk is full, or the connection drops for good.
    """
    corpus = check_corpus(corpus)
    if split not in SPLITS:
        raise InputError(f"split={split!r} is unknown; allowed: {', '.join(SPLITS)}")
    if n_rows < 1 or context < 2:
        raise InputError(f"n_rows={n_rows} and context={context} must be at least 1 and 2")
    if tokenizer.eos_token_id is None:
        raise InputError("the tokenizer has no end-of-text token (eos_token), which separates the documents of a row")
    packer, what = Packer(tokenizer, context), f"corpus {corpus!r}, split {split!r}"
    blocks = partial(_blocks, corpus, split)
    if not cache_dir:
        return pack_in_memory(packer, blocks, n_rows, what)
    identity = [FORMAT, corpus, _corpus_identity(corpus), _tokenizer_identity(tokenizer), split, context]
    key = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:20]
    return pack_in_file(Path(cache_dir) / f"rows-{key}.bin", packer, blocks, n_rows, what)


def check_corpus(corpus: str) -> str:
    """``corpus`` itself; raises InputError for a file that is not there or is of another kind. Reads nothing."""
    path, allowed = Path(corpus).expanduser(), ", ".join(SUFFIXES)
    if is_url(corpus):
        if suffix(corpus) not in SUFFIXES:
            raise InputError(f"corpus={corpus!r} is a URL of a {suffix(corpus) or 'plain'} file; allowed: {allowed}")
    elif path.suffix in SUFFIXES and not path.is_file():
        raise InputError(f"corpus={corpus!r}: there is no such file")
    elif path.is_file() and path.suffix not in SUFFIXES:
        raise InputError(f"corpus={corpus!r} is a {path.suffix or 'plain'} file; allowed: {allowed}")
    elif not corpus or path.is_dir():
        raise InputError(f"corpus={corpus!r} is not {INSTALLED!r}, a {allowed} file or a dataset's name")
    return corpus


def documents(corpus: str, split: str) -> Iterator[str]:
    """The texts of one side of the split, in a fixed pseudo-random order.

    Held out are the files that the bundled model's manifest lists, or else one document in ten by the hash of its text.
    """
    return itertools.chain.from_iterable(block.texts for block in _blocks(corpus, split))


def installed_files(split: str) -> list[SourceFile]:
    """Files of "installed-python" on one side of the manifest's split, in the order of a hash of their paths."""
    files, _ = _read_installed()
    held_out = set(manifest()["held_out"])
    chosen = [file for file in files if (file.path in held_out) == (split == "held_out")]
    return sorted(chosen, key=lambda file: _hash(file.path))


def manifest() -> dict:
    """What the bundled model was trained on: packages, files, bytes, sha256 over all, held_out (paths)."""
    return json.loads(MANIFEST.read_text())


def installed_sha256() -> str:
    """One sha256 over the installed text, to compare with the manifest's."""
    return _read_installed()[1]


@lru_cache(maxsize=1)
def _read_installed() -> tuple[list[SourceFile], str]:
    files = installed_python.read_installed()
    digest, expected = installed_python.digest(files), manifest()
    if digest != expected["sha256"]:
        versions = ", ".join(f"{name} {version}" for name, version in expected["packages"].items())
        logger.warning(
            "the installed Python sources are not those of pycode-2m (%s): held-out text may be known to it",
            versions,
        )
    return files, digest


def _blocks(corpus: str, split: str, position: dict | None = None) -> Iterator[Block]:
    """Documents of one side of the split that are ordered together; from a block's position on, if it is given."""
    if corpus == INSTALLED:
        yield Block({}, [file.text for file in installed_files(split)])
        return
    stream, held_out = TextStream(corpus, position), split == "held_out"
    while True:
        position = stream.position
        if not (texts := _take(stream)):
            return
        chosen = [text for text in texts if text.strip() and (_hash(text)[0] % 10 == 0) == held_out]
        yield Block(position | {"source": stream.source}, sorted(chosen, key=_hash))


def _take(texts: Iterator[str]) -> list[str]:
    """As many as are ordered together."""
    taken, length = [], 0
    for text in texts:
        taken.append(text)
        length += len(text)
        if len(taken) == SHUFFLE_BLOCK or length >= SHUFFLE_CHARACTERS:
            break
    return taken


def _corpus_identity(corpus: str) -> str:
    path = Path(corpus).expanduser()
    if corpus == INSTALLED:
        held_out = "\n".join(manifest()["held_out"])
        return f"{installed_sha256()} {hashlib.sha256(held_out.encode()).hexdigest()}"
    if path.is_file():
        return f"{path.resolve()} {path.stat().st_size} {path.stat().st_mtime_ns}"
    return "hub"


def _tokenizer_identity(tokenizer: "PreTrainedTokenizerBase") -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = backend.to_str() if backend else json.dumps(tokenizer.get_vocab(), sort_keys=True)
    around = f"{row_start(tokenizer)} {tokenizer.eos_token_id}"
    return hashlib.sha256(f"{rules} {around}".encode()).hexdigest()


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
