"""A .txt is cut into documents at what stands between them, however it is read."""

import textwrap

import numpy as np
import pytest

from sae_utils.data.text import documents, token_rows, txt
from sae_utils.data.text.txt import txt_documents
from sae_utils.pycode.pretraining import train_tokenizer

PARAGRAPHS = [f"Paragraph {i}\nof {i % 5 + 1} lines.\n" * (i % 5 + 1) for i in range(50)]
WORDS = np.random.default_rng(0).choice(["sparse", "a", "of", "autoencoder", "latents", "seed,", "end."], 30_000)


def together(parts, separator):
    """Parts, until a document has SHORTEST characters."""
    found = [""]
    for part in parts:
        if len(found[-1]) >= txt.SHORTEST:
            found.append("")
        found[-1] += part + separator
    return found


@pytest.mark.parametrize("piece", [1, 100, 2**20])
def test_txt_is_cut_at_separators_or_into_runs_of_paragraphs_however_it_is_read(tmp_path, piece, monkeypatch):
    monkeypatch.setattr(txt, "PIECE", piece)
    monkeypatch.setattr(txt, "SHORTEST", 100)
    path = tmp_path / "texts.txt"
    path.write_text(text := "<|endoftext|>".join(PARAGRAPHS) + "\n\nA last one<|endoftext|>", encoding="utf-8-sig")
    assert list(txt_documents(path)) == text.split("<|endoftext|>")
    for text in ("\n\n".join(PARAGRAPHS), "\n".join(PARAGRAPHS), "\n\n\n\n".join(PARAGRAPHS) + "\n\n"):
        path.write_text(text)
        assert list(txt_documents(path)) == together(text.split("\n\n"), "\n\n")
    path.write_text(text := "\n\n".join([*PARAGRAPHS, "late<|endoftext|>"]))
    monkeypatch.setattr(txt, "LOOK_AHEAD", 100)
    assert list(txt_documents(path)) == together(text.split("\n\n"), "\n\n"), "a separator far behind is text"


@pytest.mark.parametrize(("mark", "end"), [("", "\n"), ("\ufeff", "\r\n")])
def test_each_line_is_a_document_where_lines_are_not_wrapped(tmp_path, end, mark, caplog):
    lines = [f"This is document {i} of many. " + " ".join(WORDS[i : i + i * i % 23]) for i in range(20_000)]
    lines[7000] = ""  # one blank line makes no paragraphs
    path = tmp_path / "lines.TXT"
    path.write_bytes((mark + end.join(lines) + end).encode())
    assert list(txt_documents(path)) == [*lines, ""]
    assert f"{path} has no <|endoftext|> between documents: they are taken to be its lines" in caplog.text
    split = [list(documents(str(path), name)) for name in ("train", "held_out")]
    assert sorted(split[0] + split[1]) == sorted(filter(None, lines)) and 1800 < len(split[1]) < 2200
    tokenizer = train_tokenizer(lines[:9], 300)
    rows = token_rows(str(path), tokenizer, "train", 100, 50, None)
    assert tokenizer.decode(rows.flatten()).split("<|endoftext|>")[:60] == split[0][:60]


@pytest.mark.parametrize("lines", [["one", "two of it", "three"], ["short"] * 99, ["text " * 99] * 9, ["line 11", ""]])
def test_few_short_or_long_lines_are_documents(tmp_path, lines):
    path = tmp_path / "lines.txt"
    path.write_text("\n".join(lines))
    assert list(txt_documents(path)) == lines


@pytest.mark.parametrize("width", [50, 72, 100])
def test_wrapped_lines_are_not_cut_apart(tmp_path, width, caplog):
    lines = textwrap.wrap(" ".join(WORDS) + " https://example.org/" + "long" * 40, width, break_long_words=False)
    path = tmp_path / "wrapped.txt"
    path.write_text("\n".join(lines))
    found = list(txt_documents(path))
    assert found == together(lines, "\n") and len(found) == 45  # of 185,134 characters
    assert "they are taken to be runs of wrapped lines" in caplog.text
