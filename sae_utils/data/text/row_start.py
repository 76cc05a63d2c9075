"""The token that a model expects in front of every row: Gemma's activations and losses are useless without it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def row_start(tokenizer: "PreTrainedTokenizerBase") -> int | None:
    """The id that the tokenizer itself puts in front of a text; None where it puts none there (GPT-2, Pythia).

    Give it a tokenizer as the model's makers left it, as ``LanguageModel.tokenizer`` is: TransformerLens's own copies
    are told to put one in front for every model.
    """
    text = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a", add_special_tokens=True)["input_ids"]
    return None if whole[: len(text)] == text else whole[0]
