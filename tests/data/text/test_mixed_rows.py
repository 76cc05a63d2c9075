"""Rows of several sources are the rows that each has by itself, in a fixed order; those of one are what they were."""

import hashlib
import threading
from pathlib import Path

import numpy as np
import pytest
from helpers.tiny_language_model import TEXTS

from sae_utils.data.text import corpus as corpus_module
from sae_utils.data.text import documents, packing, token_rows
from sae_utils.errors import InputError
from sae_utils.pycode.pretraining import train_tokenizer

PERIOD = np.array([0, 1, 0, 0, 0, 1, 0, 0, 1, 0])  # 7 and 3 of ten rows


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS, 300)


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / "code.txt", tmp_path / "prose.txt"]
    paths[0].write_text("<|endoftext|>".join(TEXTS))
    paths[1].write_text("<|endoftext|>".join(f"Chapter {i}. It was a dark night, the {i}th." for i in range(200)))
    return [str(path) for path in paths]


@pytest.fixture
def corpus(files):
    return f"0.7 {files[0]} + 0.3 {files[1]}"


@pytest.mark.parametrize(("split", "key"), [("train", "3a0da93c4361832481a1"), ("held_out", "c291e9150313fc956cab")])
def test_one_source_has_the_key_and_the_rows_that_it_had_before_there_were_several(
    split, key, tokenizer, tmp_path, monkeypatch
):
    monkeypatch.setattr(corpus_module, "_blocks", lambda *_: iter([packing.Block({}, TEXTS)]))
    rows = token_rows("owner/name:part", tokenizer, split, 40, 16, tmp_path)
    assert [path.name for path in tmp_path.glob("*.bin")] == [f"rows-{key}.bin"]
    assert hashlib.sha256(rows.tobytes()).hexdigest()[:16] == "b26f9a9dbe4b9bd6" and rows.dtype == np.uint16


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_rows_are_those_of_each_source_by_itself_in_the_order(corpus, files, tokenizer, split):
    rows = token_rows(corpus, tokenizer, split, 10, 16, None)
    assert rows.dtype == np.uint16
    for i, n in ((0, 7), (1, 3)):
        assert np.array_equal(rows[i == PERIOD], token_rows(files[i], tokenizer, split, n, 16, None))


def test_kept_rows_grow_and_are_the_same_whatever_was_asked_before(corpus, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "MIXED", 4)
    monkeypatch.setattr(packing, "LARGEST_IN_MEMORY", 100)
    expected, kept = token_rows(corpus, tokenizer, "train", 50, 16, None), tmp_path / "cache"
    for n_rows in (1, 3, 21, 20, 50):
        rows = token_rows(corpus, tokenizer, "train", n_rows, 16, kept)
        assert np.array_equal(rows, expected[:n_rows]) and isinstance(rows, np.memmap) == (n_rows > 3)
    assert len(list(kept.glob("*.bin"))) == 3
    token_rows(corpus.replace("0.7", " 7").replace("0.3", "3.0 "), tokenizer, "train", 50, 16, kept)
    assert len(list(kept.glob("*.bin"))) == 3, "equal shares are the same corpus"
    token_rows(corpus.replace("0.7", "0.6"), tokenizer, "train", 20, 16, kept)
    assert len(list(kept.glob("*.bin"))) == 4, "the sources' own rows serve any weights"


def test_kept_rows_are_not_taken_for_those_of_a_changed_source(corpus, files, tokenizer, tmp_path):
    before = token_rows(corpus, tokenizer, "train", 10, 16, tmp_path)
    Path(files[1]).write_text("<|endoftext|>".join(f"Another {i}. And a bright day it was." for i in range(200)))
    after = token_rows(corpus, tokenizer, "train", 10, 16, tmp_path)
    assert (np.any(before != after, axis=1) == (PERIOD == 1)).all()


def test_mixing_that_was_ended_goes_on(corpus, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "MIXED", 4)
    expected, append = token_rows(corpus, tokenizer, "train", 30, 16, None), packing.RowFile.append

    def ended(self, file, rows, state):
        if isinstance(self.packer, packing.Mixer) and state.rows > 8:
            file.write(rows.tobytes()[:50])
            raise KeyboardInterrupt
        append(self, file, rows, state)

    monkeypatch.setattr(packing.RowFile, "append", ended)
    with pytest.raises(KeyboardInterrupt):
        token_rows(corpus, tokenizer, "train", 30, 16, tmp_path)
    monkeypatch.setattr(packing.RowFile, "append", append)
    assert np.array_equal(token_rows(corpus, tokenizer, "train", 30, 16, tmp_path), expected)


def test_processes_that_mix_the_same_at_once_get_the_same(corpus, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "MIXED", 2)
    expected, found = token_rows(corpus, tokenizer, "train", 40, 16, None), {}

    def ask(n_rows):
        found[n_rows] = token_rows(corpus, tokenizer, "train", n_rows, 16, tmp_path)

    threads = [threading.Thread(target=ask, args=(n_rows,)) for n_rows in (40, 25, 33)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(rows, expected[:n_rows]) for n_rows, rows in found.items()) and len(found) == 3


def test_source_that_is_too_small_is_named_before_the_long_ones_are_read(files, tokenizer, monkeypatch):
    read, blocks = [], corpus_module._blocks
    monkeypatch.setattr(corpus_module, "_blocks", lambda name, *rest: read.append(name) or blocks(name, *rest))
    for corpus in (f"0.9 owner/name + 0.1 {files[1]}", f"0.1 {files[1]} + 0.9 installed-python"):
        with pytest.raises(InputError) as error:
            token_rows(corpus, tokenizer, "train", 10_000, 16, None)
        start, _, end = str(error.value).partition(" has ")
        assert start == f"corpus {files[1]!r}, split 'train'"
        assert end.endswith(" rows of 16; asked for n_rows=1,000, 16,000 tokens") and " tokens, " in end
    assert set(read) == {files[1]}


def test_mixtures_are_refused_in_one_line_and_have_no_one_order_of_documents(corpus, files, tokenizer):
    cases = {
        f"0.7 {files[0]}": "has a weight for one source alone",
        f"0.7 {files[0]} + 0 {files[1]}": "which is not a weight above 0 and a source",
        f"1 {files[0]} + 1 {files[0]}": "twice",
        f"1 {files[0]} + 1 none.txt": "none.txt': there is no such file",
        f"1 {files[0]} + 1 {__file__}": "is a .py file; allowed: .txt, .jsonl, .parquet",
    }
    for wrong, said in cases.items():
        with pytest.raises(InputError, match=f"^corpus=.*{said}"):
            token_rows(wrong, tokenizer, "train", 1, 16, None)
    with pytest.raises(InputError, match="has several sources, each with its own order of documents: name one"):
        documents(corpus, "train")
