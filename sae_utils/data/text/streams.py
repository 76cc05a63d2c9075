"""Texts of a file or of a Hugging Face data set, one after another, taken up again at any position.

``datasets`` reads Parquet and the hub; of JSON lines it wants that all have the fields and types of the first. Its own
retries are switched off while it reads for us: it would wait for minutes without a word, and has none while it opens a
file.
"""

import contextlib
import glob
import itertools
import json
import logging
import os
import re
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from sae_utils.data.text import hub_datasets
from sae_utils.data.text.txt import txt_documents
from sae_utils.errors import InputError, one_line

SUFFIXES = {".txt": "UTF-8 text", ".jsonl": "JSON lines", ".parquet": "Parquet"}  # files that can be a corpus
TEXT_COLUMNS = ("text", "raw_content", "content")  # the first one there is taken: RedPajama-V2, The Stack
LONGEST_LINE = 2**28  # bytes of a .jsonl
PARQUET_BATCH = 1000  # rows that are read together; the first group's size, which datasets takes, may be 0
SURROGATE = re.compile("[\ud800-\udfff]")  # half of a character: JSON can write it, tokenizers cannot take it
WAITS = (1, 2, 4, 8, 16, 32, 64)  # seconds between the tries after a drop; so there are eight
NETWORK = {"aiohttp", "http", "httpcore", "httpcore2", "httpx", "httpx2", "requests", "urllib3"}  # their errors
ONE_TRY = {  # settings of datasets
    "STREAMING_OPEN_MAX_RETRIES": 1,
    "STREAMING_OPEN_RETRY_INTERVAL": 0,
    "STREAMING_READ_MAX_RETRIES": 1,
    "STREAMING_READ_RETRY_INTERVAL": 0,
    "STREAMING_READ_SERVER_UNAVAILABLE_RETRY_INTERVAL": 0,
    "STREAMING_READ_RATE_LIMIT_RETRY_INTERVAL": 0,
}

logger = logging.getLogger(__name__)


class Dropped(InputError):
    """The connection dropped, and every further try failed."""


def local_file(corpus: str) -> tuple[Path | None, str]:
    """The file that ``corpus`` names, None where there is none, and the name's suffix in small letters."""
    path = Path(os.path.expanduser(corpus))  # these two raise for no name
    return path if os.path.isfile(path) else None, path.suffix.lower()


class TextStream(Iterator[str]):
    """The texts of ``corpus`` in its own order, from ``position`` on.

    A dropped connection is opened again after each of WAITS, without a text left out or read twice. Raises Dropped
    after the last, and InputError where the corpus cannot be read.
    """

    def __init__(self, corpus: str, position: dict | None = None):
        self.corpus = corpus
        self._path, self._suffix = local_file(corpus)
        self._start = position or {"documents": 0}
        self._documents = self._start["documents"]
        self.source: dict = self._start.get("source", {})  # which revision of the hub
        self._dataset = self._texts = None
        self._line = {"byte": 0, "line": 0, "columns": TEXT_COLUMNS} | self._start.get("line", {})  # of a .jsonl
        self._failed = 0  # tries since the last text

    @property
    def _is_read_here(self) -> bool:
        return self._path is not None and self._suffix in (".txt", ".jsonl")

    @property
    def position(self) -> dict:
        """Where the next text is: what the constructor takes, in JSON's types."""
        if self._texts is None:
            return self._start
        position = {"documents": self._documents, "source": self.source, "line": self._line}
        if self._dataset is not None:
            import datasets

            position |= {"state": self._dataset.state_dict(), "datasets": datasets.__version__}
        return position

    def __next__(self) -> str:
        while True:
            try:
                with contextlib.nullcontext() if self._is_read_here else _quick_to_fail():
                    if self._texts is None:
                        self._texts = self._open()
                    text = next(self._texts)
            except StopIteration:
                if not self._documents:
                    raise InputError(f"corpus={self.corpus!r} has no documents") from None
                raise
            except InputError:
                raise
            except Exception as error:  # the kinds differ by file system, and by what the name turns out to be
                self._wait_or_raise(error)
            else:
                self._documents += 1
                self._failed = 0
                return text

    def _wait_or_raise(self, error: Exception) -> None:
        said = one_line(error)
        if not _dropped(error):
            what = SUFFIXES.get(self._suffix, "a dataset")
            raise InputError(f"corpus={self.corpus!r} cannot be read as {what}: {said}") from error
        if self._failed == len(WAITS):
            raise Dropped(
                f"corpus={self.corpus!r}: the connection dropped after {self._documents:,} documents, and "
                f"{len(WAITS) + 1} tries failed ({said})"
            ) from error
        wait = WAITS[self._failed]
        logger.warning("corpus %r: the connection dropped (%s); next try in %g s", self.corpus, said, wait)
        self._start, self._texts = self.position, None
        self._failed += 1
        time.sleep(wait)

    def _open(self) -> Iterator[str]:
        skipped = self._start["documents"]
        if self._path and not self._path.stat().st_size:
            raise InputError(f"corpus={self.corpus!r} is an empty file")
        if self._is_read_here and self._suffix == ".jsonl":
            return self._json_lines(self._path)
        if self._is_read_here:
            return itertools.islice(txt_documents(self._path), skipped, None)
        import datasets

        if self._path:
            files = {"data_files": glob.escape(str(self._path)), "batch_size": PARQUET_BATCH}
            dataset = datasets.load_dataset("parquet", **files, split="train", streaming=True)
        else:
            dataset, self.source = hub_datasets.stream(self.corpus, self.source)
        where = f"corpus={self.corpus!r}"
        columns = dataset.column_names or list(next(iter(dataset), {}))
        if not columns:
            return iter(())
        column = _text_column(columns, where)
        dataset = dataset.select_columns([column])
        if self._start.get("datasets") == datasets.__version__:  # another version's state may mean something else
            dataset.load_state_dict(self._start["state"])
            skipped = 0
        examples = iter(dataset)
        for _ in itertools.islice(examples, skipped):
            pass
        self._dataset = dataset
        return (_checked(example[column], column, where) for example in examples)

    def _json_lines(self, path: Path) -> Iterator[str]:
        """The text of each line, after ``_line`` tells where the next one is; the other fields may be anything."""
        with path.open("rb") as file:
            file.seek(self._line["byte"])
            for line in iter(lambda: file.readline(LONGEST_LINE), b""):
                n = self._line["line"] + 1
                self._line = self._line | {"byte": file.tell(), "line": n}
                if not line.strip():
                    continue
                where = f"corpus={self.corpus!r}, line {n}"
                try:
                    row = json.loads(line.decode("utf-8-sig"))
                except (ValueError, RecursionError) as error:
                    raise InputError(f"{where} cannot be read as JSON lines: {one_line(error)}") from error
                if not isinstance(row, dict):
                    raise InputError(f"{where} is no object with fields: {line[:40]!r}")
                column = _text_column(row, where, self._line["columns"])
                self._line["columns"] = [column]
                yield _checked(row[column], column, where)


def _text_column(columns: Collection[str], where: str, wanted: Collection[str] = TEXT_COLUMNS) -> str:
    for column in wanted:
        if column in columns:
            return column
    raise InputError(f"{where} has no column {', '.join(map(repr, wanted))}; its columns are {', '.join(columns)}")


def _checked(text: object, column: str, where: str) -> str:
    """The text, and an empty one where there is none."""
    if text is not None and not isinstance(text, str):
        raise InputError(f"{where}: its column {column!r} holds {type(text).__name__}, not text")
    if text and SURROGATE.search(text):
        raise InputError(f"{where}: its column {column!r} holds a lone surrogate, which is half of a character")
    return text or ""


def _dropped(error: BaseException | None) -> bool:
    """Whether it is worth another try: the network's or the server's fault, by the error or what caused it."""
    while error:
        if type(error).__name__ == "OfflineModeIsEnabled":  # a ConnectionError, but asked for
            return False
        status = getattr(getattr(error, "response", None), "status_code", None) or getattr(error, "status", None)
        if isinstance(status, int):
            return status >= 500 or status in (408, 429)
        if isinstance(error, ConnectionError | TimeoutError) or type(error).__module__.split(".")[0] in NETWORK:
            return True
        error = error.__cause__ or error.__context__
    return False


@contextlib.contextmanager
def _quick_to_fail() -> Iterator[None]:
    """One try for each of datasets's reads, and none of its log: the errors come to us."""
    from datasets import config
    from datasets.utils import logging as log

    theirs, verbosity = {name: getattr(config, name) for name in ONE_TRY}, log.get_verbosity()
    try:
        log.set_verbosity(log.CRITICAL)
        vars(config).update(ONE_TRY)
        yield
    finally:
        vars(config).update(theirs)
        log.set_verbosity(verbosity)
