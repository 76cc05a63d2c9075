"""Documents of a plain text: between separators, or else runs of paragraphs."""

import itertools
from collections.abc import Iterable, Iterator

SEPARATOR = "<|endoftext|>"
SHORTEST = 4096  # characters, at least, of a document cut from a text without separators
LOOK_AHEAD = 2**24  # characters in which the first separator must come


def cut(chunks: Iterable[str]) -> Iterator[str]:
    """Documents between separators; without any, runs of paragraphs of at least SHORTEST characters.

    ``chunks`` make up the text, and each is whole lines.
    """
    chunks = iter(chunks)
    head, length = [], 0
    for chunk in chunks:
        head.append(chunk)
        length += len(chunk)
        if SEPARATOR in chunk or length >= LOOK_AHEAD:
            break
    separated = SEPARATOR in "".join(head)
    chunks = itertools.chain(head, chunks)
    return _split(chunks, SEPARATOR) if separated else _runs(_split(chunks, "\n\n"))


def _split(chunks: Iterable[str], separator: str) -> Iterator[str]:
    rest = ""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(separator)
        yield from whole
    yield rest


def _runs(paragraphs: Iterable[str]) -> Iterator[str]:
    run = ""
    for paragraph in paragraphs:
        if len(run) >= SHORTEST:
            yield run
            run = ""
        run += paragraph + "\n\n"
    yield run
