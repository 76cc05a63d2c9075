"""Text -> packed rows of token ids: the installed Python sources, a Hugging Face dataset, or a local file."""

import hashlib
import itertools
import json
import logging
import os
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sae_utils.data import hub, installed_python
from sae_utils.data.errors import InputError
from sae_utils.data.installed_python import SourceFile
from sae_utils.data.paths import MODELS, RESULTS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FORMAT = 1  # of the rows that are kept: raise it when documents are ordered, split or packed in another way
INSTALLED = "installed-python"
SPLITS = ("train", "held_out")
SUFFIXES = {".txt": None, ".jsonl": "json", ".parquet": "parquet"}
SEPARATOR = "<|endoftext|>"
MANIFEST = MODELS / "pycode-2m" / "corpus.json"

DEFAULT_CACHE = RESULTS / "cache"
SHUFFLE_BLOCK = 10_000  # documents of a dataset that are ordered together, so that memory is bounded
TXT_DOCUMENT = 4096  # characters, at least, of a document cut from a .txt without separators

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

    ``corpus`` is "installed-python", a .txt, .jsonl or .parquet file, or a Hugging Face dataset's name. Documents come
    in a fixed pseudo-random order, so the first rows are a fair sample. uint16 where the vocabulary fits, else int32.
    Kept in ``cache_dir`` unless that is None. Raises InputError for a wrong argument and where the split is too small.
    """
    corpus = check_corpus(corpus)
    if split not in SPLITS:
        raise InputError(f"split={split!r} is unknown; allowed: {', '.join(SPLITS)}")
    if n_rows < 1 or context < 2:
        raise InputError(f"n_rows={n_rows} and context={context} must be at least 1 and 2")
    if tokenizer.eos_token_id is None:
        raise InputError("the tokenizer has no end-of-text token (eos_token), which separates the documents of a row")
    identity = [FORMAT, corpus, _corpus_identity(corpus), _tokenizer_identity(tokenizer), split, n_rows, context]
    key = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:20]
    path = Path(cache_dir) / f"rows-{key}.npy" if cache_dir else None
    if path and path.exists():
        return np.load(path)
    rows = _pack(documents(corpus, split), tokenizer, n_rows, context, f"corpus {corpus!r}, split {split!r}")
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")
        with open(part, "wb") as file:
            np.save(file, rows)
        os.replace(part, path)
    return rows


def check_corpus(corpus: str) -> str:
    """``corpus`` itself; raises InputError for a file that is not there or is of another kind. Reads nothing."""
    path = Path(corpus).expanduser()
    if path.suffix in SUFFIXES and not path.is_file():
        raise InputError(f"corpus={corpus!r}: there is no such file")
    if path.is_file() and path.suffix not in SUFFIXES:
        raise InputError(f"corpus={corpus!r} is a {path.suffix or 'plain'} file; allowed: {', '.join(SUFFIXES)}")
    if not corpus or path.is_dir():
        raise InputError(f"corpus={corpus!r} is not {INSTALLED!r}, a {', '.join(SUFFIXES)} file or a dataset's name")
    return corpus


def documents(corpus: str, split: str) -> Iterator[str]:
    """The texts of one side of the split, in a fixed pseudo-random order.

    Held out are the files that the bundled model's manifest lists, or else one document in ten by the hash of its text.
    """
    if corpus == INSTALLED:
        return (file.text for file in installed_files(split))
    path = Path(corpus).expanduser()
    texts = _txt_documents(path) if path.suffix == ".txt" else _dataset_texts(corpus, path)
    return (text for text in texts if text.strip() and (_hash(text)[0] % 10 == 0) == (split == "held_out"))


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


def _pack(
    texts: Iterable[str], tokenizer: "PreTrainedTokenizerBase", n_rows: int, context: int, what: str
) -> np.ndarray:
    """Tokenise only as many documents as ``n_rows`` need."""
    dtype = np.uint16 if len(tokenizer) <= 2**16 else np.int32
    wanted, n_tokens, pieces = n_rows * context, 0, []
    texts = iter(texts)
    while n_tokens < wanted and (batch := list(itertools.islice(texts, 64))):
        encoded = tokenizer(batch, add_special_tokens=False, return_attention_mask=False, verbose=False)
        for ids in encoded["input_ids"]:
            pieces.append(np.array([*ids, tokenizer.eos_token_id], dtype=dtype))
            n_tokens += len(pieces[-1])
    if n_tokens < wanted:
        raise InputError(
            f"{what} has {n_tokens:,} tokens, {n_tokens // context:,} rows of {context}; asked for n_rows={n_rows:,}"
        )
    return np.concatenate(pieces)[:wanted].reshape(n_rows, context)


def _txt_documents(path: Path) -> list[str]:
    """Documents between separators; without any, runs of paragraphs of at least TXT_DOCUMENT characters."""
    text = path.read_text(encoding="utf-8")
    if SEPARATOR in text:
        return sorted(text.split(SEPARATOR), key=_hash)
    pieces = [""]
    for paragraph in text.split("\n\n"):
        if len(pieces[-1]) >= TXT_DOCUMENT:
            pieces.append("")
        pieces[-1] += paragraph + "\n\n"
    return sorted(pieces, key=_hash)


def _dataset_texts(corpus: str, path: Path) -> Iterator[str]:
    if not path.is_file() and (reason := hub.why_not("dataset", corpus)):
        raise InputError(f"corpus={corpus!r} is not {INSTALLED!r}, not an existing file, and {reason}")
    import datasets

    try:
        if path.is_file():
            kind = SUFFIXES[path.suffix]
            stream = datasets.load_dataset(kind, data_files=str(path), split="train", streaming=True)
        else:
            stream = datasets.load_dataset(corpus, split="train", streaming=True)
        columns = list(next(iter(stream), {}))
    except Exception as error:  # the kinds differ by what the name turns out to be
        raise InputError(f"corpus={corpus!r} cannot be read as a dataset: {hub.one_line(error)}") from error
    if "text" not in columns:
        raise InputError(f"corpus={corpus!r} has no column 'text'; its columns are {', '.join(columns) or 'none'}")
    return _in_hash_order(example["text"] for example in stream)


def _in_hash_order(texts: Iterator[str]) -> Iterator[str]:
    while block := list(itertools.islice(texts, SHUFFLE_BLOCK)):
        yield from sorted(block, key=_hash)


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
    return hashlib.sha256(rules.encode()).hexdigest()


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
