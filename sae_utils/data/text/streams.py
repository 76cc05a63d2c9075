"""Texts of a file, a URL or a Hugging Face data set, streamed one after another and taken up again where they dropped.

``datasets`` reads them all. Its own retries are switched off while it reads for us: it would wait for minutes without
a word, and has none while it opens a file.
"""

import contextlib
import glob
import itertools
import logging
import re
import time
import urllib.error
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

from sae_utils.data.models import hub
from sae_utils.data.text import hub_datasets, url_files
from sae_utils.data.text.txt_documents import cut
from sae_utils.errors import InputError

SUFFIXES = {".txt": "text", ".jsonl": "json", ".parquet": "parquet"}  # with the builder of datasets that reads them
TEXT_COLUMNS = ("text", "raw_content", "content")  # the first one there is taken: RedPajama-V2, The Stack
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
LINES = 10_000  # of a .txt, read together
CONTENTS = {"text": "UTF-8 text", "json": "JSON lines", "parquet": "Parquet"}

logger = logging.getLogger(__name__)


class Dropped(InputError):
    """The connection dropped, and every further try failed."""


def is_url(corpus: str) -> bool:
    """Whether ``corpus`` is the address of a file."""
    return bool(re.match(r"https?://", corpus))


def suffix(corpus: str) -> str:
    """Of the file or URL that ``corpus`` would be, without a URL's query."""
    return Path(urllib.parse.urlparse(corpus).path if is_url(corpus) else corpus).suffix


class TextStream(Iterator[str]):
    """The texts of ``corpus`` in its own order, from ``position`` on.

    A dropped connection is opened again after each of WAITS, without a text left out or read twice. Raises Dropped
    after the last, and InputError where the corpus cannot be read.
    """

    def __init__(self, corpus: str, position: dict | None = None):
        self.corpus = corpus
        self._start = position or {"documents": 0}
        self._documents = self._start["documents"]
        self.source: dict = self._start.get("source", {})  # which revision of the hub, how large a file
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
        if not _dropped(error):
            raise InputError(self._unreadable(error)) from error
        said = hub.one_line(error)
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

    def _unreadable(self, error: Exception) -> str:
        what = CONTENTS.get(SUFFIXES.get(suffix(self.corpus), ""), "a dataset")
        return f"corpus={self.corpus!r} cannot be read as {what}: {hub.one_line(error)}"

    def _open(self) -> Iterator[str]:
        import datasets

        dataset = self._load()
        column = _text_column(self.corpus, dataset)
        dataset = dataset.select_columns([column])
        if suffix(self.corpus) == ".txt":
            tables = dataset.with_format("arrow").iter(LINES)
            texts = cut("".join(table[column].to_pylist()) for table in tables)
            return itertools.islice(texts, self._start["documents"], None)
        skipped = self._start["documents"]
        if self._start.get("datasets") == datasets.__version__:  # another version's state may mean something else
            dataset.load_state_dict(self._start["state"])
            skipped = 0
        examples = iter(dataset)
        for _ in itertools.islice(examples, skipped):
            pass
        self._dataset = dataset
        return (_checked(self.corpus, column, example[column]) for example in examples)

    def _load(self):
        import datasets

        path = Path(self.corpus).expanduser()
        if not is_url(self.corpus) and not path.is_file():
            dataset, self.source = hub_datasets.stream(self.corpus, self.source)
            return dataset
        if is_url(self.corpus):
            name = url_files.PREFIX + self.corpus
            self.source = self._same_size(url_files.RangesFileSystem().info(name)["size"])
        elif not path.stat().st_size:
            raise InputError(f"corpus={self.corpus!r} is an empty file")
        else:
            name = glob.escape(str(path))
        kind = SUFFIXES[suffix(self.corpus)]
        lines = {"sample_by": "line", "keep_linebreaks": True} if kind == "text" else {}
        return datasets.load_dataset(kind, data_files=name, split="train", streaming=True, **lines)

    def _same_size(self, size: int) -> dict:
        if size != self.source.get("size", size):
            then = f"{self.source['size']:,} bytes then, {size:,} now"
            raise InputError(f"corpus={self.corpus!r} has changed since its first texts were read: {then}")
        return {"size": size}


def _text_column(corpus: str, dataset) -> str:
    columns = dataset.column_names or list(next(iter(dataset), {}))
    if not columns:
        raise InputError(f"corpus={corpus!r} has no documents")
    for column in TEXT_COLUMNS:
        if column in columns:
            return column
    raise InputError(
        f"corpus={corpus!r} has no column {', '.join(map(repr, TEXT_COLUMNS))}; its columns are {', '.join(columns)}"
    )


def _checked(corpus: str, column: str, text: object) -> str:
    if text is not None and not isinstance(text, str):
        raise InputError(f"corpus={corpus!r}: its column {column!r} holds {type(text).__name__}, not text")
    return text or ""


def _dropped(error: BaseException | None) -> bool:
    """Whether it is worth another try: the network's or the server's fault, by the error or what caused it."""
    while error:
        if type(error).__name__ == "OfflineModeIsEnabled":  # a ConnectionError, but asked for
            return False
        response = getattr(error, "response", None)
        status = getattr(response, "status_code", None) or getattr(error, "status", None)
        if isinstance(status, int):
            return status >= 500 or status in (408, 429)
        if isinstance(error, ConnectionError | TimeoutError | urllib.error.URLError):
            return True
        if type(error).__module__.split(".")[0] in NETWORK:
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
