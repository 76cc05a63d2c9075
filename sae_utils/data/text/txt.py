"""Documents of a plain text: what stands between two of them is written there, or is seen from its lines."""

import itertools
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

SEPARATOR = "<|endoftext|>"  # between documents
LOOK_AHEAD = 2**24  # characters in which the first separator must come
PIECE = 2**20  # characters that are read together
SHORTEST = 4096  # characters, at least, of a document that is put together from paragraphs or wrapped lines
WIDTHS = range(40, 121)  # of wrapped lines, in characters

logger = logging.getLogger(__name__)


def txt_documents(path: Path) -> Iterator[str]:
    """Documents of a plain text in UTF-8.

    They stand between SEPARATORS where one comes in the first LOOK_AHEAD characters. Without any, each line is one, but
    for paragraphs between blank lines and lines wrapped at a width: runs of these of at least SHORTEST characters.
    """
    with path.open(encoding="utf-8-sig") as file:  # without the mark that Windows puts in front
        start = file.read(LOOK_AHEAD)
        file.seek(0)
        if SEPARATOR in start:
            yield from _split(file, SEPARATOR)
            return
        if start.strip().count("\n\n") * SHORTEST >= len(start):  # one blank line among many lines tells nothing
            rule, documents = "runs of paragraphs", _runs(_split(file, "\n\n"), "\n\n")
        elif _are_wrapped(start.split("\n")):
            rule, documents = "runs of wrapped lines", _runs(_split(file, "\n"), "\n")
        else:
            rule, documents = "its lines", _split(file, "\n")
        logger.warning("%s has no %s between documents: they are taken to be %s", path, SEPARATOR, rule)
        yield from documents


def _are_wrapped(lines: list[str]) -> bool:
    """Whether most of them end where the next word did not fit and no sentence ends."""
    lines = [line for line in lines if line]
    width = sorted(map(len, lines))[int(0.95 * len(lines))] if lines else 0
    cut = [
        len(line) + len(after[:20].split(" ")[0]) >= width and not line.endswith((".", "!", "?"))
        for line, after in itertools.pairwise(lines)
    ]
    return width in WIDTHS and 2 * sum(cut) > len(cut)


def _runs(parts: Iterable[str], separator: str) -> Iterator[str]:
    run = ""
    for part in parts:
        if len(run) >= SHORTEST:
            yield run
            run = ""
        run += part + separator
    yield run


def _split(file: TextIO, separator: str) -> Iterator[str]:
    rest = ""
    for piece in iter(lambda: file.read(PIECE), ""):
        *whole, rest = (rest + piece).split(separator)
        yield from whole
    yield rest
