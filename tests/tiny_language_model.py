"""Small stand-ins for a language model: a random GPT-NeoX in a folder, and a table that needs no TransformerLens."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import torch

TEXTS = [f"def f_{i}(x, y):\n    return x + {i} * y\n\n\nclass C{i}:\n    pass\n" for i in range(60)]


def make_tiny(folder: Path, seed: int = 0, n_layers: int = 3) -> Path:
    """Weights far from zero, so that every layer matters; context 32, width 16."""
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    from sae_utils.data.pretraining import train_tokenizer

    torch.manual_seed(seed)
    tokenizer = train_tokenizer(TEXTS, 300)
    config = GPTNeoXConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=n_layers,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        initializer_range=0.3,
        bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    GPTNeoXForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@dataclass(frozen=True)
class TableModel:
    """As much of LanguageModel as a source of activations asks for: each token's activation is a row of a table."""

    seed: int = 0
    name: str = "table"
    context: int = 32
    n_vocab: int = 300

    @property
    def tokenizer(self):
        return SimpleNamespace(eos_token_id=0)

    @property
    def fingerprint(self):
        return f"table {self.seed}"

    def activations(self, tokens, hook_points):
        generator = torch.Generator().manual_seed(self.seed)
        return {name: torch.randn(self.n_vocab, 16, generator=generator)[tokens] for name in hook_points}
