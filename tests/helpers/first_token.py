"""A tokenizer that puts a token in front of each text, as Llama's and Gemma's do."""

import copy

from tokenizers.processors import TemplateProcessing


def with_first_token(tokenizer):
    """A copy that puts "def" in front, for want of a token of its own."""
    copied, first = copy.deepcopy(tokenizer), ("def", tokenizer.convert_tokens_to_ids("def"))
    copied.backend_tokenizer.post_processor = TemplateProcessing(single="def $A", special_tokens=[first])
    return copied
