"""Texts from a server that fails: each comes once, and in order, or one line says how far it went."""

import itertools
import json

import pandas as pd
import pytest
from datasets.packaged_modules.json.json import JsonConfig
from datasets.packaged_modules.text.text import TextConfig
from helpers.failing_server import serving

from sae_utils.data.text import streams as text_streams
from sae_utils.data.text import url_files
from sae_utils.data.text.corpus import token_rows
from sae_utils.data.text.streams import Dropped, TextStream
from sae_utils.errors import InputError
from sae_utils.pycode.pretraining import train_tokenizer

TEXTS = [f"text {i} " + f"line {i} of a text\n" * (100 if i % 2 else 2) for i in range(150)]  # 150 kB


@pytest.fixture(autouse=True)
def small_reads(monkeypatch):
    """datasets reads 10 MB at once, and fsspec 5: less here, so that texts come before the file is read."""
    for config in (JsonConfig, TextConfig):
        monkeypatch.setattr(config, "__post_init__", lambda self: setattr(self, "chunksize", 40_000))
    monkeypatch.setattr(url_files.RangesFile, "DEFAULT_BLOCK_SIZE", 20_000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    (folder / "texts.jsonl").write_text("\n".join(json.dumps({"text": text, "n": 1}) for text in TEXTS))
    (folder / "texts.txt").write_text("<|endoftext|>".join(TEXTS))
    pd.DataFrame({"content": TEXTS, "n": 1}).to_parquet(folder / "texts.parquet", row_group_size=40, compression=None)
    return folder


@pytest.fixture
def server(folder):
    with serving(folder) as server:
        yield server


@pytest.fixture
def waits(monkeypatch):
    """What was waited for, in place of waiting."""
    waited = []
    monkeypatch.setattr(text_streams.time, "sleep", waited.append)
    return waited


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "txt"])
def test_each_text_comes_once_whatever_fails(server, kind, waits):
    server.failures = ["503", "", "drop", "", "503", "drop", "", "", "drop"]
    assert list(TextStream(f"{server.address}/texts.{kind}?download=true")) == TEXTS
    assert not server.failures and len(waits) == 5


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
    stream = TextStream(str(folder / "texts.jsonl"))
    first = list(itertools.islice(stream, 70))
    position = stream.position | {"datasets": "0.1", "state": {"another": "meaning"}}
    assert first + list(TextStream(stream.corpus, position)) == TEXTS


def test_waits_grow_and_start_again_after_a_text(server, waits, caplog):
    server.failures = ["503"] * 7
    texts = TextStream(f"{server.address}/texts.jsonl")
    first = next(texts)
    server.failures = ["503"] * 2
    assert [first, *texts] == TEXTS
    assert waits == [1, 2, 4, 8, 16, 32, 64, 1, 2]
    assert "the connection dropped (HTTPError: HTTP Error 503: Service Unavailable); next try in 1 s" in caplog.text


@pytest.mark.parametrize("failure", ["503", "drop"])
def test_server_that_never_works_ends_in_one_line(server, waits, failure):
    server.always = failure
    with pytest.raises(Dropped, match=r"dropped after 0 documents, and 8 tries failed \(") as error:
        next(TextStream(f"{server.address}/texts.jsonl"))
    assert "\n" not in str(error.value) and sum(waits) == 127


def test_rows_go_on_where_a_drop_for_good_ended_them(server, waits, tmp_path, monkeypatch):
    monkeypatch.setattr("sae_utils.data.text.corpus.SHUFFLE_BLOCK", 20)
    corpus, tokenizer = f"{server.address}/texts.jsonl", train_tokenizer(TEXTS[:3], 300)
    expected = token_rows(corpus, tokenizer, "train", 1000, 32, None)
    read = server.gets
    server.gets, server.failures = 0, [""] * (read // 2) + ["503"] * 100
    with pytest.raises(Dropped, match=r"8 tries failed \(.*\); [1-9]\d* rows are kept, and the same call"):
        token_rows(corpus, tokenizer, "train", 1000, 32, tmp_path)
    server.failures = []
    assert (token_rows(corpus, tokenizer, "train", 1000, 32, tmp_path) == expected).all()


def test_what_no_further_try_would_change_is_refused_at_once(server, waits):
    (server.folder / "bad.jsonl").write_text(json.dumps({"title": "x"}))
    for name, said in {
        "none.jsonl": "cannot be read as JSON lines: HTTPError: HTTP Error 404: Not Found",
        "bad.jsonl": "has no column 'text', 'raw_content', 'content'; its columns are title",
    }.items():
        with pytest.raises(InputError, match=said):
            next(TextStream(f"{server.address}/{name}"))
    assert not waits


def test_file_that_changes_under_a_stream_is_refused(server):
    (server.folder / "new.jsonl").write_text((server.folder / "texts.jsonl").read_text())
    stream = TextStream(f"{server.address}/new.jsonl")
    first = [next(stream) for _ in range(70)]
    position = stream.position
    assert first + list(TextStream(stream.corpus, position)) == TEXTS
    (server.folder / "new.jsonl").write_text(json.dumps({"text": "another"}))
    with pytest.raises(InputError, match=r"has changed since its first texts were read: [\d,]+ bytes then, 19 now$"):
        next(TextStream(stream.corpus, position))


@pytest.mark.parametrize("name", ["a[1].jsonl", "a*.jsonl", "a?.jsonl", "a b%20.jsonl"])
def test_names_of_files_are_no_patterns(tmp_path, name):
    (tmp_path / name).write_text(json.dumps({"text": "this one"}))
    (tmp_path / "a1.jsonl").write_text(json.dumps({"text": "not this one"}))
    assert list(TextStream(str(tmp_path / name))) == ["this one"]


def test_library_has_its_own_settings_again(folder):
    from datasets import config
    from datasets.utils import logging

    before = config.STREAMING_READ_MAX_RETRIES, config.STREAMING_OPEN_RETRY_INTERVAL, logging.get_verbosity()
    next(TextStream(str(folder / "texts.jsonl")))
    after = config.STREAMING_READ_MAX_RETRIES, config.STREAMING_OPEN_RETRY_INTERVAL, logging.get_verbosity()
    assert after == before == (20, 5, logging.WARNING)
