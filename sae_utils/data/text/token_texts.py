"""Tokens as text: in a row, where bytes of one character come together, and alone."""

import codecs
import functools
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BYTE_TOKEN = re.compile("<0x([0-9A-F]{2})>")  # SentencePiece's name of a byte
# GPT-2's names of bytes: those that Latin-1 prints are themselves, the others the characters from 256 on.
PRINTED = (*range(33, 127), *range(161, 173), *range(174, 256))
BYTE_OF = {chr(b): b for b in PRINTED} | {chr(256 + i): b for i, b in enumerate(sorted({*range(256)} - {*PRINTED}))}


class TokenTexts:
    """What the tokens of a tokenizer are as text, with the space at their start."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase"):
        self.tokenizer = tokenizer
        self.utf8 = functools.cache(self._utf8)
        self._known = set(tokenizer.get_vocab().values())
        # Decoders drop the space at the start of a text, so a token is decoded behind another.
        self._before = tokenizer("a", add_special_tokens=False)["input_ids"][-1:]

    def in_row(self, tokens: Sequence[int]) -> list[str]:
        """The text of each; a character of several tokens is the last one's, and the others have none.

        A character that the row cuts is a replacement character (U+FFFD).
        """
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        last = len(tokens) - 1
        return [decoder.decode(self.utf8(int(token)), final=i == last) for i, token in enumerate(tokens)]

    def alone(self, token: int) -> str:
        """The text of one token; a part of a character as the names of its bytes: <0xE2>."""
        utf8 = self.utf8(token)
        try:
            return utf8.decode()
        except UnicodeDecodeError:
            return "".join(chr(byte) if byte < 128 else f"<0x{byte:02X}>" for byte in utf8)

    def name(self, token: int) -> str:
        """The tokenizer's own name of it, which no other token has; <300> for a 300 that it does not know."""
        return self.tokenizer.convert_ids_to_tokens(token) if token in self._known else f"<{token}>"

    def _utf8(self, token: int) -> bytes:
        """Its bytes, which need not be whole characters."""
        name = self.name(token)
        if token not in self._known:
            return name.encode()
        before, both = self._decode(self._before), self._decode([*self._before, token])
        # The decoders of some slow tokenizers change the text before a control token.
        text = both[len(before) :] if both.startswith(before) else name.replace("\u2581", " ")
        if "\ufffd" in text:
            if byte := BYTE_TOKEN.fullmatch(name):
                return bytes.fromhex(byte[1])
            if all(c in BYTE_OF for c in name):
                return bytes(BYTE_OF[c] for c in name)
        return text.encode("utf-8", "replace")

    def _decode(self, tokens: Sequence[int]) -> str:
        return self.tokenizer.decode(tokens, clean_up_tokenization_spaces=False)
