"""Texts of files: each comes once and in order, wherever a stream is taken up again, and nothing else matters."""

import gzip
import itertools
import json

import pandas as pd
import pyarrow.parquet
import pytest

from sae_utils.data.text import check_corpus
from sae_utils.data.text import streams as text_streams
from sae_utils.data.text.streams import Dropped, TextStream
from sae_utils.errors import InputError

TEXTS = [f"text {i} " + f"line {i} of a text\n" * (100 if i % 2 else 2) for i in range(150)]  # 150 kB


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    (folder / "texts.jsonl").write_text("\n".join(json.dumps({"text": text, "n": 1}) for text in TEXTS))
    (folder / "texts.txt").write_text("<|endoftext|>".join(TEXTS))
    pd.DataFrame({"content": TEXTS, "n": 1}).to_parquet(folder / "texts.parquet", row_group_size=40, compression=None)
    return folder


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "txt"])
def test_stream_goes_on_at_its_position(folder, kind):
    name = str(folder / f"texts.{kind}")
    stream, found = TextStream(name), []
    for n in (0, 1, 66, 67, 80):  # texts until the stream is left
        position = json.loads(json.dumps(stream.position))
        stream = TextStream(name, position)
        found += itertools.islice(stream, n - len(found))
    assert found + list(stream) == TEXTS


def test_position_of_another_version_of_datasets_is_counted_out(folder):
    stream = TextStream(str(folder / "texts.parquet"))
    first = list(itertools.islice(stream, 70))
    position = stream.position | {"datasets": "0.1", "state": {"another": "meaning"}}
    assert first + list(TextStream(stream.corpus, position)) == TEXTS


def test_waits_grow_and_start_again_after_a_text_and_end(monkeypatch, caplog):
    waited, failures = [], [*[True] * 7, False, True, True, False, False]

    def texts(stream):
        for text in TEXTS[stream.position["documents"] :]:
            if not failures or failures.pop(0):
                raise ConnectionError("reset")
            yield text

    monkeypatch.setattr(TextStream, "_open", texts)
    monkeypatch.setattr(text_streams.time, "sleep", waited.append)
    stream = TextStream("any")
    assert [next(stream) for _ in range(3)] == TEXTS[:3] and waited == [1, 2, 4, 8, 16, 32, 64, 1, 2]
    assert "the connection dropped (ConnectionError: reset); next try in 1 s" in caplog.text
    with pytest.raises(Dropped, match=r"dropped after 3 documents, and 8 tries failed \(ConnectionError: reset\)$"):
        next(stream)
    assert sum(waited[9:]) == 127


@pytest.mark.parametrize("name", ["a[1].parquet", "a*.parquet", "a?.parquet", "a b%20.parquet"])
def test_names_of_files_are_no_patterns(tmp_path, name):
    for file, text in ((name, "this one"), ("a1.parquet", "not this one")):
        pd.DataFrame({"text": [text]}).to_parquet(tmp_path / file)
    assert list(TextStream(str(tmp_path / name))) == ["this one"]


def test_library_has_its_own_settings_again(folder):
    from datasets import config
    from datasets.utils import logging

    def settings():
        return config.STREAMING_READ_MAX_RETRIES, config.STREAMING_OPEN_RETRY_INTERVAL, logging.get_verbosity()

    before = settings()
    next(TextStream(str(folder / "texts.jsonl")))
    assert settings() == before == (20, 5, logging.WARNING)


def written(path, text, encoding="utf-8"):
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding, "surrogatepass"))
    return str(path)


def test_other_fields_of_json_lines_may_be_anything_anywhere(tmp_path):
    """Fields that come, go and change their type, far behind the 10 MB by which readers of tables infer types."""
    rows = [{"text": f"text {i} {'x' * 5000}", "n": i} for i in range(3000)]
    rows += [{"text": "more", "n": "a word", "of": [1]}, {"n": None, "text": "last", "text2": {}}, {"text": None}]
    path = written(tmp_path / "a.jsonl", "\n\n".join(map(json.dumps, rows)) + "\n")
    stream = TextStream(path)
    assert list(stream) == [row["text"] or "" for row in rows] and stream.position["line"]["line"] == 2 * len(rows) - 1


def test_position_in_json_lines_is_where_the_next_line_begins(folder):
    """So nothing before it is read again."""
    stream = TextStream(str(folder / "texts.jsonl"))
    for text in itertools.islice(stream, 67):
        last = text
    line = stream.position["line"]
    assert (line["line"], line["columns"], last) == (67, ["text"], TEXTS[66])
    assert next(TextStream(stream.corpus, {"documents": 67, "line": line | {"byte": 0}})) == TEXTS[0]


@pytest.mark.parametrize("name", ["a.TXT", "a.Jsonl", "a.PARQUET"])
def test_suffixes_may_be_in_capitals_and_files_begin_with_a_byte_order_mark(tmp_path, name):
    if name == "a.PARQUET":
        pd.DataFrame({"text": ["one", "two"]}).to_parquet(tmp_path / name)
    else:
        text = "one<|endoftext|>two" if name == "a.TXT" else '{"text": "one"}\r\n{"text": "two"}\r\n'
        written(tmp_path / name, text, "utf-8-sig")
    assert check_corpus(str(tmp_path / name)) and list(TextStream(str(tmp_path / name))) == ["one", "two"]


LINE = '{"text": "one"}\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LINE + "{nope", r", line 2 cannot be read as JSON lines: JSONDecodeError: .*"),
        (LINE + '\n{"text": "on', r", line 3 cannot be read as JSON lines: JSONDecodeError: .*"),
        (LINE + '{"text": 3}', ", line 2: its column 'text' holds int, not text"),
        (LINE + '{"text": ["a"]}', ", line 2: its column 'text' holds list, not text"),
        (LINE + '{"content": "two"}', ", line 2 has no column 'text'; its columns are content"),
        (LINE + "null", ", line 2 is no object with fields: b'null'"),
        ('["one"]\n["two"]', r", line 1 is no object with fields: b.*one.*"),
        ('"one"', r", line 1 is no object with fields: b.*one.*"),
        ("[" * 10**5, r", line 1 cannot be read as JSON lines: RecursionError: .*"),
        (
            LINE + r'{"text": "half \ud83d"}',
            ", line 2: its column 'text' holds a lone surrogate, .*",
        ),
        (LINE + '{"text": "\udc00"}', r", line 2 cannot be read as JSON lines: UnicodeDecodeError: .*"),
        (gzip.compress(LINE.encode(), mtime=0), r", line 1 cannot be read as JSON lines: UnicodeDecodeError: .*"),
        (LINE.encode("utf-16"), r", line 1 cannot be read as JSON lines: UnicodeDecodeError: .*"),
        ("\n \n", " has no documents"),
    ],
)
def test_broken_json_lines_are_refused_with_the_line(tmp_path, text, said):
    path = written(tmp_path / "a.jsonl", text)
    with pytest.raises(InputError, match=rf"^corpus='{path}'{said}$"):
        list(TextStream(path))


@pytest.mark.parametrize("columns", [{"text": []}, {"text": [], "n": []}])
def test_parquet_of_no_rows_has_no_documents_and_an_empty_group_is_none(tmp_path, columns):
    schema = pyarrow.schema([(column, pyarrow.string()) for column in columns])
    none, some = pyarrow.table(columns, schema), pyarrow.table(dict.fromkeys(columns, ["one"]), schema)
    for groups, texts in (([], None), ([none], None), ([none, some, none, some], ["one", "one"])):
        path = tmp_path / f"{len(groups)}.parquet"
        with pyarrow.parquet.ParquetWriter(path, schema) as writer:
            for group in groups:
                writer.write_table(group)
        if texts:
            assert list(TextStream(str(path))) == texts
        else:
            with pytest.raises(InputError, match=r"parquet' has no documents$"):
                next(TextStream(str(path)))
