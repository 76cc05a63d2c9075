"""Data sets from a stand-in of the hub: configurations, revisions, drops, and what is refused."""

import shutil

import pandas as pd
import pytest
from helpers.fake_hub import fake_hub

from sae_utils.data.text import streams as text_streams
from sae_utils.data.text import token_rows
from sae_utils.data.text.streams import Dropped, TextStream
from sae_utils.errors import InputError
from sae_utils.pycode.pretraining import train_tokenizer

TEXTS = [f"text {i} of one" for i in range(90)]
CARD = """---
configs:
- config_name: one
  data_files: [{split: train, path: "one/*"}]
- config_name: two
  data_files: [{split: train, path: "two/*"}]
---
"""


def shards(folder, column, texts):
    """Three files of a third of the texts."""
    folder.mkdir(parents=True)
    for i in range(3):
        part = texts[30 * i : 30 * i + 30]
        pd.DataFrame({"id": range(30), column: part}).to_parquet(folder / f"train-{i}.parquet", row_group_size=7)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    org = folder / "org"
    shards(org / "named" / "main" / "one", "raw_content", TEXTS)
    shards(org / "named" / "main" / "two", "text", [text.replace("one", "two") for text in TEXTS])
    (org / "named" / "main" / "README.md").write_text(CARD)
    for name, column in {"plain": "content", "other": "title", "script": "text", "copyless": "text"}.items():
        shards(org / name / "main" / "data", column, TEXTS)
    shards(org / "tests" / "main" / "test", "text", TEXTS)
    for name in ("script", "copyless"):
        (org / name / "main" / f"{name}.py").write_text("raise SystemExit")
    for name in ("sample", "default"):
        shards(org / "script" / "refs-convert-parquet" / name / "train", "text", TEXTS)
    (org / "gated" / "main").mkdir(parents=True)
    return folder


@pytest.fixture
def hub(folder, tmp_path, monkeypatch):
    waited = []
    monkeypatch.setattr(text_streams.time, "sleep", waited.append)
    with fake_hub(folder, tmp_path / "cache", monkeypatch) as server:
        server.waited, server.gated = waited, "org/gated"
        yield server


def test_datasets_are_streamed_by_name_and_configuration(hub):
    assert list(TextStream("org/named:one")) == list(TextStream("org/plain")) == TEXTS
    assert list(TextStream("org/named:two"))[-1] == "text 89 of two"
    assert not hub.waited


def test_scripts_are_read_from_the_hubs_parquet_copy(hub):
    stream = TextStream("org/script:sample")
    first = [next(stream) for _ in range(40)]
    assert first + list(TextStream("org/script:sample", stream.position)) == TEXTS


@pytest.mark.parametrize("n", [0, 1, 29, 30, 77])
def test_position_keeps_the_revision_though_the_hub_goes_on(hub, n, tmp_path):
    hub.folder = shutil.copytree(hub.folder, tmp_path / "hub")
    old = hub.folder / "org" / "named" / "main"
    stream = TextStream("org/named:one")
    first = [next(stream) for _ in range(n)]
    position = stream.position
    if n:
        old.rename(old.with_name("older"))
        shards(old / "three", "raw_content", TEXTS[::-1])
        (old / "README.md").write_text(CARD.replace("one/*", "three/*"))
        assert next(TextStream("org/named:one")) == TEXTS[-1]
    assert first + list(TextStream("org/named:one", position)) == TEXTS


@pytest.mark.parametrize("before", range(4))  # it is read in four requests
@pytest.mark.parametrize("failure", ["503", "drop"])
def test_no_text_is_lost_or_doubled_by_drops(hub, before, failure):
    hub.failures = [""] * before + [failure] * 8  # the hub's client itself tries six times
    assert list(TextStream("org/named:one")) == TEXTS
    assert not hub.failures and hub.waited


def test_hub_that_is_down_is_waited_for_and_ends_in_one_line_in_this_call_and_the_next(hub):
    stream = TextStream("org/named:one")
    first, hub.down = [next(stream) for _ in range(30)], 20
    first += [next(stream) for _ in range(30)]
    assert not hub.down
    hub.down = 10**6
    for last in (stream, TextStream("org/named:one", stream.position)):
        with pytest.raises(Dropped, match=r"dropped after 60 documents, and 8 tries failed \("):
            next(last)
    with pytest.raises(InputError, match="and the Hugging Face hub was not reached"):
        next(TextStream("org/named:one"))
    hub.down = 0
    assert first + list(TextStream("org/named:one", stream.position)) == TEXTS


def test_rows_are_kept_when_the_hub_goes_away(hub, tmp_path, monkeypatch):
    monkeypatch.setattr("sae_utils.data.text.corpus.SHUFFLE_BLOCK", 20)
    tokenizer = train_tokenizer(TEXTS, 270)
    expected = token_rows("org/named:one", tokenizer, "train", 60, 8, None)
    hub.failures = ["", ""] + ["503"] * 200
    with pytest.raises(
        Dropped, match=r"dropped after [1-9]\d documents, and 8 tries failed \(.*; [1-9]\d* rows are kept"
    ):
        token_rows("org/named:one", tokenizer, "train", 60, 8, tmp_path / "kept")
    hub.failures = []
    assert (token_rows("org/named:one", tokenizer, "train", 60, 8, tmp_path / "kept") == expected).all()


@pytest.mark.parametrize(
    ("corpus", "said"),
    [
        ("org/none", "and not on the Hugging Face hub"),
        ("org/named", "the dataset needs a configuration; write org/named:<one of one, two>$"),
        ("org/named:three", "the dataset has no configuration 'three'; write org/named:<one of one, two>$"),
        ("org/script:three", "the dataset has no configuration 'three'; write org/script:<one of default, sample>$"),
        ("org/script", "the dataset needs a configuration; write org/script:<one of default, sample>$"),
        ("org/copyless", "is a loading script, and the hub has no Parquet copy of it$"),
        ("org/other", "has no column 'text', 'raw_content', 'content'; its columns are id, title$"),
        ("org/tests", "cannot be read as a dataset: .*train.*test"),
        ("org/gated:one", "it is gated, .*: accept its terms at .*/datasets/org/gated and set HF_TOKEN in the env"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(hub, corpus, said):
    with pytest.raises(InputError, match=said):
        next(TextStream(corpus))
    assert not hub.waited
