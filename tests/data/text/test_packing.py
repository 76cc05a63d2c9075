"""Rows are what the definition says, whatever ended the processes that packed them."""

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tokenizers
from helpers.places import importing
from helpers.tokenizers import KINDS, LetterTokenizer, tiny
from transformers import PreTrainedTokenizerFast

from sae_utils.data.text import packing
from sae_utils.data.text.packing import Block, Packer, RowFile, State, pack_in_file, row_start, tokenise
from sae_utils.errors import InputError
from sae_utils.files import only_writer

DOCUMENTS = [f"document {i} " * (i % 7 + 1) for i in range(2000)]
CONTEXT = 11
ALL = sum(len(text) + 1 for text in DOCUMENTS) // CONTEXT


def blocks(position, size=150):
    """Blocks of DOCUMENTS; a position is the number of documents before it."""
    for start in range(position["at"] if position else 0, len(DOCUMENTS), size):
        yield Block({"at": start}, DOCUMENTS[start : start + size])


def kept(path):
    return RowFile(path, Packer(LetterTokenizer(), CONTEXT))


def by_definition(tokenizer, documents=DOCUMENTS):
    tokens = [token for text in documents for token in [*tokenizer(text, False)["input_ids"], tokenizer.eos_token_id]]
    width = CONTEXT - (tokenizer.first is not None)
    rows = [tokens[i : i + width] for i in range(0, len(tokens) - width + 1, width)]
    return np.array([[tokenizer.first, *row] if tokenizer.first is not None else row for row in rows])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "kept" / "rows.bin"


@pytest.mark.parametrize("tokenizer", [LetterTokenizer(), LetterTokenizer(first=7)], ids=["plain", "with a first"])
def test_rows_are_those_of_the_definition(tokenizer, path):
    expected, packer = by_definition(tokenizer), Packer(tokenizer, CONTEXT)
    rows = pack_in_file(path, packer, blocks, len(expected), "text")
    assert np.array_equal(rows, expected) and rows.dtype == np.uint16
    with pytest.raises(InputError, match=rf"^text has [\d,]+ tokens, {len(expected):,} rows of 11; asked for n_rows="):
        pack_in_file(path, packer, blocks, len(expected) + 1, "text")


def test_file_grows_and_no_document_is_tokenised_again_but_those_of_a_begun_block(path, monkeypatch):
    monkeypatch.setattr(packing, "FEWEST", 50)
    monkeypatch.setattr(packing, "MOST", 50)
    packer, asked = Packer(LetterTokenizer(), CONTEXT), []

    def counted(position):
        asked.append(position)
        return blocks(position)

    expected = by_definition(packer.tokenizer)
    for n_rows in (20, 3, 900, ALL):
        assert np.array_equal(pack_in_file(path, packer, counted, n_rows, "text"), expected[:n_rows])
    assert len(asked) == 3 and asked[0] is None and asked[1] == {"at": 0} and asked[2]["at"] > 0
    for _ in range(2):
        with pytest.raises(InputError, match=f"{ALL:,} rows of 11"):
            pack_in_file(path, packer, counted, ALL + 1, "text")
    assert np.array_equal(pack_in_file(path, packer, counted, ALL, "text"), expected)
    assert len(asked) == 4, "that there are no more is kept, too"
    assert sorted(p.name for p in path.parent.iterdir()) == ["rows.bin", "rows.json", "rows.lock"]


def test_many_rows_stay_in_their_file(path, monkeypatch):
    monkeypatch.setattr(packing, "LARGEST_IN_MEMORY", 100 * CONTEXT * 2)
    packer = Packer(LetterTokenizer(), CONTEXT)
    few, many = (pack_in_file(path, packer, blocks, n, "text") for n in (100, 101))
    assert type(few) is np.ndarray and isinstance(many, np.memmap)
    assert not many.flags.writeable and np.array_equal(many[:100], few)


class Killed(BaseException):
    """What no part of the program may catch."""


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_end_between_any_two_steps_leaves_what_the_next_call_goes_on_from(path, step, monkeypatch):
    packer, expected = Packer(LetterTokenizer(first=9), CONTEXT), by_definition(LetterTokenizer(first=9))
    file, do = kept(path), getattr(os, step)
    rows, ended = None, 0
    while rows is None:
        left = iter(range(1 + ended % 4))  # steps until the end, from none to three

        def step_or_end(*arguments, left=left):
            if next(left, None) is None:
                raise Killed
            return do(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(os, step, step_or_end)
            try:
                rows = pack_in_file(path, packer, blocks, len(expected), "text")
            except Killed:
                ended += 1
        with open(path, "ab") as torn:
            torn.write(b"torn!")
        assert np.array_equal(file.read(file.state().rows), expected[: file.state().rows])
    assert ended > 5 and np.array_equal(rows, expected)


CHILD = """
import sys, time
from pathlib import Path
from helpers.tokenizers import KINDS, LetterTokenizer, tiny
from sae_utils.data.text import packing
from test_packing import ALL, CONTEXT, blocks
packing.MOST = 64
def slowly(position):
    for block in blocks(position):
        time.sleep(0.02)
        yield block
packing.pack_in_file(Path(sys.argv[1]), packing.Packer(LetterTokenizer(), CONTEXT), slowly, ALL, "text")
"""


def test_killed_process_is_gone_on_from(path):
    packer, expected = Packer(LetterTokenizer(), CONTEXT), by_definition(LetterTokenizer())
    file, seen = kept(path), []
    for least in (1, ALL // 2):
        command = [sys.executable, "-c", CHILD, str(path)]
        child = subprocess.Popen(command, env=importing(Path(__file__).parent))
        while file.state().rows < least and child.poll() is None:
            time.sleep(0.001)
        child.send_signal(signal.SIGKILL)
        child.wait()
        seen.append(file.state().rows)
    assert 0 < seen[0] < seen[1] < ALL, "each was killed at work, and the next went on from there"
    assert np.array_equal(pack_in_file(path, packer, blocks, ALL, "text"), expected)
    assert path.read_bytes()[: expected.size * 2] == expected.astype(np.uint16).tobytes()


def test_two_processes_do_not_write_at_once(path, caplog):
    packer, rows = Packer(LetterTokenizer(), CONTEXT), []
    other = threading.Thread(target=lambda: rows.append(pack_in_file(path, packer, blocks, 70, "text")))
    with only_writer(path.with_suffix(".lock"), "text"):
        other.start()
        while "another process is writing the rows of text" not in caplog.text:
            time.sleep(0.001)
        assert not path.exists()
    other.join()
    assert np.array_equal(rows[0], by_definition(LetterTokenizer())[:70])


def test_full_disk_is_one_line_and_what_is_there_is_kept(path):
    packer, limits = Packer(LetterTokenizer(), CONTEXT), resource.getrlimit(resource.RLIMIT_FSIZE)
    try:  # as a full disk does, the limit takes a part of what is written, and then nothing
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_001, limits[1]))
        with pytest.raises(InputError, match=r"rows.bin cannot be written \(.*\); [\d,]+ rows are kept, and"):
            pack_in_file(path, packer, blocks, ALL, "text")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    rows, most = kept(path).state().rows, 60_001 // kept(path).row_bytes
    assert 0 < rows < most and path.stat().st_size == 60_001
    assert np.array_equal(pack_in_file(path, packer, blocks, ALL, "text"), by_definition(LetterTokenizer()))


def test_rows_that_do_not_fit_are_refused_before_the_start(path, monkeypatch):
    monkeypatch.setattr(packing.shutil, "disk_usage", lambda _: SimpleNamespace(free=10**6))
    with pytest.raises(InputError, match=r"^text: 0.1 GB of rows do not fit into .*kept, which has 0.0$"):
        pack_in_file(path, Packer(LetterTokenizer(), 1000), lambda _: pytest.fail("was read"), 30_000, "text")


@pytest.mark.parametrize("harm", ["state torn", "rows cut", "rows gone"])
def test_what_does_not_fit_together_is_made_anew(path, harm):
    packer = Packer(LetterTokenizer(), CONTEXT)
    expected = pack_in_file(path, packer, blocks, 50, "text")
    if harm == "state torn":
        path.with_suffix(".json").write_text('{"rows": 50, "re')
    elif harm == "rows cut":
        os.truncate(path, 100)
    else:
        path.unlink()
    assert kept(path).state() == State()
    assert np.array_equal(pack_in_file(path, packer, blocks, 50, "text"), expected)


@pytest.mark.parametrize(
    ("template", "expected"),
    [("<bos> $A", 1), ("<bos> $A <eos>", 1), ("$A <eos>", None), ("$A", None), (None, None), ("<eos> $A", 2)],
)
@pytest.mark.parametrize("unknown", ["<unk>", "a"])
def test_row_start_is_what_the_tokenizer_puts_in_front(template, expected, unknown):
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"<unk>": 0, "<bos>": 1, "<eos>": 2, "a": 3}, "<unk>"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    if template:
        special = [("<bos>", 1), ("<eos>", 2)]
        words.post_processor = tokenizers.processors.TemplateProcessing(single=template, special_tokens=special)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<bos>", eos_token="<eos>", unk_token=unknown)
    assert row_start(tokenizer) == expected


def shows(tokenizer):
    """A text with the names of the tokenizer's control tokens, at its ends and glued to words."""
    return f"{tokenizer.eos_token}a b{tokenizer.bos_token}s </s> <s>a <|endoftext|> {tokenizer.eos_token}"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "XGLM"])
def test_text_that_shows_the_names_of_control_tokens_is_text(kind, path, tmp_path):
    tokenizer = tiny(kind, tmp_path)
    text, end, start = shows(tokenizer), tokenizer.eos_token_id, row_start(tokenizer)
    assert end in tokenizer(text)["input_ids"], "the tokenizer by itself takes them for control tokens"
    ids = tokenise(tokenizer, text)["input_ids"]
    assert tokenise(tokenizer, [text, text])["input_ids"] == [ids, ids]
    assert not {end, tokenizer.bos_token_id} & set(ids) and tokenizer.decode(ids) == text
    packer = Packer(tokenizer, len(ids) + 1 + (start is not None))
    rows = pack_in_file(path, packer, lambda _: [Block({}, [text] * 3)], 3, "text")
    assert rows.tolist() == [[*([] if start is None else [start]), *ids, end]] * 3


def test_tokenizers_that_take_a_text_for_control_tokens_all_the_same_are_refused(path, tmp_path):
    unigram = tiny("XGLM", tmp_path)
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"<end>": 0, "a": 1, "?": 2}, "?"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    for tokenizer, text in (
        (unigram, "a </s> b"),
        (PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>", unk_token="?"), "a <end> a"),
    ):
        name = tokenizer.eos_token
        with pytest.raises(InputError, match=rf"^a text shows '{name}', which this tokenizer takes for its control to"):
            pack_in_file(path, Packer(tokenizer, 4), lambda _, text=text: [Block({}, [text])], 1, "text")
        assert tokenise(tokenizer, "a a")["input_ids"]
