"""A tokenizer that needs no library: a token for each letter, and like Llama's a first one, if it is asked for."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LetterTokenizer:
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
