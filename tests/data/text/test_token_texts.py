import re

import pytest
from helpers.tokenizers import KINDS, tiny

from sae_utils.analysis.latents.pages import vocabulary
from sae_utils.data.text import TokenTexts, tokenise

SENTENCEPIECE = ("Llama", "Gemma")
PREFIXED = ("Llama", "GPTSw3", "XGLM")  # kinds whose tokenizers put a space before a text


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def tokenizer(kind, tmp_path_factory):
    return tiny(kind, tmp_path_factory.mktemp("tokenizer"))


def shown(tokenizer, text):
    return TokenTexts(tokenizer).in_row(tokenise(tokenizer, text)["input_ids"])


@pytest.mark.parametrize("text", ["Once upon a time", "Girvan–Newman", "\U0001f642 a\n\n\tx , .", "\ufeffa\ufffd"])
def test_the_texts_of_a_row_joined_are_its_text(kind, tokenizer, text):
    if kind in ("GPTSw3", "XGLM"):  # no bytes: what their vocabulary lacks is <unk>
        text = "ab /a bb a"
    assert "".join(shown(tokenizer, text)) == (" " if kind in PREFIXED else "") + text


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("GPT2", "a – b", ["a", " ", "", "", "–", " ", "b"]),
        ("Llama", "as a–ab a", [" a", "s", " a", "", "", "–", "a", "b", " a"]),
        ("Gemma", "as a–ab a", ["a", "s", " a", "", "", "–", "a", "b", " a"]),
        ("Llama", "</s>\n", [" ", "<", "/", "s>", "\n"]),
    ],
)
def test_spaces_stay_and_a_character_is_its_last_token_s(tmp_path, kind, text, expected):
    assert shown(tiny(kind, tmp_path), text) == expected


@pytest.mark.parametrize("kind", ["GPT2", "Llama"])
def test_a_character_that_the_row_cuts_is_replaced(tmp_path, kind):
    texts, ids = TokenTexts(made := tiny(kind, tmp_path)), tokenise(tiny(kind, tmp_path), "a–b")["input_ids"]
    of_character = [i for i in ids if "\ufffd" in made.decode([i])]
    assert texts.in_row(of_character[1:])[-1] == "\ufffd"
    assert texts.in_row(of_character[:2]) == ["", "\ufffd"]
    assert [texts.alone(i) for i in of_character] == ["<0xE2>", "<0x80>", "<0x93>"]


def test_tokens_that_differ_look_different(kind, tokenizer):
    found = vocabulary(tokenizer, len(tokenizer) + 1)
    utf8 = [found.utf8.tobytes()[a:b] for a, b in zip([0, *found.end], found.end, strict=False)]
    assert len(set(utf8)) == len(utf8) == len(tokenizer) + 1
    assert utf8[-1] == f"<{len(tokenizer)}>".encode()
    if kind in SENTENCEPIECE:
        names = tokenizer.get_vocab()
        assert [utf8[names[name]] for name in ("a", "\u2581a", "\u2581")] == [b"a", b" a", b" "]
        assert [utf8[names[name]] for name in ("<0x61>", "<0x0A>", "<0xE2>")] == [b"<0x61>", b"\n", b"\xe2"]
    if kind == "GPT2":
        assert sum(not re.fullmatch(r"[\x00-\x7f]+", one.decode(errors="replace")) for one in utf8) == 128
