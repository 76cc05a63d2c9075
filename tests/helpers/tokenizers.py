"""Tokenizers: one that needs no library, and one that puts a token in front of each text, as Llama's and Gemma's do."""

import copy
from dataclasses import dataclass

from tokenizers.processors import TemplateProcessing


@dataclass(frozen=True)
class LetterTokenizer:
    """A token for each letter, and a first one, if it is asked for."""

    first: int | None = None
    eos_token_id: int = 0
    size: int = 300

    def __len__(self):
        return self.size

    def __call__(self, text, add_special_tokens=True, **_):
        if isinstance(text, list):
            return {"input_ids": [self(one, add_special_tokens)["input_ids"] for one in text]}
        before = [self.first] if add_special_tokens and self.first is not None else []
        return {"input_ids": before + [1 + ord(letter) % 250 for letter in text]}


def with_first_token(tokenizer):
    """A copy that puts "def" in front, for want of a token of its own."""
    copied, first = copy.deepcopy(tokenizer), ("def", tokenizer.convert_tokens_to_ids("def"))
    copied.backend_tokenizer.post_processor = TemplateProcessing(single="def $A", special_tokens=[first])
    return copied
