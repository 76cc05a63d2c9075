"""Measures the bundled language model and writes its model card: ``python -m sae_utils.pycode.card``.

The sample is whole held-out files, the first in the corpus's order (that of a hash of their paths) until they hold
``--n-tokens`` tokens. The model, the n-gram models and xz get the same files.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from sae_utils.data.models import BUNDLED
from sae_utils.data.models.language_model import load_language_model
from sae_utils.data.text import INSTALLED, installed_files, installed_sha256, token_rows
from sae_utils.errors import InputError
from sae_utils.pycode.evaluation import Sample, bits_per_byte

NAME = "pycode-2m"
N_TOKENS = 1_000_000  # of the sample: a third of the held-out files
N_NGRAM_TOKENS = 28_000_000  # whole rows of nearly all 29.0M training tokens; notebook 00 at the laptop preset, too
FORWARD_ROWS = 32

# As the wheels say. Some files that the packages bundle carry other licences, which the packages name.
LICENCES = {
    "scipy": "BSD-3-Clause",
    "sympy": "BSD-3-Clause",
    "networkx": "BSD-3-Clause",
    "scikit-learn": "BSD-3-Clause",
    "matplotlib": "Matplotlib licence (after that of Python)",
    "pandas": "BSD-3-Clause",
}
RIVALS = {"trigram": "trigram with back-off", "unigram": "unigram", "xz": "`xz -9e`"}

CARD = """---
license: mit
library_name: transformers
pipeline_tag: text-generation
tags:
- gpt_neox
- code
- python
- interpretability
- sparse-autoencoders
---

# {name}

A language model of Python source with {n_parameters:,} parameters, small enough for experiments on a laptop's CPU. The
notebooks of this repository train sparse autoencoders on its activations. Those experiments are what it is for; it is
not meant for writing code.

## Architecture

GPT-NeoX, the architecture of Pythia: {n_layers} layers, width {width}, {n_heads} heads, MLP width {mlp}, context
{context}, {n_vocab:,} tokens (byte-level BPE, trained on the training files). Weights are float16;
`model.safetensors` has {weight_bytes:,} bytes. `AutoModelForCausalLM` of transformers and TransformerLens's
`TransformerBridge` load the folder.

## Data

The Python sources of six packages, as their wheels install them: {n_files:,} files, {n_bytes:,} bytes. The text itself
is not in the repository: `pip install -r requirements.txt` brings it, byte for byte the same wherever the pins hold.
`corpus.json` has one sha256 over all files and the list of the held-out ones.

| package | version | licence of its source |
|---|---|---|
{packages}

Files that a package bundles from elsewhere may carry another licence, which the package names.

**Held out**: {n_held_out:,} whole files, 10 % of the bytes, chosen by a hash of their paths. Files that share half of
their lines or more, directly or by a chain, stay on one side. Generated files (versions, build configurations) are left
out. The tokenizer saw the training files alone.

## Training

{tokens_seen:,} tokens in rows of {context}; AdamW, linear warm-up and decay, products in bfloat16, on a CPU. Losses
at the end, in nats per token: {train_loss:.3f} in training (running mean), {held_out_loss:.3f} held out (64 rows). All
settings are the defaults of `PretrainingConfig` in `sae_utils/pycode/pretraining.py`. `training_log.jsonl` has
the curve.

To rebuild it from nothing (an hour and a half on one CPU core, resumable), in the folder of the repository:

```
python -m sae_utils.pycode.build
```

## How well it predicts

Bits per byte of {n_sample_files} whole held-out files ({sample_bytes:,} bytes, {sample_tokens:,} tokens), the first in
the order of a hash of their paths. All rivals get the same files.

| | bits per byte |
|---|---|
{bits}

{verdict}

The language model predicts each token once, from half a context or more of the same file wherever the file has that
much. The n-gram models are interpolated Kneser-Ney on the same tokens, counted on {ngram_tokens:,} training tokens.
`xz -9e` compresses the files laid end to end, which suits it better than one by one.

## Limits

- One kind of text: scientific Python by few projects in one style. It knows little of other code, and no prose but that
  of docstrings and comments.
- Small and briefly trained, so what experiments find in it need not hold in larger models.
- Near-duplicates are found by shared lines. Code that was renamed throughout may be on both sides of the split.
- It reproduces short passages and names of its sources, authors' names among them. Nothing was done about what it may
  say.

These numbers were measured by `python -m sae_utils.pycode.card`.
"""


@dataclass(frozen=True)
class Measured:
    """What the card says that is not in the model's folder."""

    bits: Mapping[str, float]  # bits per byte: model, and each of RIVALS
    n_files: int  # of the sample
    n_bytes: int
    n_tokens: int
    n_ngram_tokens: int

    def __post_init__(self):
        if set(self.bits) != {"model", *RIVALS} or not all(np.isfinite(value) for value in self.bits.values()):
            raise InputError(f"bits per byte must be finite, of the model and {', '.join(RIVALS)}; not {self.bits}")


def read_folder(folder: Path) -> dict[str, object]:
    """The card's fields that the model's folder gives.

    Raises InputError where the training is not finished: training_log.jsonl is written last.
    """
    log = folder / "training_log.jsonl"
    if not log.is_file():
        raise InputError(f"{folder} has no training_log.jsonl: finish python -m sae_utils.pycode.build first")
    last = json.loads(log.read_text().splitlines()[-1])
    config, manifest = (json.loads((folder / name).read_text()) for name in ("config.json", "corpus.json"))
    weights = folder / "model.safetensors"
    return {
        "name": folder.name,
        "n_parameters": sum(array.size for array in load_file(weights).values()),
        "n_layers": config["num_hidden_layers"],
        "width": config["hidden_size"],
        "n_heads": config["num_attention_heads"],
        "mlp": config["intermediate_size"],
        "context": config["max_position_embeddings"],
        "n_vocab": config["vocab_size"],
        "weight_bytes": weights.stat().st_size,
        "n_files": manifest["files"],
        "n_bytes": manifest["bytes"],
        "n_held_out": len(manifest["held_out"]),
        "packages": "\n".join(f"| {p} | {v} | {LICENCES[p]} |" for p, v in manifest["packages"].items()),
        "tokens_seen": last["tokens"],
        "train_loss": last["train"],
        "held_out_loss": last["held_out"],
    }


def card(folder: Mapping[str, object], measured: Measured) -> str:
    """The model card's text."""
    names = {"model": str(folder["name"]), **RIVALS}
    ordered = sorted(measured.bits.items(), key=lambda item: item[1])
    return CARD.format(
        **folder,
        bits="\n".join(f"| {names[key]} | {value:.3f} |" for key, value in ordered),
        verdict=verdict(str(folder["name"]), measured.bits),
        n_sample_files=measured.n_files,
        sample_bytes=measured.n_bytes,
        sample_tokens=measured.n_tokens,
        ngram_tokens=measured.n_ngram_tokens,
    )


def verdict(name: str, bits: Mapping[str, float]) -> str:
    """One sentence: which rivals the model beats."""
    ahead = [label for key, label in RIVALS.items() if bits[key] <= bits["model"]]
    return f"{name} does not beat {' and '.join(ahead)}." if ahead else f"{name} beats all three."


def whole_files(tokenizer, n_tokens: int) -> Sample:
    """Whole held-out files, in the corpus's order, until there are ``n_tokens``.

    Raises InputError where there are fewer, and where the installed text is not that of the manifest.
    """
    files = installed_files("held_out")
    if installed_sha256() != json.loads((BUNDLED[NAME] / "corpus.json").read_text())["sha256"]:
        raise InputError(f"the installed text is not that of {NAME}'s corpus.json: pip install -r requirements.txt")
    texts, tokens, found = [], [], 0
    for file in files:
        ids = tokenizer(file.text, add_special_tokens=False, verbose=False)["input_ids"]
        texts.append(file.text)
        tokens.append(np.array(ids, dtype=np.int64))
        found += len(ids)
        if found >= n_tokens:
            return Sample(tuple(texts), tuple(tokens))
    raise InputError(f"the held-out files have {found:,} tokens; --n-tokens asked for {n_tokens:,}")


def measure(n_tokens: int, n_ngram_tokens: int) -> Measured:
    """Bits per byte on the sample; about three minutes on two cores with the defaults."""
    model = load_language_model(NAME)
    sample = whole_files(model.tokenizer, n_tokens)
    rows = token_rows(INSTALLED, model.tokenizer, "train", n_ngram_tokens // model.context, model.context)
    bits = bits_per_byte(model, sample, rows.reshape(-1), model.context, FORWARD_ROWS)
    return Measured(bits, len(sample.texts), sample.n_bytes, sample.n_tokens, rows.size)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: see the module's docstring. Exit code 1 where the model does not beat its rivals."""
    parser = argparse.ArgumentParser(description=f"Measure {NAME} and write its model card.")
    parser.add_argument("--n-tokens", type=int, default=N_TOKENS, help="held-out tokens to measure on")
    parser.add_argument("--n-ngram-tokens", type=int, default=N_NGRAM_TOKENS, help="training tokens to count")
    parser.add_argument("--out", type=Path, default=BUNDLED[NAME] / "README.md")
    args = parser.parse_args(arguments)
    folder = read_folder(BUNDLED[NAME])
    measured = measure(args.n_tokens, args.n_ngram_tokens)
    part = args.out.with_name(f".{args.out.name}.part")
    part.write_text(card(folder, measured), encoding="utf-8")
    os.replace(part, args.out)
    print(", ".join(f"{name} {value:.3f}" for name, value in measured.bits.items()), "bits per byte")
    print(verdict(NAME, measured.bits))
    return int(measured.bits["model"] >= min(measured.bits[rival] for rival in RIVALS))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        sys.exit(f"error: {error}")
