"""Sizes of the language models that the presets name, so that a plan can be made without loading one.

From their cards and config.json on the Hugging Face hub (gelu-1l and gemma-3-270m: TransformerLens's table of models;
the latter's context: its GGUF file). The tests hold the numbers of weights to those that the cards give.
"""

import json
from dataclasses import dataclass

from sae_utils.data.models import names as model_names
from sae_utils.errors import InputError


@dataclass(frozen=True)
class ModelFacts:
    """What a plan needs to know of a language model."""

    n_layers: int
    d_model: int
    d_mlp: int
    n_vocab: int
    context: int
    d_attention: int = 0  # width of all query heads together; 0 is d_model
    d_key: int = 0  # width of all key heads together; 0 is d_attention
    gated: bool = False  # three matrices in an MLP instead of two
    tied: bool = False  # one matrix embeds and unembeds
    learned_positions: bool = False

    def hook_point(self, site: str, layer: int) -> str:
        """The name of a place in a layer, as the loaded model has it. Raises InputError for another layer."""
        if not 0 <= layer < self.n_layers:
            raise InputError(f"layer={layer} is not in the model; allowed: 0 to {self.n_layers - 1}")
        return f"blocks.{layer}.hook_{site}"

    @property
    def block_parameters(self) -> int:
        """Weights of the matrices of one transformer block; biases and norms are under 1 % of them."""
        query = self.d_attention or self.d_model
        key = self.d_key or query
        return self.d_model * (2 * query + 2 * key + (3 if self.gated else 2) * self.d_mlp)

    @property
    def n_parameters(self) -> int:
        """Weights of all matrices."""
        tables = self.n_vocab * (1 if self.tied else 2) + (self.context if self.learned_positions else 0)
        return self.n_layers * self.block_parameters + self.d_model * tables


GPT2 = {"tied": True, "learned_positions": True}
LLAMA = {"gated": True}
KNOWN = {
    "EleutherAI/pythia-160m": ModelFacts(12, 768, 3072, 50_304, 2048),
    "EleutherAI/pythia-70m-deduped": ModelFacts(6, 512, 2048, 50_304, 2048),
    "gpt2": ModelFacts(12, 768, 3072, 50_257, 1024, **GPT2),
    "HuggingFaceTB/SmolLM-135M": ModelFacts(30, 576, 1536, 49_152, 2048, d_key=192, tied=True, **LLAMA),
    "smollm2-135m": ModelFacts(30, 576, 1536, 49_152, 8192, d_key=192, tied=True, **LLAMA),
    "meta-llama/Llama-3.1-8B": ModelFacts(32, 4096, 14_336, 128_256, 131_072, d_key=1024, **LLAMA),
    "google/gemma-2-2b": ModelFacts(26, 2304, 9216, 256_000, 8192, 2048, 1024, tied=True, **LLAMA),
    "google/gemma-3-270m": ModelFacts(18, 640, 2048, 262_144, 32_768, 1024, 256, tied=True, **LLAMA),
    "gelu-1l": ModelFacts(1, 512, 2048, 48_262, 1024, learned_positions=True),
}


def model_facts(model: str) -> ModelFacts | None:
    """Of a model in the table, a bundled one, or a local folder; None for any other name on the hub."""
    folder = model_names.folder_of(model)
    if folder is None or not (folder / "config.json").is_file():
        return KNOWN.get(model)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))

    def of(*names: str, default: int = 0) -> int:
        return model_names.whole_number(config, *names) or default

    d_model = of("hidden_size", "n_embd")
    n_heads = of("num_attention_heads", "n_head", default=1)
    head = of("head_dim", default=d_model // n_heads)
    return ModelFacts(
        n_layers=of("num_hidden_layers", "n_layer"),
        d_model=d_model,
        d_mlp=of("intermediate_size", "n_inner", default=4 * d_model),
        n_vocab=of("vocab_size"),
        context=of("max_position_embeddings", "n_positions", default=model_names.LONGEST_ROW),
        d_attention=n_heads * head,
        d_key=of("num_key_value_heads", default=n_heads) * head,
        gated="silu" in str(config.get("hidden_act")) or "hidden_activation" in config,
        tied=bool(config.get("tie_word_embeddings", config.get("model_type") in ("gpt2", "gemma2", "gemma3_text"))),
        learned_positions=config.get("model_type") == "gpt2",
    )
