"""Packed rows: what is in them, in which order, on which side of the split, and what is refused."""

import hashlib
import json

import huggingface_hub
import numpy as np
import pandas as pd
import pytest
from helpers.tiny_language_model import TEXTS
from helpers.tokenizers import with_first_token

from sae_utils.data.text import INSTALLED, check_corpus, documents, packing, token_rows
from sae_utils.data.text import corpus as corpus_module
from sae_utils.errors import InputError
from sae_utils.pycode.pretraining import train_tokenizer
from sae_utils.run.parameters import rules

JSONL = "\n".join(json.dumps({"text": text}) for text in TEXTS)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS, 300)


@pytest.fixture
def jsonl(tmp_path):
    path = tmp_path / "texts.jsonl"
    path.write_text(JSONL)
    return str(path)


def test_rows_are_whole_documents_each_followed_by_end_of_text(jsonl, tokenizer):
    rows = token_rows(jsonl, tokenizer, "train", 40, 16, None)
    assert rows.shape == (40, 16) and rows.dtype == np.uint16
    found = tokenizer.decode(rows.flatten().tolist()).split("<|endoftext|>")[:-1]  # the last may be cut
    assert found == list(documents(jsonl, "train"))[: len(found)] and len(found) > 5


def test_split_is_by_the_text_alone_and_has_every_document_once(jsonl, tmp_path):
    train, held_out = list(documents(jsonl, "train")), list(documents(jsonl, "held_out"))
    assert sorted(train + held_out) == sorted(TEXTS) and held_out
    assert held_out == [text for text in held_out if is_held_out(text)]
    assert train != [text for text in TEXTS if text in train], "the order of the file is not the order of the rows"
    parquet = tmp_path / "texts.parquet"
    pd.DataFrame({"text": TEXTS[::-1]}).to_parquet(parquet)
    assert list(documents(str(parquet), "train")) == train


def test_rows_are_kept_and_taken_up_again(jsonl, tokenizer, tmp_path, monkeypatch):
    kept = tmp_path / "cache"
    rows = token_rows(jsonl, tokenizer, "train", 10, 16, kept)
    assert sorted(path.suffix for path in kept.iterdir()) == [".bin", ".json", ".lock"]
    monkeypatch.setattr(corpus_module, "_blocks", lambda *_: pytest.fail("read again"))
    assert np.array_equal(token_rows(jsonl, tokenizer, "train", 10, 16, kept), rows)


@pytest.mark.parametrize("change", ["split", "context", "tokenizer", "first token", "text", "format"])
def test_kept_rows_are_not_taken_for_others(jsonl, tokenizer, tmp_path, change, monkeypatch):
    kept = tmp_path / "cache"
    arguments = {"split": "train", "n_rows": 4, "context": 16}
    token_rows(jsonl, tokenizer, cache_dir=kept, **arguments)
    if change == "tokenizer":
        tokenizer = train_tokenizer(TEXTS, 290)
    elif change == "first token":
        tokenizer = with_first_token(tokenizer)
    elif change == "format":
        monkeypatch.setattr(corpus_module, "FORMAT", corpus_module.FORMAT - 1)
    elif change == "text":
        with open(jsonl, "a") as file:
            file.write("\n" + json.dumps({"text": "another text"}))
    else:
        arguments |= {"split": "held_out"} if change == "split" else {change: 5}
    token_rows(jsonl, tokenizer, cache_dir=kept, **arguments)
    assert len(list(kept.glob("*.bin"))) == 2


@pytest.mark.parametrize("kind", ["jsonl", "txt", "parquet"])
def test_rows_of_many_blocks_are_the_same_when_packing_was_ended_anywhere(tmp_path, tokenizer, monkeypatch, kind):
    monkeypatch.setattr(corpus_module, "SHUFFLE_BLOCK", 9)
    monkeypatch.setattr(packing, "FEWEST", 2)
    monkeypatch.setattr(packing, "MOST", 2)
    path = tmp_path / f"texts.{kind}"
    if kind == "parquet":
        pd.DataFrame({"raw_content": TEXTS, "n": range(len(TEXTS))}).to_parquet(path, row_group_size=7)
    else:
        path.write_text({"txt": "<|endoftext|>".join(TEXTS), "jsonl": JSONL}[kind])
    expected = token_rows(str(path), tokenizer, "train", 60, 16, None)
    for n_rows in range(1, 61, 4):  # each call goes on where the one before it ended
        assert np.array_equal(token_rows(str(path), tokenizer, "train", n_rows, 16, tmp_path), expected[:n_rows])
    assert sorted(documents(str(path), "train")) == sorted(text for text in TEXTS if not is_held_out(text))


def test_long_documents_make_small_blocks(jsonl, monkeypatch):
    whole = list(documents(jsonl, "train"))
    monkeypatch.setattr(corpus_module, "SHUFFLE_CHARACTERS", 3 * len(TEXTS[-1]))
    sizes = [len(block.texts) for block in corpus_module._blocks(jsonl, "train")]
    assert max(sizes) <= 4 and len(sizes) >= len(TEXTS) // 4
    assert sorted(documents(jsonl, "train")) == sorted(whole) != whole


def is_held_out(text):
    return hashlib.sha256(text.encode()).digest()[0] % 10 == 0


def test_large_vocabularies_get_int32(jsonl, tokenizer, monkeypatch):
    monkeypatch.setattr(type(tokenizer), "__len__", lambda self: 2**16 + 1)
    assert token_rows(jsonl, tokenizer, "train", 2, 16, None).dtype == np.int32


def test_wrong_corpora_are_refused_in_one_line(tmp_path, tokenizer, monkeypatch):
    def unreachable(*_, **__):
        raise ConnectionError

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", unreachable)
    files = {
        "other.jsonl": json.dumps({"code": "x", "n": 1}),
        "numbers.jsonl": json.dumps({"text": 3}),
        "broken.jsonl": "{nope",
        "empty.jsonl": "",
        "empty.txt": "",
        "broken.parquet": "PAR",
        "latin.txt": "caf\xe9 " * 10,
        "latin.jsonl": json.dumps({"text": "caf\xe9"}, ensure_ascii=False),
        "blank.jsonl": json.dumps({"text": " "}),
        "null.jsonl": json.dumps({"text": None}),
        "lines.txt": "\n \n",
    }
    (tmp_path / "folder.txt").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="latin-1")
    cases = {
        "none.txt": "there is no such file",
        "none.TXT": "there is no such file",
        f"{'long' * 99}.txt": "there is no such file",
        "folder.txt": "is not 'installed-python', a .txt, .jsonl, .parquet file or a dataset's name",
        "": "is not 'installed-python', a .txt, .jsonl, .parquet file or a dataset's name",
        "other.jsonl": "has no column 'text', 'raw_content', 'content'; its columns are code, n",
        "numbers.jsonl": "its column 'text' holds int, not text",
        "broken.jsonl": "cannot be read as JSON lines: ",
        "empty.jsonl": "is an empty file",
        "empty.txt": "is an empty file",
        "broken.parquet": "cannot be read as Parquet: ",
        "latin.txt": "cannot be read as UTF-8 text: UnicodeDecodeError",
        "latin.jsonl": "cannot be read as JSON lines: UnicodeDecodeError",
        "blank.jsonl": "has 0 tokens, 0 rows of 16; asked for n_rows=1",
        "null.jsonl": "has 0 tokens, 0 rows of 16; asked for n_rows=1",
        "lines.txt": "has 0 tokens, 0 rows of 16; asked for n_rows=1",
    }
    cases = {str(tmp_path / name): said for name, said in cases.items()} | {
        "~nobody-here/text.txt": "there is no such file",
        __file__: "is a .py file; allowed: .txt, .jsonl, .parquet",
        "https://example.org/text.jsonl": "there is no such file",
        "some/dataset": "the Hugging Face hub was not reached",
        "some/dataset:sample": "the Hugging Face hub was not reached",
    }
    for corpus, said in cases.items():
        with pytest.raises(InputError, match=said):
            token_rows(corpus, tokenizer, "train", 1, 16, None)
    with pytest.raises(InputError, match="split='test' is unknown; allowed: train, held_out"):
        token_rows("installed-python", tokenizer, "test", 1, 16, None)


def test_parameters_and_the_reader_allow_the_same_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.txt", "b.TXT", "c.Parquet", "d.md", "e"):
        (tmp_path / name).touch()
    (tmp_path / "folder.txt").mkdir()
    for name in ("a.txt", "b.TXT", "c.Parquet", "owner/name:part", INSTALLED):
        assert rules.check_corpus(name) == check_corpus(name) == name
    for name in ("d.md", "none.TXT", "folder.txt", ".", "", "long" * 99 + ".txt", "~nobody-here/a.txt"):
        for check in (rules.check_corpus, check_corpus):
            with pytest.raises(InputError):
                check(name)
