"""Texts of a file or of a Hugging Face data set, one after another, taken up again at any position.

``datasets`` reads them, but for .txt. Its own retries are switched off while it reads for us: it would wait for minutes
without a word, and has none while it opens a file.
"""

import contextlib
import glob
import itertools
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from sae_utils.data.models import hub
from sae_utils.data.text import hub_datasets
from sae_utils.errors import InputError

SUFFIXES = {".txt": "UTF-8 text", ".jsonl": "JSON lines", ".parquet": "Parquet"}  # files that can be a corpus
BUILDERS = {".jsonl": "json", ".parquet": "parquet"}  # of datasets
TEXT_COLUMNS = ("text", "raw_content", "content")  # the first one there is taken: RedPajama-V2, The Stack
SEPARATOR = "<|endoftext|>"  # between the documents of a .txt
LOOK_AHEAD = 2**24  # characters of a .txt in which the first separator must come
PIECE = 2**20  # characters of a .txt, read together
SHORTEST = 4096  # characters, at least, of a document cut from a .txt without separators
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


class TextStream(Iterator[str]):
    """The texts of ``corpus`` in its own order, from ``position`` on.

    A dropped connection is opened again after each of WAITS, without a text left out or read twice. Raises Dropped
    after the last, and InputError where the corpus cannot be read.
    """

    def __init__(self, corpus: str, position: dict | None = None):
        self.corpus = corpus
        self._start = position or {"documents": 0}
        self._documents = self._start["documents"]
        self.source: dict = self._start.get("source", {})  # which revision of the hub
        self._dataset = self._texts = None
        self._failed = 0  # tries since the last text

    @property
    def position(self) -> dict:
        """Where the next text is: what the constructor takes, in JSON's types."""
        if self._texts is None:
            return self._start
        import datasets

        position = {"documents": self._documents, "source": self.source}
        if self._dataset is not None:
            position |= {"state": self._dataset.state_dict(), "datasets": datasets.__version__}
        return position

    def __next__(self) -> str:
        while True:
            try:
                with _quick_to_fail():
                    if self._texts is None:
                        self._texts = self._open()
                    text = next(self._texts)
            except (StopIteration, InputError):
                raise
            except Exception as error:  # the kinds differ by file system, and by what the name turns out to be
                self._wait_or_raise(error)
            else:
                self._documents += 1
                self._failed = 0
                return text

    def _wait_or_raise(self, error: Exception) -> None:
        said = hub.one_line(error)
        if not _dropped(error):
            what = SUFFIXES.get(Path(self.corpus).suffix, "a dataset")
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
        import datasets

        path, skipped = Path(self.corpus).expanduser(), self._start["documents"]
        if not path.is_file():
            dataset, self.source = hub_datasets.stream(self.corpus, self.source)
        elif not path.stat().st_size:
            raise InputError(f"corpus={self.corpus!r} is an empty file")
        elif path.suffix == ".txt":
            return itertools.islice(txt_documents(path), skipped, None)
        else:
            files = {"data_files": glob.escape(str(path))}
            dataset = datasets.load_dataset(BUILDERS[path.suffix], **files, split="train", streaming=True)
        column = self._text_column(dataset)
        dataset = dataset.select_columns([column])
        if self._start.get("datasets") == datasets.__version__:  # another version's state may mean something else
            dataset.load_state_dict(self._start["state"])
            skipped = 0
        examples = iter(dataset)
        for _ in itertools.islice(examples, skipped):
            pass
        self._dataset = dataset
        return (self._checked(column, example[column]) for example in examples)

    def _text_column(self, dataset) -> str:
        columns = dataset.column_names or list(next(iter(dataset), {}))
        if not columns:
            raise InputError(f"corpus={self.corpus!r} has no documents")
        for column in TEXT_COLUMNS:
            if column in columns:
                return column
        names = ", ".join(map(repr, TEXT_COLUMNS))
        raise InputError(f"corpus={self.corpus!r} has no column {names}; its columns are {', '.join(columns)}")

    def _checked(self, column: str, text: object) -> str:
        if text is not None and not isinstance(text, str):
            raise InputError(f"corpus={self.corpus!r}: its column {column!r} holds {type(text).__name__}, not text")
        return text or ""


def txt_documents(path: Path) -> Iterator[str]:
    """Documents of a plain text, in UTF-8.

    They stand between SEPARATORs where one comes in the first LOOK_AHEAD characters. Without any, they are runs of
    paragraphs of at least SHORTEST characters.
    """
    with path.open(encoding="utf-8") as file:
        separated = SEPARATOR in file.read(LOOK_AHEAD)
        file.seek(0)
        if separated:
            yield from _split(file, SEPARATOR)
            return
        run = ""
        for paragraph in _split(file, "\n\n"):
            if len(run) >= SHORTEST:
                yield run
                run = ""
            run += paragraph + "\n\n"
        yield run


def _split(file: TextIO, separator: str) -> Iterator[str]:
    rest = ""
    for piece in iter(lambda: file.read(PIECE), ""):
        *whole, rest = (rest + piece).split(separator)
        yield from whole
    yield rest


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
