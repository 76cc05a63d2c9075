"""Tokenizers: one that needs no library, small ones of each kind that models have, and one with a first token."""

import copy
import json
from dataclasses import dataclass
from pathlib import Path

from tokenizers.processors import TemplateProcessing


@dataclass(frozen=True)
class LetterTokenizer:
    """A token for each letter, and a first one, if it is asked for."""

    first: int | None = None
    eos_token_id: int = 0
    bos_token_id: None = None
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


KINDS = ("GPT2", "GPTNeoX", "Qwen2", "Llama", "Gemma", "GPTSw3", "XGLM")  # transformers' names of tokenizers


def tiny(kind: str, folder: Path):
    """A tokenizer of one of KINDS whose vocabulary is little more than its control tokens and single characters.

    The first three are byte-level BPE, Llama's and Gemma's BPE that falls back to bytes, GPTSw3's is sentencepiece's
    own and not a fast one, XGLM's is a Unigram. ``folder`` gets the files that it is made of.
    """
    import sentencepiece
    import transformers

    from sae_utils.pycode.pretraining import train_tokenizer

    made, letters = getattr(transformers, f"{kind}Tokenizer"), [chr(code) for code in range(33, 127)]
    if kind == "GPTSw3":
        names = {"bos_piece": "<s>", "eos_piece": "<|endoftext|>", "pad_piece": "<pad>", "pad_id": 3}
        prefix, text = str(folder / "spiece"), [" ".join(letters)] * 9
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(text), model_prefix=prefix, vocab_size=100, model_type="bpe", **names,
            hard_vocab_limit=False, minloglevel=2,
        )  # fmt: skip
        return made(f"{prefix}.model")
    if kind == "XGLM":
        control = [(name, 0.0) for name in ("<s>", "<pad>", "</s>", "<unk>")]
        return made(control + [(letter, -5.0) for letter in ["\u2581", *letters]])
    if kind in ("Llama", "Gemma"):
        control = {"Llama": ["<unk>", "<s>", "</s>"], "Gemma": ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]}[kind]
        pieces = [*control, *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581", *letters, "\u2581a", "s>", "os"]
        return made({piece: i for i, piece in enumerate(pieces)}, [("\u2581", "a"), ("s", ">"), ("o", "s")])
    model = json.loads(train_tokenizer(["the end of text"] * 9, 262).backend_tokenizer.to_str())["model"]
    return made(model["vocab"], [tuple(pair) for pair in model["merges"]])
