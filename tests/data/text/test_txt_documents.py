"""A plain text becomes the same documents however it is read."""

import pytest

from sae_utils.data.text import txt_documents
from sae_utils.data.text.txt_documents import cut

PARAGRAPHS = [f"Paragraph {i}\nof {i % 5 + 1} lines.\n" * (i % 5 + 1) for i in range(50)]


def by_definition(text):
    """Paragraphs, until a document has SHORTEST characters."""
    documents = [""]
    for paragraph in text.split("\n\n"):
        if len(documents[-1]) >= txt_documents.SHORTEST:
            documents.append("")
        documents[-1] += paragraph + "\n\n"
    return documents


def chunks(text, n_lines):
    """So many lines at a time."""
    lines = text.splitlines(keepends=True)
    return ["".join(lines[i : i + n_lines]) for i in range(0, len(lines), n_lines)]


@pytest.mark.parametrize("n_lines", [1, 3, 1000])
def test_separators_cut_a_text(n_lines):
    text = "<|endoftext|>".join(PARAGRAPHS) + "\n\nA last one<|endoftext|>"
    assert list(cut(chunks(text, n_lines))) == text.split("<|endoftext|>")


@pytest.mark.parametrize("n_lines", [1, 3, 1000])
def test_paragraphs_are_put_together_without_separators(n_lines, monkeypatch):
    monkeypatch.setattr(txt_documents, "SHORTEST", 100)
    for text in ("\n\n".join(PARAGRAPHS), "\n".join(PARAGRAPHS), "\n\n\n\n".join(PARAGRAPHS) + "\n\n"):
        assert list(cut(chunks(text, n_lines))) == by_definition(text)


def test_a_separator_far_behind_the_start_is_text(monkeypatch):
    monkeypatch.setattr(txt_documents, "LOOK_AHEAD", 100)
    monkeypatch.setattr(txt_documents, "SHORTEST", 50)
    text = "\n\n".join([*PARAGRAPHS, "late<|endoftext|>"])
    assert list(cut(chunks(text, 1))) == by_definition(text)
