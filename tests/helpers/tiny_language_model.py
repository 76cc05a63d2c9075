"""Small stand-ins for a language model: a random GPT-NeoX in a folder, and a table that needs no TransformerLens."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor

TEXTS = [f"def f_{i}(x, y):\n    return x + {i} * y\n\n\nclass C{i}:\n    pass\n" for i in range(60)]


SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 32,
}
GEMMA = {**SIZES, "num_key_value_heads": 1, "head_dim": 8, "bos_token_id": 300}
LAYERS = ["sliding_attention", "full_attention", "sliding_attention"]  # of Gemma 3, whose frequencies differ
FAMILIES = {  # names of transformers' classes without their ends, and sizes
    "gpt2": ("GPT2", {"n_embd": 16, "n_layer": 3, "n_head": 2, "n_positions": 32}),
    "gpt_neox": ("GPTNeoX", SIZES),
    "llama": ("Llama", {**SIZES, "num_key_value_heads": 1, "bos_token_id": 300}),
    "gemma": ("Gemma", GEMMA),
    "gemma2": ("Gemma2", {**GEMMA, "query_pre_attn_scalar": 8, "sliding_window": 8}),
    "gemma3_text": ("Gemma3", {**GEMMA, "query_pre_attn_scalar": 8, "sliding_window": 8, "layer_types": LAYERS}),
}
QWEN = {**SIZES, "num_key_value_heads": 1, "head_dim": 8, "linear_num_key_heads": 2, "linear_num_value_heads": 2}
QWEN |= {"linear_key_head_dim": 4, "linear_value_head_dim": 4, "num_experts": 4, "num_experts_per_tok": 2}
OTHERS = {  # of which TransformerLens computes the first three otherwise than transformers does
    "cohere": ("Cohere", {**SIZES, "num_key_value_heads": 1}),
    "cohere2": ("Cohere2", {**SIZES, "num_key_value_heads": 1, "head_dim": 8, "sliding_window": 8}),
    "hunyuan": ("HunYuanDenseV1", {**SIZES, "num_key_value_heads": 1, "head_dim": 8}),
    "olmo": ("Olmo", SIZES),  # fails at 16 bits
    "mamba": ("Mamba", {"hidden_size": 16, "num_hidden_layers": 3, "state_size": 4}),
    "qwen3_next": ("Qwen3Next", {**QWEN, "moe_intermediate_size": 8, "shared_expert_intermediate_size": 8}),  # fails
}
WITH_BOS = ("llama", "gemma", "gemma2", "gemma3_text")  # whose tokenizers put the beginning-of-text token before a text


def make_tiny(folder: Path, seed: int = 0, n_layers: int = 3) -> Path:
    """A random GPT-NeoX, weights far from zero, so that every layer matters; context 32, width 16."""
    from transformers import GPTNeoXForCausalLM

    from sae_utils.pycode.pretraining import train_tokenizer

    torch.manual_seed(seed)
    tokenizer = train_tokenizer(TEXTS, 300)
    _random(GPTNeoXForCausalLM, {**SIZES, "num_hidden_layers": n_layers}, tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_family(folder: Path, family: str) -> Path:
    """A random model of FAMILIES or OTHERS, whose norms and biases are not the identity that they begin as."""
    import transformers

    torch.manual_seed(0)
    tokenizer = family_tokenizer(family)
    name, sizes = (FAMILIES | OTHERS)[family]
    end = "LMHeadModel" if family == "gpt2" else "ForCausalLM"
    model = _random(getattr(transformers, name + end), sizes, tokenizer)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 1:
                weight += 0.3 * torch.randn_like(weight)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def family_tokenizer(family: str):
    """300 tokens, and for the families of WITH_BOS a token <bos> that is put in front of every text."""
    from tokenizers.processors import TemplateProcessing

    from sae_utils.pycode.pretraining import train_tokenizer

    tokenizer = train_tokenizer(TEXTS, 300)
    if family in WITH_BOS:
        tokenizer.add_special_tokens({"bos_token": "<bos>"})
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", tokenizer.bos_token_id)]
        )
    return tokenizer


def _random(model_class, sizes: dict[str, int], tokenizer):
    ends = {"bos_token_id": tokenizer.eos_token_id, "eos_token_id": tokenizer.eos_token_id}
    return model_class(model_class.config_class(vocab_size=len(tokenizer), initializer_range=0.3, **{**ends, **sizes}))


@dataclass(frozen=True)
class TableModel:
    """As much of LanguageModel as a source of activations asks for: each token's activation is a row of a table.

    ``change`` takes the tokens and their activations, and gives what the model says instead.
    """

    seed: int = 0
    name: str = "table"
    context: int = 32
    n_vocab: int = 300
    device: torch.device = torch.device("cpu")
    change: Callable[[Tensor, Tensor], Tensor] = lambda tokens, x: x

    @property
    def tokenizer(self):
        return SimpleNamespace(eos_token_id=0)

    @property
    def fingerprint(self):
        return f"table {self.seed}"

    def activations(self, tokens, hook_points):
        generator = torch.Generator().manual_seed(self.seed)
        tables = {name: torch.randn(self.n_vocab, 16, generator=generator) for name in hook_points}
        return {name: self.change(tokens, table[tokens]) for name, table in tables.items()}
