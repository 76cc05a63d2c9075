"""Any text classification data set as labelled windows: a Hugging Face name, or a .csv or .jsonl file."""

import csv
import itertools
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Int

from sae_utils.data.labelled.windows import FEWEST, NEITHER, LabelledWindows
from sae_utils.data.models import hub
from sae_utils.data.text import RowMaker, tokenise
from sae_utils.data.text.streams import local_file
from sae_utils.errors import InputError, one_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MOST_CLASSES = 8  # of a column: a concept for each of the most frequent values
MOST_EXAMPLES = 300_000  # that are read: all of most data sets
TEST_SHARE = 0.3
SHORTEST = 2  # tokens of a row before it is filled up: the first position is never pooled

logger = logging.getLogger(__name__)


def text_windows(
    source: str,
    tokenizer: "PreTrainedTokenizerBase",
    context: int,
    columns: Sequence[str],
    text_column: str = "text",
) -> LabelledWindows:
    """A row for the first tokens of each text, filled up with the end-of-text token, with the labels of ``columns``.

    Labels are text, as they stand in the file: ``01`` is not 1, and NA is a value. One that is missing or empty is
    NEITHER, and so counted in the log. Of JSON, true is the text "true" and null is missing.

    An entry of ``columns`` is one of three: ``column``, of which each of the most frequent values with enough texts
    becomes a concept ``column=value`` against the rest (one concept alone if there are two values); ``column=value``,
    against the rest; ``column=one/other``, where texts with other values are neither. Equal texts count once, and texts
    too short to pool not at all. Which side a text is on depends on the texts, not on their order. At most
    MOST_EXAMPLES are read. Raises InputError for what cannot be read, and for a column or a value that is not there.
    """
    names = [entry.partition("=")[0] for entry in columns]
    table = _read_table(source, (text_column, *names))
    texts = table[text_column]
    if wrong := [text for text in texts if not isinstance(text, str)]:
        raise InputError(f"data set {source!r}: column {text_column!r} holds {wrong[0]!r}, which is no text")
    ids, maker = tokenise(tokenizer, texts)["input_ids"], RowMaker.of(tokenizer, context)
    kept = [i for i, found in enumerate(ids) if len(found) + maker.body.start >= SHORTEST]
    tokens = maker.filled([ids[i] for i in kept]).astype(np.int32)
    tokens, first = np.unique(tokens, axis=0, return_index=True)  # sorted
    test = np.random.default_rng(0).random(len(tokens)) < TEST_SHARE
    labels, values = {}, {}
    for name in dict.fromkeys(names):
        values[name] = np.array([_as_text(table[name][kept[i]]) for i in first], dtype=str)
        if n_missing := int((values[name] == "").sum()):
            logger.warning("data set %r: %d of %d texts have no %r: neither class", source, n_missing, len(first), name)
    for entry, name in zip(columns, names, strict=True):
        labels |= _concepts(entry, values[name], test)
    return LabelledWindows(tokens, np.arange(len(tokens)), test, labels)


def _concepts(entry: str, values: np.ndarray, test: Bool[np.ndarray, " n"]) -> dict[str, Int[np.ndarray, " n"]]:
    """The labels that an entry of ``columns`` stands for."""
    column, _, chosen = entry.partition("=")
    there = values != ""
    found, counts = np.unique(values[there], return_counts=True)
    by_count = found[np.argsort(-counts, kind="stable")][:MOST_CLASSES]
    if not chosen:
        if len(found) < 2:
            raise InputError(f"column {column!r} holds {', '.join(found) or 'nothing'} alone; two values are needed")
        enough = [v for v in by_count if min((values[test] == v).sum(), (values[~test] == v).sum()) >= FEWEST]
        chosen_ones = found[-1:] if len(found) == 2 else enough
        return {f"{column}={value}": np.where(there, values == value, NEITHER).astype(np.int8) for value in chosen_ones}
    one, _, other = chosen.partition("/")
    for value in (one, other):
        if value and value not in found:
            raise InputError(f"column {column!r} has no value {value!r}; the most frequent are {', '.join(by_count)}")
    label = np.where(values == one, 1, np.where(there & ((values == other) | (not other)), 0, NEITHER))
    return {entry: label.astype(np.int8)}


def _as_text(label: object) -> str:
    """A label as it would stand in a .csv file; empty where there is none."""
    text = "" if label is None else str(label).lower() if isinstance(label, bool) else str(label)
    return text if text.strip() else ""


def _read_table(source: str, columns: Sequence[str]) -> dict[str, list]:
    path, suffix = local_file(source)
    if path and suffix not in READERS:
        raise InputError(f"data set {source!r} is a {path.suffix or 'plain'} file; allowed: {', '.join(READERS)}")
    if suffix in READERS and not path:
        raise InputError(f"data set {source!r}: there is no such file")
    if not path and (reason := hub.why_not("dataset", source)):
        raise InputError(f"data set {source!r} is not an existing .csv or .jsonl file, and {reason}")
    rows = READERS[suffix](path) if path else _of_hub(source)
    try:
        examples = list(itertools.islice(rows, MOST_EXAMPLES))
    except Exception as error:  # the kinds differ by what the name turns out to be
        raise InputError(f"data set {source!r} cannot be read: {one_line(error)}") from error
    if not examples:
        raise InputError(f"data set {source!r} has no rows")
    found = list(dict.fromkeys(itertools.chain.from_iterable(examples)))
    for column in columns:
        if column not in found:
            raise InputError(f"data set {source!r} has no column {column!r}; its columns are {', '.join(found)}")
    return {column: [example.get(column) for example in examples] for column in columns}


def _of_csv(path: Path) -> Iterator[dict]:
    csv.field_size_limit(2**31 - 1)  # a text may be longer than 131,072 characters
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, strict=True)
        names = [name for name in rows.fieldnames or () if name]
        if len(set(names)) < len(names):
            raise ValueError("two columns have the same name")
        for example in rows:
            if None in example or None in example.values():
                raise ValueError(f"line {rows.line_num} does not have {len(rows.fieldnames)} fields, as the first does")
            yield example


def _of_jsonl(path: Path) -> Iterator[dict]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                example = json.loads(line)
                if not isinstance(example, dict):
                    raise ValueError(f"line {number} is no JSON object")
                if "\\u" in line:  # half of a surrogate pair is no text, and does not encode
                    json.dumps(example, ensure_ascii=False).encode()
                yield example


def _of_hub(name: str) -> Iterator[dict]:
    import datasets

    yield from datasets.load_dataset(name, split="train", streaming=True)


READERS = {".csv": _of_csv, ".jsonl": _of_jsonl}
