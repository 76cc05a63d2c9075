"""Files of text give their texts, in order and nothing else, or one InputError; rows of tokens decode to them."""

import csv
import io
import json
from functools import cache

import numpy as np
import pyarrow
import pyarrow.parquet
from helpers.fuzzing import JSON, damaged, damages, examples, or_refused
from helpers.tiny_language_model import family_tokenizer
from hypothesis import given
from hypothesis import strategies as st

from sae_utils.data.labelled.datasets import text_windows
from sae_utils.data.labelled.windows import NEITHER
from sae_utils.data.text import documents, token_rows
from sae_utils.data.text.streams import TEXT_COLUMNS, TextStream
from sae_utils.data.text.txt import SEPARATOR, txt_documents

# Letters of several scripts, line ends of several kinds, names of control tokens, and text that looks like a value.
PIECES = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        ["def f(x):\n", "\r\n", "\r", "\n\n", "\t", "\u2028", "\x00", "\ufeff", "é", "日本", "🙂", "e\u0301"]
    ),
    st.sampled_from(["<|endoftext|>", "<bos>", "<s>", "</s>", "NA", "null", "true", "01", " ", ",", '"']),
)
TEXTS = st.lists(PIECES, max_size=4).map("".join)


def read(name):
    """All texts of a corpus."""
    return list(TextStream(str(name)))


ENCODINGS = st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"])
DAMAGE = st.none() | damages()


def written(tmp_path_factory, name, content, damage=None):
    """A file of the content, which may be damaged; and its bytes."""
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(damaged(content, damage) if damage else content)
    return path, path.read_bytes()


ROWS = st.one_of(
    st.fixed_dictionaries({"text": TEXTS}, optional={"n": JSON, "content": TEXTS, "raw_content": JSON}),
    st.fixed_dictionaries({"text": JSON}),
    st.fixed_dictionaries({"content": TEXTS}),
    JSON,
)


def texts_of_json_lines(content):
    """By Python's own json, line by line; None where a line is no object, or its text no text."""
    texts, column = [], None
    try:
        for line in content.split(b"\n"):
            if not line.strip():
                continue
            row = json.loads(line.decode("utf-8-sig"))
            column = column or next(name for name in TEXT_COLUMNS if name in row)
            text = row[column] if row[column] is not None else ""
            text.encode()
            texts.append(text)
    except (ValueError, TypeError, KeyError, AttributeError, StopIteration):
        return None
    return texts or None


@examples(150)
@given(
    st.lists(st.sampled_from(["", " "]) | ROWS, max_size=5),
    st.sampled_from(["\n", "\r\n", "\n\n"]),
    ENCODINGS,
    DAMAGE,
    st.booleans(),
)
def test_json_lines_are_what_json_reads(tmp_path_factory, rows, end, encoding, damage, as_ascii):
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=as_ascii) for row in rows]
    path, content = written(tmp_path_factory, "texts.jsonl", end.join(lines).encode(encoding, "replace"), damage)
    assert or_refused(read, path) == texts_of_json_lines(content)


@examples(100)
@given(st.lists(TEXTS, max_size=6), st.sampled_from([SEPARATOR, "\n", "\n\n", " "]), ENCODINGS, DAMAGE)
def test_plain_text_is_cut_and_nothing_is_lost(tmp_path_factory, texts, between, encoding, damage):
    path, content = written(tmp_path_factory, "texts.txt", between.join(texts).encode(encoding, "replace"), damage)
    found = or_refused(read, path)
    try:
        text = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig").read()
    except UnicodeDecodeError:
        assert found is None
        return
    assert (found is None) == (not content)
    if found:
        assert found == list(txt_documents(path))
        if SEPARATOR in text:
            assert found == text.split(SEPARATOR)
        else:
            assert "".join("".join(found).split()) == "".join(text.split())


COLUMNS = {  # of a table: type, the value that stands for a text, and whether it is one
    "string": (pyarrow.string(), str, True),
    "large_string": (pyarrow.large_string(), str, True),
    "dictionary": (pyarrow.dictionary(pyarrow.int32(), pyarrow.string()), str, True),
    "binary": (pyarrow.binary(), str.encode, False),
    "list": (pyarrow.list_(pyarrow.string()), lambda text: [text], False),
    "struct": (pyarrow.struct([("a", pyarrow.string())]), lambda text: {"a": text}, False),
    "int": (pyarrow.int64(), len, False),
    "null": (pyarrow.null(), lambda text: None, True),
}


@st.composite
def tables(draw):
    """An Arrow table and the texts that it has; None where it has none."""
    texts = draw(st.lists(TEXTS | st.none(), max_size=6))
    kind, make, is_text = COLUMNS[draw(st.sampled_from(sorted(COLUMNS)))]
    values = [None if text is None else make(text) for text in texts]
    name = draw(st.sampled_from(["text", "content", "title"]))
    table = pyarrow.table({"id": list(range(len(texts))), name: pyarrow.array(values, kind)})
    is_text = (is_text or not any(value is not None for value in values)) and name != "title" and len(texts) > 0
    return table, [value or "" for value in values] if is_text else None


@examples(40)
@given(tables(), st.sampled_from([1, 2, 100]), DAMAGE)
def test_parquet_gives_its_column_of_text(tmp_path_factory, made, rows_in_group, damage):
    table, texts = made
    path = tmp_path_factory.getbasetemp() / "texts.parquet"
    pyarrow.parquet.write_table(table, path, row_group_size=rows_in_group)
    if damage:
        path.write_bytes(damaged(path.read_bytes(), damage))
    found = or_refused(read, path)
    if damage is None:
        assert found == texts


@cache
def tokenizer(family):
    return family_tokenizer(family)


@examples(40)
@given(
    st.lists(TEXTS, min_size=1, max_size=12),
    st.sampled_from(["gpt_neox", "llama"]),
    st.sampled_from(["train", "held_out"]),
    st.integers(2, 12),
    st.integers(1, 6),
)
def test_rows_decode_to_the_documents(tmp_path_factory, texts, family, split, context, n_rows):
    model = tokenizer(family)
    lines = "\n".join(json.dumps({"text": text}) for text in texts)
    path, _ = written(tmp_path_factory, "rows.jsonl", lines.encode())
    rows = or_refused(token_rows, str(path), model, split, n_rows, context, None)
    if rows is None:
        return
    assert rows.shape == (n_rows, context) and rows.max() < len(model)
    if family == "llama":
        assert (rows[:, 0] == model.bos_token_id).all()
        rows = rows[:, 1:]
    assert family != "llama" or model.bos_token_id not in rows
    ids = np.split(rows.ravel(), np.flatnonzero(rows.ravel() == model.eos_token_id) + 1)
    expected = list(documents(str(path), split))
    assert set(expected) <= set(texts)
    for one, text in zip(ids[:-1], expected, strict=False):
        assert model.decode(one[:-1], clean_up_tokenization_spaces=False) == text


LABELS = st.sampled_from(["a", "b", "c", "NA", "null", "", "01", "1", "true", "a,b", '"', " ", "nan", "é", "a\nb"])


@examples(60)
@given(st.lists(LABELS, min_size=20, max_size=40), st.sampled_from(["csv", "jsonl"]), DAMAGE, st.data())
def test_labels_are_what_the_table_says(tmp_path_factory, labels, kind, damage, data):
    rows = [{"text": f"x{i} = {i} + y", "label": label} for i, label in enumerate(labels)]
    if kind == "csv":
        file = io.StringIO(newline="")
        writer = csv.DictWriter(file, ["text", "label"], lineterminator=data.draw(st.sampled_from(["\n", "\r\n"])))
        writer.writeheader()
        writer.writerows(rows)
        content = file.getvalue().encode(data.draw(st.sampled_from(["utf-8", "utf-8-sig"])))
    else:
        content = "\n".join(json.dumps(row) for row in rows).encode()
    path, content = written(tmp_path_factory, f"table.{kind}", content, damage)
    found = or_refused(text_windows, str(path), tokenizer("gpt_neox"), 64, ["label"])
    if found is None:
        there = [label for label in labels if label.strip()]
        assert damage or len(set(there)) < 2 or kind == "csv" and len(labels) != len(rows)
        return
    if kind == "csv":
        rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    else:
        rows = [json.loads(line) for line in content.decode("utf-8-sig").split("\n") if line.strip()]
    expected: dict[str, str] = {}
    for row in rows:
        label = row.get("label")
        text = str(label).lower() if isinstance(label, bool) else "" if label is None else str(label)
        expected.setdefault(row["text"], text if text.strip() else "")
    decoded = tokenizer("gpt_neox").batch_decode(found.tokens, skip_special_tokens=True)
    for name, values in found.labels.items():
        value = name.removeprefix("label=")
        for text, label in zip(decoded, values.tolist(), strict=True):
            assert label == (NEITHER if not expected[text] else int(expected[text] == value))
    assert len(decoded) == len(set(decoded))
