"""The token in front of a row is what the tokenizer puts there by itself, and nothing else."""

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from sae_utils.data.text.row_start import row_start


def tokenizer(template: str | None, **special: str) -> PreTrainedTokenizerFast:
    """Four tokens: <unk> 0, <bos> 1, <eos> 2, a 3; ``template`` is what stands around a text."""
    words = Tokenizer(models.WordLevel({"<unk>": 0, "<bos>": 1, "<eos>": 2, "a": 3}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    if template:
        words.post_processor = processors.TemplateProcessing(
            single=template, special_tokens=[("<bos>", 1), ("<eos>", 2)]
        )
    return PreTrainedTokenizerFast(tokenizer_object=words, **special)


@pytest.mark.parametrize(
    ("template", "expected"),
    [("<bos> $A", 1), ("<bos> $A <eos>", 1), ("$A <eos>", None), ("$A", None), (None, None), ("<eos> $A", 2)],
)
def test_row_start_is_what_the_tokenizer_puts_in_front(template, expected):
    assert row_start(tokenizer(template, bos_token="<bos>", eos_token="<eos>", unk_token="<unk>")) == expected


def test_text_that_is_not_in_the_vocabulary_hides_nothing():
    assert row_start(tokenizer("<bos> $A", unk_token="a")) == 1
