"""Any text classification data set as labelled windows: a Hugging Face name, or a .csv or .jsonl file."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Int

from sae_utils.data.labelled.windows import FEWEST, NEITHER, LabelledWindows
from sae_utils.data.models import hub
from sae_utils.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

KINDS = {".csv": "csv", ".jsonl": "json"}
MOST_CLASSES = 8  # of a column: a concept for each of the most frequent values
MOST_EXAMPLES = 300_000  # that are read: all of most data sets
TEST_SHARE = 0.3
SHORTEST = 2  # tokens of a text: the first position is never pooled


def text_windows(
    source: str,
    tokenizer: "PreTrainedTokenizerBase",
    context: int,
    columns: Sequence[str],
    text_column: str = "text",
) -> LabelledWindows:
    """The first ``context`` tokens of each text, filled up with the end-of-text token, with the labels of ``columns``.

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
    ids = tokenizer(texts, add_special_tokens=False, truncation=True, max_length=context)["input_ids"]
    kept = [i for i, found in enumerate(ids) if len(found) >= SHORTEST]
    tokens = np.full((len(kept), context), tokenizer.eos_token_id, dtype=np.int32)
    for row, i in zip(tokens, kept, strict=True):
        row[: len(ids[i])] = ids[i]
    tokens, first = np.unique(tokens, axis=0, return_index=True)  # sorted
    test = np.random.default_rng(0).random(len(tokens)) < TEST_SHARE
    labels = {}
    for entry, name in zip(columns, names, strict=True):
        labels |= _concepts(entry, np.array([str(table[name][kept[i]]) for i in first]), test)
    return LabelledWindows(tokens, np.arange(len(tokens)), test, labels)


def _concepts(entry: str, values: np.ndarray, test: Bool[np.ndarray, " n"]) -> dict[str, Int[np.ndarray, " n"]]:
    """The labels that an entry of ``columns`` stands for."""
    column, _, chosen = entry.partition("=")
    found, counts = np.unique(values, return_counts=True)
    by_count = found[np.argsort(-counts, kind="stable")][:MOST_CLASSES]
    if not chosen:
        if len(found) < 2:
            raise InputError(f"column {column!r} holds {', '.join(found) or 'nothing'} alone; two values are needed")
        enough = [v for v in by_count if min((values[test] == v).sum(), (values[~test] == v).sum()) >= FEWEST]
        chosen_ones = found[-1:] if len(found) == 2 else enough
        return {f"{column}={value}": (values == value).astype(np.int8) for value in chosen_ones}
    one, _, other = chosen.partition("/")
    for value in (one, other):
        if value and value not in found:
            raise InputError(f"column {column!r} has no value {value!r}; the most frequent are {', '.join(by_count)}")
    label = np.where(values == one, 1, np.where((values == other) | (not other), 0, NEITHER))
    return {entry: label.astype(np.int8)}


def _read_table(source: str, columns: Sequence[str]) -> dict[str, list]:
    path = Path(source).expanduser()
    if path.is_file():
        if path.suffix not in KINDS:
            raise InputError(f"data set {source!r} is a {path.suffix or 'plain'} file; allowed: {', '.join(KINDS)}")
        name, files = KINDS[path.suffix], str(path)
    else:
        if path.suffix in KINDS:
            raise InputError(f"data set {source!r}: there is no such file")
        if reason := hub.why_not("dataset", source):
            raise InputError(f"data set {source!r} is not an existing .csv or .jsonl file, and {reason}")
        name, files = source, None
    import datasets

    try:
        stream = datasets.load_dataset(name, data_files=files, split="train", streaming=True)
        examples = list(stream.take(MOST_EXAMPLES))
    except Exception as error:  # the kinds differ by what the name turns out to be
        raise InputError(f"data set {source!r} cannot be read: {hub.one_line(error)}") from error
    found = list(examples[0]) if examples else []
    for column in columns:
        if column not in found:
            raise InputError(f"data set {source!r} has no column {column!r}; its columns are {', '.join(found)}")
    return {column: [example[column] for example in examples] for column in columns}
