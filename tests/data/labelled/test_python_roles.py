import io
import textwrap
import tokenize
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from helpers.tiny_language_model import TEXTS
from helpers.tokenizers import with_first_token

from sae_utils.data.labelled.python_roles import ROLES, UNKNOWN, character_roles, row_roles, token_roles
from sae_utils.data.text import documents, token_rows
from sae_utils.errors import InputError
from sae_utils.pycode.pretraining import train_tokenizer

CODE = '''def f(x, y=1.5):
    """Adds."""
    s = "é" + 'b'  # note
    return x if s else \\
        [y]
'''


def names(roles):
    return [ROLES[role] if role >= 0 else None for role in roles]


def words(text, roles):
    """Runs of characters with one role."""
    runs = groupby(zip(text, roles, strict=True), key=lambda pair: pair[1])
    return [("".join(character for character, _ in run), role) for role, run in runs]


def test_characters_have_the_role_that_a_reader_would_give_them():
    found = words(CODE, names(character_roles(CODE)))
    assert [run for run, _ in found[:11]] == ["def", " ", "f", "(", "x", ",", " ", "y", "=", "1.5", ")"]
    roles = "keyword space name bracket name operator space name operator number bracket"
    assert [role for _, role in found[:11]] == roles.split()
    assert ("    ", "indent") in found and ('"""Adds."""', "docstring") in found
    assert ('"é"', "string") in found and ("# note", "comment") in found and (" \\", "space") in found
    assert found[-4:] == [("[", "bracket"), ("y", "name"), ("]", "bracket"), ("\n", "newline")]


# From Python 3.12 the tokenizer takes f-strings apart, and the parser knows more of them. The roles are 3.11's.
STRINGS = {
    'f"a{b}c"': "string",
    "rf'\\d{q:>{w}}'": "string",
    "F\"{{é}} {x!r} {f'{y}'}\"": "string",
    'f"\\N{BULLET} {y:%H}\\n"': "string",
    "f'{a[\"k\"]}'": "string",
    'f"""é\n{a\n}é"""': "string",
    '"""é\né, é"""': "string",  # 3.12.1 says that it ends two characters later
    "f''": "string",
    'f"{a["k"]}"': None,
    'f"{a\n}"': None,
    'f"""{a # why\n}"""': None,
    "f\"{'\\n'.join(a)}\"": None,
    't"{a}"': None,
}


@pytest.mark.parametrize(("literal", "role"), STRINGS.items())
def test_roles_of_strings_are_the_same_on_every_python(literal, role):
    text = f"x = {literal} + y\n{literal}\n"
    found = character_roles(text)
    if role is None:
        assert found is None
        return
    after = [("\n", "newline"), (literal, "docstring"), ("\n", "newline")]
    middle = [(literal, role), (" ", "space"), ("+", "operator"), (" ", "space"), ("y", "name")]
    before = [("x", "name"), (" ", "space"), ("=", "operator"), (" ", "space")]
    assert words(text, names(found)) == [*before, *middle, *after]


@pytest.mark.parametrize(
    ("text", "roles"),
    [
        ("a = 1\r\nb\n", "name space operator space number newline name newline"),
        ("a = 1\rb\n", "name space operator space number newline name newline"),
        ("type X = int\n", None),
        ("try:\n    a\nexcept B, C:\n    a\n", None),
    ],
)
def test_line_ends_and_the_grammar_are_the_same_on_every_python(text, roles):
    found = character_roles(text)
    assert (found if found is None else " ".join(role for _, role in words(text, names(found)))) == roles


def test_characters_of_each_python_token_are_labelled_by_its_type():
    source = Path(textwrap.__file__).read_text(encoding="utf-8")  # it has no f-string
    roles, lines = names(character_roles(source)), source.splitlines(keepends=True)
    starts = np.cumsum([0, *map(len, lines)])
    wanted = {
        tokenize.NAME: {"name", "keyword"},
        tokenize.NUMBER: {"number"},
        tokenize.STRING: {"string", "docstring"},
        tokenize.COMMENT: {"comment"},
        tokenize.OP: {"operator", "bracket"},
    }
    seen = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in wanted:
            start, end = (starts[row - 1] + column for row, column in (token.start, token.end))
            assert set(roles[start:end]) <= wanted[token.type] and len(set(roles[start:end])) == 1
            seen += end - start
    outside = [role for role in roles if role in ("space", "indent", "newline")]
    assert seen + len(outside) == len(source)


@pytest.mark.parametrize("text", ["Call me Ishmael, some years ago", "def f(:\n", "x = '''", "a\0b", "  x\n y\n"])
def test_what_is_no_python_has_no_roles(text):
    assert character_roles(text) is None
    assert (token_roles(text, np.arange(1, len(text) + 1)) == UNKNOWN).all()


def test_a_token_has_the_role_of_its_first_character_that_is_no_white_space():
    text = "a = 1\n    \nif b: c\n"
    pieces = ["a", " =", " ", "1\n", "    \n", "if b", ":", " c", "\n"]
    roles = names(token_roles(text, np.cumsum([len(piece) for piece in pieces])))
    expected = ["name", "operator", "space", "number", "newline", "keyword", "operator", "name", "newline"]
    assert roles == expected


def test_tokens_that_are_bytes_of_one_character_share_its_role():
    text = "x = '€'\n"  # three bytes in the string: three tokens that end at its one character
    ends = np.array([1, 2, 3, 4, 5, 6, 6, 6, 7, 8])
    assert names(token_roles(text, ends))[4:] == ["string"] * 5 + ["newline"]
    assert len(token_roles("", np.array([], dtype=np.int64))) == 0


@pytest.fixture
def corpus(tmp_path):
    tokenizer = train_tokenizer(TEXTS, 300)
    path = tmp_path / "code.txt"
    path.write_text("<|endoftext|>".join([*TEXTS, "This is not Python, is it?"]), encoding="utf-8")
    return str(path), tokenizer


def test_rows_have_the_roles_of_their_documents(corpus):
    path, tokenizer = corpus
    rows = token_rows(path, tokenizer, "train", 20, 16, cache_dir=None)
    roles = row_roles(path, tokenizer, "train", rows)
    assert roles.shape == rows.shape
    flat = []
    for text in documents(path, "train"):
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        own = character_roles(text)
        for start, end in encoded["offset_mapping"]:
            inside = [ROLES[r] for r in (own[start:end] if own is not None else [])]
            solid = [r for r in inside if r not in ("space", "indent", "newline")]
            flat.append((solid or [r for r in inside if r == "newline"] or inside or [None])[0])
        flat.append("end of text")
    assert names(roles.ravel()) == flat[: rows.size]
    assert {"keyword", "name", "number"} <= set(names(roles.ravel()))


def test_rows_of_several_sources_have_the_roles_of_each(corpus, tmp_path):
    path, tokenizer = corpus
    prose = tmp_path / "prose.txt"
    prose.write_text("<|endoftext|>".join(f"This is no Python, text {i}." for i in range(60)), encoding="utf-8")
    rows = token_rows(f"2 {path} + 1 {prose}", tokenizer, "train", 15, 16, cache_dir=None)
    roles = row_roles(f"2 {path} + 1 {prose}", tokenizer, "train", rows)
    of_prose = np.arange(15) % 3 == 1
    for source, mine in ((path, ~of_prose), (str(prose), of_prose)):
        np.testing.assert_array_equal(roles[mine], row_roles(source, tokenizer, "train", rows[mine]))
    assert set(names(roles[of_prose].ravel())) == {None, "end of text"}


def test_the_token_in_front_of_a_row_has_no_role(corpus):
    path, tokenizer = corpus
    plain = row_roles(path, tokenizer, "train", token_rows(path, tokenizer, "train", 20, 16, cache_dir=None))
    first = with_first_token(tokenizer)
    roles = row_roles(path, first, "train", token_rows(path, first, "train", 20, 17, cache_dir=None))
    np.testing.assert_array_equal(roles[:, 1:], plain)
    assert (roles[:, 0] == UNKNOWN).all()


def test_rows_of_other_text_are_refused(corpus):
    path, tokenizer = corpus
    rows = token_rows(path, tokenizer, "train", 20, 16, cache_dir=None)
    rows[3, 4] += 1
    with pytest.raises(InputError, match="rows are not the first rows of corpus"):
        row_roles(path, tokenizer, "train", rows)


def test_a_tokenizer_without_offsets_gives_no_roles(corpus):
    path, _ = corpus

    class Slow:
        is_fast = False

    assert (row_roles(path, Slow(), "train", np.zeros((2, 3), dtype=np.uint16)) == UNKNOWN).all()
