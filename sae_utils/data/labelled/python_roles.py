"""The syntactic role that Python's own tokenizer gives to each model token of packed rows of source text.

A row starts anywhere in a file, so roles come from the whole file: ``tokenize`` reads it, and its tokens are mapped
to the model's by the characters that both cover. A document that is no Python 3.11 (``ast.parse`` refuses it) has no
roles, whatever the version that runs this: one text has the same roles everywhere.
"""

import ast
import io
import keyword
import re
import tokenize
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int

from sae_utils.data.mixture import row_order, sources
from sae_utils.data.text import RowMaker, documents, tokenise
from sae_utils.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

UNKNOWN = -1
ROLES = (
    "keyword",  # reserved words; match, case, type and _ depend on the parser and count as names
    "name",
    "operator",
    "bracket",
    "number",
    "string",
    "docstring",  # a string that begins a statement
    "comment",
    "newline",
    "indent",  # white space at the start of a line
    "space",  # white space within a line, and backslashes at its end
    "end of text",
)
_CODE = {role: code for code, role in enumerate(ROLES)}
_WHITE = (_CODE["newline"], _CODE["indent"], _CODE["space"])
_GRAMMAR = (3, 11)


def row_roles(
    corpus: str, tokenizer: "PreTrainedTokenizerBase", split: str, rows: Int[np.ndarray, "n_rows context"]
) -> Int[np.ndarray, "n_rows context"]:
    """The role, an index into ROLES or UNKNOWN, of each token of ``rows``: the first rows of ``corpus.token_rows``.

    Unknown for the token that stands in front of each row, where there is one, and for all where the tokenizer does
    not say which characters a token covers. Raises InputError where ``rows`` are not made of that corpus and split.
    """
    packed = np.full(rows.shape, UNKNOWN, dtype=np.int8)
    if not tokenizer.is_fast:
        return packed
    if len(shares := sources(corpus)) > 1:
        order = row_order(list(shares.values()), len(rows))
        for i, source in enumerate(shares):
            packed[order == i] = row_roles(source, tokenizer, split, rows[order == i])
        return packed
    body = RowMaker.of(tokenizer, rows.shape[1]).body
    ids, at = rows[:, body].reshape(-1), 0
    roles = np.full(ids.shape, UNKNOWN, dtype=np.int8)
    for text in documents(corpus, split):
        if at >= len(ids):
            break
        found = tokenise(tokenizer, text, return_offsets_mapping=True)
        own = np.array([*found["input_ids"], tokenizer.eos_token_id])
        part = slice(at, at + len(own))
        if not np.array_equal(own[: len(ids) - at], ids[part]):
            raise InputError(f"rows are not the first rows of corpus {corpus!r}, split {split!r}: no roles for them")
        ends = np.array([end for _, end in found["offset_mapping"]], dtype=np.int64)
        known = np.append(token_roles(text, ends), _CODE["end of text"])
        roles[part] = known[: len(ids) - at]
        at += len(own)
    packed[:, body] = roles.reshape(len(rows), -1)
    return packed


def token_roles(text: str, ends: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Roles of tokens that cover ``text`` one after another, by the character at which each ends.

    A token that covers several of Python's has the role of the first that is no white space.
    """
    of_character = character_roles(text)
    if of_character is None:
        return np.full(len(ends), UNKNOWN, dtype=np.int8)
    # Some tokenizers trim a token's span, and bytes of one character share theirs: so from end to end.
    starts = np.minimum(np.append(0, ends[:-1]), np.maximum(ends - 1, 0))
    roles = of_character[np.minimum(starts, len(text) - 1)]
    for wanted in (of_character == _CODE["newline"], ~np.isin(of_character, _WHITE)):  # the last one has precedence
        first = _next_true(wanted)[starts]
        inside = first < ends
        roles[inside] = of_character[first[inside]]
    return roles


def character_roles(text: str) -> Int[np.ndarray, " characters"] | None:
    """The role of each character; None where the text is no Python 3.11."""
    text = re.sub(r"\r(?!\n)", "\n", text)  # a line's end to the parser, and to no version's tokenizer
    lines = list(io.StringIO(text))
    begins = np.append(0, np.cumsum([len(line) for line in lines])).astype(np.int64)
    roles = _white_space(lines)
    begins_statement = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the parser thinks of the text's style
            ast.parse(text, feature_version=_GRAMMAR)
        for token in _tokens(text, begins):
            role = _role(token, begins_statement)
            if role is not None:
                start, end = (begins[row - 1] + column for row, column in (token.start, token.end))
                roles[start:end] = _CODE[role]
            if token.type == tokenize.NEWLINE:
                begins_statement = True
            elif role is not None and role != "comment":
                begins_statement = False
    except (SyntaxError, ValueError, RecursionError, MemoryError, tokenize.TokenError):
        return None
    return roles


def _tokens(text: str, begins: Int[np.ndarray, " lines+1"]) -> Iterator[tokenize.TokenInfo]:
    """Python's tokens as 3.11 has them, an f-string being one: from 3.12 its parts are tokens of their own.

    ``begins`` are the characters at which the lines begin. Raises SyntaxError for an f-string that 3.11 does not know:
    with its own quotes, a line break, a backslash or a comment in a field.
    """
    opened: list[tokenize.TokenInfo] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        kind = tokenize.tok_name[token.type]
        if kind == "FSTRING_START":
            opened.append(token)
        elif kind == "STRING" and "\n" in token.string and not opened:
            # 3.12.1 counts the bytes of the last line, not its characters.
            yield token._replace(end=(token.end[0], len(token.string.rpartition("\n")[2])))
        elif not opened:
            yield token
        elif kind == "FSTRING_END":
            first = opened.pop()
            if opened:
                continue
            start, end = (begins[row - 1] + column for row, column in (first.end, token.start))
            plain = re.sub(r"\\.", "", text[start:end], flags=re.DOTALL)
            if token.string in plain or len(token.string) == 1 and "\n" in plain:
                raise SyntaxError("an f-string of Python 3.12")
            yield token._replace(type=tokenize.STRING, start=first.start)
        elif kind == "COMMENT" or "\\" in token.string and (kind != "FSTRING_MIDDLE" or len(opened) > 1):
            raise SyntaxError("an f-string of Python 3.12")


def _role(token: tokenize.TokenInfo, begins_statement: bool) -> str | None:
    """None for tokens of white space, which ``_white_space`` has labelled."""
    match token.type:
        case tokenize.NAME:
            return "keyword" if keyword.iskeyword(token.string) else "name"
        case tokenize.OP:
            return "bracket" if token.string in "()[]{}" else "operator"
        case tokenize.NUMBER:
            return "number"
        case tokenize.STRING:
            return "docstring" if begins_statement else "string"
        case tokenize.COMMENT:
            return "comment"
    return None


def _white_space(lines: list[str]) -> Int[np.ndarray, " characters"]:
    """Roles as if all were white space: each line's leading blanks, its end, and the rest."""
    roles = np.full(sum(map(len, lines)), _CODE["space"], dtype=np.int8)
    at = 0
    for line in lines:
        roles[at : at + len(line) - len(line.lstrip(" \t\f"))] = _CODE["indent"]
        bare = line.rstrip("\r\n")
        roles[at + len(bare) : at + len(line)] = _CODE["newline"]
        at += len(line)
    return roles


def _next_true(mask: np.ndarray) -> Int[np.ndarray, " n+1"]:
    """The first place at or after each place, and after the last, where ``mask`` holds; beyond the end for none."""
    none = np.iinfo(np.int64).max
    places = np.append(np.where(mask, np.arange(len(mask)), none), none)
    return np.minimum.accumulate(places[::-1])[::-1]
