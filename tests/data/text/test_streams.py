"""Texts of files: each comes once and in order, wherever a stream is taken up again; a .txt is cut into documents."""

import itertools
import json

import pandas as pd
import pytest
from datasets.packaged_modules.json.json import JsonConfig

from sae_utils.data.text import streams as text_streams
from sae_utils.data.text.streams import Dropped, TextStream, txt_documents

TEXTS = [f"text {i} " + f"line {i} of a text\n" * (100 if i % 2 else 2) for i in range(150)]  # 150 kB
PARAGRAPHS = [f"Paragraph {i}\nof {i % 5 + 1} lines.\n" * (i % 5 + 1) for i in range(50)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    (folder / "texts.jsonl").write_text("\n".join(json.dumps({"text": text, "n": 1}) for text in TEXTS))
    (folder / "texts.txt").write_text("<|endoftext|>".join(TEXTS))
    pd.DataFrame({"content": TEXTS, "n": 1}).to_parquet(folder / "texts.parquet", row_group_size=40, compression=None)
    return folder


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "txt"])
def test_stream_goes_on_at_its_position(folder, kind, monkeypatch):
    # datasets reads 10 MB at once: less here, so that texts come before the file is read
    monkeypatch.setattr(JsonConfig, "__post_init__", lambda self: setattr(self, "chunksize", 40_000))
    name = str(folder / f"texts.{kind}")
    stream, found = TextStream(name), []
    for n in (0, 1, 66, 67, 80):  # texts until the stream is left
        position = json.loads(json.dumps(stream.position))
        stream = TextStream(name, position)
        found += itertools.islice(stream, n - len(found))
    assert found + list(stream) == TEXTS


def test_position_of_another_version_of_datasets_is_counted_out(folder):
    stream = TextStream(str(folder / "texts.jsonl"))
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


@pytest.mark.parametrize("name", ["a[1].jsonl", "a*.jsonl", "a?.jsonl", "a b%20.jsonl"])
def test_names_of_files_are_no_patterns(tmp_path, name):
    (tmp_path / name).write_text(json.dumps({"text": "this one"}))
    (tmp_path / "a1.jsonl").write_text(json.dumps({"text": "not this one"}))
    assert list(TextStream(str(tmp_path / name))) == ["this one"]


def test_library_has_its_own_settings_again(folder):
    from datasets import config
    from datasets.utils import logging

    def settings():
        return config.STREAMING_READ_MAX_RETRIES, config.STREAMING_OPEN_RETRY_INTERVAL, logging.get_verbosity()

    before = settings()
    next(TextStream(str(folder / "texts.jsonl")))
    assert settings() == before == (20, 5, logging.WARNING)


def paragraphs_together(text):
    """Paragraphs, until a document has SHORTEST characters."""
    documents = [""]
    for paragraph in text.split("\n\n"):
        if len(documents[-1]) >= text_streams.SHORTEST:
            documents.append("")
        documents[-1] += paragraph + "\n\n"
    return documents


@pytest.mark.parametrize("piece", [1, 100, 2**20])
def test_txt_is_cut_at_separators_or_into_runs_of_paragraphs_however_it_is_read(tmp_path, piece, monkeypatch):
    monkeypatch.setattr(text_streams, "PIECE", piece)
    monkeypatch.setattr(text_streams, "SHORTEST", 100)
    path = tmp_path / "texts.txt"
    path.write_text(text := "<|endoftext|>".join(PARAGRAPHS) + "\n\nA last one<|endoftext|>")
    assert list(txt_documents(path)) == text.split("<|endoftext|>")
    for text in ("\n\n".join(PARAGRAPHS), "\n".join(PARAGRAPHS), "\n\n\n\n".join(PARAGRAPHS) + "\n\n"):
        path.write_text(text)
        assert list(txt_documents(path)) == paragraphs_together(text)
    path.write_text(text := "\n\n".join([*PARAGRAPHS, "late<|endoftext|>"]))
    monkeypatch.setattr(text_streams, "LOOK_AHEAD", 100)
    assert list(txt_documents(path)) == paragraphs_together(text), "a separator far behind the start is text"
