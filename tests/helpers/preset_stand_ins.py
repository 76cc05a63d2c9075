"""What stands in for a preset's model, text and sizes, so that its notebooks run in seconds without a network."""

import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from helpers.tiny_language_model import make_family, make_tiny

from sae_utils.run.parameters.presets import values_of

CONTEXT, D_MODEL = 32, 16  # of tiny_language_model's models
FAMILIES = {
    "EleutherAI/pythia-160m": "gpt_neox",
    "EleutherAI/pythia-70m-deduped": "gpt_neox",
    "gpt2": "gpt2",
    "gelu-1l": "one layer",
    "HuggingFaceTB/SmolLM-135M": "llama",
    "meta-llama/Llama-3.1-8B": "llama",
    "google/gemma-2-2b": "gemma2",
}
# The most that a parameter may be. Smaller still and notebooks refuse: intervals over seeds, pilots that reach an L0.
LARGEST = {
    "context": CONTEXT,
    "n_eval_rows": 4,
    "n_ngram_tokens": 2000,
    "n_latents": 24,
    "k": 2,
    "n_seeds": 5,
    "n_tokens": 4096,
    "n_source_tokens": 4096,
    "n_eval_tokens": 1024,
    "batch_size": 32,
    "architecture_width": 24,
    "architecture_k": 2,
    "at_l0": 1.5,
    "n_world_tokens": 1024,
    "n_members": 2,
    "n_ensembles": 3,
    "member_latents": 24,
    "other_latents": 16,
    "member_tokens": 3072,
    "other_tokens": 3072,
    "member_batch_size": 96,
    "window": 32,
    "n_train": 60,
    "n_test": 60,
    "n_smaller": 16,
    "n_meta": 8,
    "meta_k": 2,
    "n_meta_steps": 60,
    "meta_batch_size": 32,
    "n_bench_steps": 60,
    "split_cosine": 0.3,
    "n_edited": 2,
    "n_edit_places": 2,
    "edit_context": 24,
}
# Notebook 03 chooses sets on one batch of 4,096 and scores them on another; the rows of notebook 04 must fill batches.
LARGEST_IN = {"03_stitching": {"n_eval_tokens": 9000, "n_seeds": 3}, "04_meta_saes": {"n_seeds": 2}}
LISTS_IN = {"04_meta_saes": {"widths": [16, 32, 64]}}
RATE = 1e-3  # at 16,384 latents: few steps need more than a paper's rate for seeds to agree at all
# Lists become the first of these, as many as there are in the preset but no more than here.
LISTS = {
    "widths": [16, 24, 32],
    "topk_widths": [16, 24, 32],
    "ks": [1, 2, 4],
    "token_counts": [512, 1024, 2048],
    "layers": [0, 1, 2],
    "meta_widths": [4, 8],
    "meta_ks": [2, 4],
    "n_ablated": [1, 2, 5],
}
WORDS = ("river", "stone", "amber", "wing", "paper", "light", "under", "seven", "copper", "field", "market", "salt")


def small_preset(folder: Path, notebooks: Iterable[str]) -> dict[str, dict[str, object]]:
    """What a preset says of notebooks: their parameters, shrunk, on a model and a text that are made in ``folder``."""
    common = {
        "model": str(make_model("gpt_neox", folder / "model")),
        "corpus": str(write_corpus(folder / "text.jsonl")),
    }
    preset = {}
    for name in notebooks:
        values = shrunk(name, values_of("tiny", name), 3) | common
        preset[name] = {key: value for key, value in values.items() if key not in ("preset", "results_dir")}
    return preset


def shrunk(notebook: str, parameters: Mapping[str, object], n_layers: int) -> dict[str, object]:
    """The same parameters at sizes for seconds, on a model of ``n_layers``; sites and architectures stay."""
    small = dict(parameters) | {"device": "cpu"}
    largest = LARGEST | LARGEST_IN.get(notebook, {})
    small |= {name: min(value, largest[name]) for name, value in parameters.items() if name in largest}
    lists = LISTS | LISTS_IN.get(notebook, {})
    small |= {name: lists[name][: len(value)] for name, value in parameters.items() if name in lists}
    if "base_lr" in small:
        small["base_lr"] = RATE
    if "layer" in small:
        small["layer"] = min(parameters["layer"], n_layers - 1)
    return small


def make_model(family: str, folder: Path) -> Path:
    """A random model of an architecture that a preset names; GELU-1L, which is of none, is a GPT-NeoX of one layer."""
    return make_tiny(folder, n_layers=1) if family == "one layer" else make_family(folder, family)


def layers_of(family: str) -> int:
    """Of the stand-in of that family."""
    return 1 if family == "one layer" else 3


def documents(n: int, seed: int = 0) -> list[str]:
    """Texts of some tens of words, in which words depend on those before them."""
    rng = np.random.default_rng(seed)
    follows = rng.dirichlet(np.full(len(WORDS), 0.2), size=len(WORDS))
    texts = []
    for _ in range(n):
        word, text = int(rng.integers(len(WORDS))), []
        for _ in range(int(rng.integers(20, 60))):
            text.append(WORDS[word] if rng.random() < 0.9 else str(rng.integers(100)))
            word = int(rng.choice(len(WORDS), p=follows[word]))
        texts.append(" ".join(text) + ".")
    return texts


def write_corpus(path: Path, n: int = 400) -> Path:
    """A .jsonl of documents."""
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in documents(n)), encoding="utf-8")
    return path


def write_labelled(path: Path, text_column: str, columns: Mapping[str, list[str]], n: int = 1400) -> Path:
    """A .csv of texts with labels, each with letters of its own at the text's beginning; labels are independent."""
    rng = np.random.default_rng(1)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow([text_column, *columns])
        for text in documents(n, seed=2):
            at = [int(rng.integers(len(values))) for values in columns.values()]
            letters = [2 * chr(97 + i) for i in at]
            labels = [values[i] for values, i in zip(columns.values(), at, strict=True)]
            table.writerow([" ".join([*letters, text]), *labels])
    return path
