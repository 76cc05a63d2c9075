"""Measures the bundled language model and writes its model card: ``python -m sae_utils.pycode.card``.

The sample is whole held-out files, the first in the corpus's order (that of a hash of their paths) until they hold
``--n-tokens`` tokens. The model, the n-gram models and xz get the same files.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from sae_utils.data.models import BUNDLED
from sae_utils.data.models.language_model import load_language_model
from sae_utils.data.text import INSTALLED, installed_sha256, manifest, token_rows
from sae_utils.errors import InputError
from sae_utils.files import write_text
from sae_utils.pycode.evaluation import bits_per_byte, held_out_sample

NAME = "pycode-2m"
N_TOKENS = 1_000_000  # of the sample: a third of the held-out files
N_NGRAM_TOKENS = 28_000_000  # whole rows of nearly all 29.0M training tokens; notebook 00 at the laptop preset, too
FORWARD_ROWS = 32
TEMPLATE = Path(__file__).with_name("card.md")

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


@dataclass(frozen=True)
class Measured:
    """What the card says that is not in the model's folder."""

    bits: Mapping[str, float]  # bits per byte: model, and each of RIVALS
    sample_files: int
    sample_bytes: int
    sample_tokens: int
    ngram_tokens: int

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
    names = {"model": folder["name"], **RIVALS}
    ordered = sorted(measured.bits.items(), key=lambda item: item[1])
    made = {
        "bits": "\n".join(f"| {names[key]} | {value:.3f} |" for key, value in ordered),
        "verdict": verdict(str(folder["name"]), measured.bits),
    }
    return TEMPLATE.read_text(encoding="utf-8").format(**folder, **vars(measured) | made)


def verdict(name: str, bits: Mapping[str, float]) -> str:
    """One sentence: which rivals the model beats."""
    ahead = [label for key, label in RIVALS.items() if bits[key] <= bits["model"]]
    return f"{name} does not beat {' and '.join(ahead)}." if ahead else f"{name} beats all three."


def measure(n_tokens: int, n_ngram_tokens: int) -> Measured:
    """Bits per byte on the sample; about three minutes on two cores with the defaults.

    Raises InputError where the installed text is not that of the manifest, or too little of it is held out.
    """
    if installed_sha256() != manifest()["sha256"]:
        raise InputError(f"the installed text is not that of {NAME}'s corpus.json: pip install -r requirements.txt")
    model = load_language_model(NAME)
    sample = held_out_sample(INSTALLED, model.tokenizer, n_tokens, characters=None)
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
    write_text(args.out, card(folder, measured))
    print(", ".join(f"{name} {value:.3f}" for name, value in measured.bits.items()), "bits per byte")
    print(verdict(NAME, measured.bits))
    return int(measured.bits["model"] >= min(measured.bits[rival] for rival in RIVALS))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        sys.exit(f"error: {error}")
