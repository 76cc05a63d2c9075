"""Make the bundled language model ``pycode-2m`` from nothing.

    python -m sae_utils.pycode.build

Reads the installed packages' sources, trains a byte-level BPE on the training files, trains a GPT-NeoX of 2.2M
parameters (``pretraining``) and, when all is done, writes a Hugging Face folder in float16. About 12,000 tokens/s on
one CPU core with bfloat16 products, so 64M tokens take an hour and a half; a GPU needs minutes. Kill it at any time:
the same command goes on from the last checkpoint.
"""

import argparse
import copy
import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from transformers import GPTNeoXForCausalLM, PreTrainedTokenizerFast

from sae_utils.data.text import installed_python
from sae_utils.errors import InputError
from sae_utils.files import whole_file
from sae_utils.paths import MODELS, RESULTS
from sae_utils.pycode.pretraining import PretrainingConfig, pretrain, token_stream, train_tokenizer

LOG = "training_log.jsonl"


def corpus_manifest(files: Sequence[installed_python.SourceFile], held_out: np.ndarray) -> dict:
    """What the corpus is: packages with versions, counts, one sha256 over all files, the held-out paths."""
    return {
        "packages": {name: metadata.version(name) for name in installed_python.PACKAGES},
        "files": len(files),
        "bytes": sum(len(file.text.encode("utf-8")) for file in files),
        "sha256": installed_python.digest(files),
        "held_out": [file.path for file, out in zip(files, held_out, strict=True) if out],
    }


def prepare(work: Path, vocab_size: int) -> Path:
    """The folder with tokenizer, token streams and manifest of the installed corpus, made unless it is there whole."""
    files = installed_python.read_installed()
    folder = work / f"corpus-{installed_python.digest(files)[:16]}-{vocab_size}"
    if folder.exists():
        return folder
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    held_out = installed_python.split(files)
    texts = {"train": [], "held_out": []}
    for file, out in zip(files, held_out, strict=True):
        texts["held_out" if out else "train"].append(file.text)
    tokenizer = train_tokenizer(texts["train"], vocab_size)
    tokenizer.save_pretrained(part / "tokenizer")
    for name, some in texts.items():
        np.save(part / f"{name}.npy", token_stream(tokenizer, some))
    (part / "corpus.json").write_text(json.dumps(corpus_manifest(files, held_out), indent=1))
    os.replace(part, folder)
    return folder


def export(model: GPTNeoXForCausalLM, corpus: Path, log: Path, out: Path) -> None:
    """Write the finished model to ``out``: weights in float16, tokenizer, manifest and, last, the training log.

    The old log goes first, so a folder that has one is whole. Other files of the folder stay.
    """
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    copy.deepcopy(model).half().save_pretrained(part)
    PreTrainedTokenizerFast.from_pretrained(corpus / "tokenizer").save_pretrained(part)
    shutil.copy(corpus / "corpus.json", part)
    out.mkdir(parents=True, exist_ok=True)
    (out / LOG).unlink(missing_ok=True)
    for file in part.iterdir():
        os.replace(file, out / file.name)
    part.rmdir()
    with whole_file(out / LOG) as log_part:
        shutil.copy(log, log_part)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(description="Train the bundled language model pycode-2m from nothing.")
    parser.add_argument("--work", type=Path, default=RESULTS / "pycode-2m", help="token streams and checkpoints")
    parser.add_argument("--out", type=Path, default=MODELS / "pycode-2m", help="the finished model")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--n-tokens", type=int, default=PretrainingConfig.n_tokens)
    args = parser.parse_args(arguments)
    config = PretrainingConfig(n_tokens=args.n_tokens)
    corpus = prepare(args.work, config.vocab_size)
    streams = {name: np.load(corpus / f"{name}.npy", mmap_mode="r") for name in ("train", "held_out")}
    print(f"{len(streams['train']):,} training and {len(streams['held_out']):,} held-out tokens; {asdict(config)}")
    model = pretrain(streams, config, args.work, args.device)
    export(model, corpus, args.work / "log.jsonl", args.out)


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")
