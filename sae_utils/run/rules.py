"""What each parameter may be, by itself and beside the others; refusals in one line, before anything loads."""

import math
import os
import re
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args, get_origin

from sae_utils.data.models import names as model_names
from sae_utils.errors import InputError

SITES = ("mlp_out", "resid_pre", "resid_post")
FIXED_K = ("topk", "batch_topk")
ARCHITECTURES = (*FIXED_K, "relu", "gated", "jump_relu")
TEXT_FILES = (".txt", ".jsonl", ".parquet")


@dataclass(frozen=True)
class Rule:
    """What a value may be: a range (both ends included), a choice, or a pattern that ``allowed`` puts in words."""

    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    pattern: str = ""
    allowed: str = ""
    may_be_empty: bool = False  # a list of such values

    def refusal(self, value: object) -> str:
        """What is allowed, in words; empty where ``value`` is."""
        if self.choices and value not in self.choices:
            return "one of " + ", ".join(self.choices)
        if self.pattern and not re.fullmatch(self.pattern, value):
            return self.allowed
        if self.low is not None and value < self.low or self.high is not None and value > self.high:
            return f"{self.low} or more" if self.high is None else f"{self.low} to {self.high}"
        return ""


RULES = {
    "model": Rule(pattern=r"\S.*", allowed="a bundled model's name, a folder, or a Hugging Face name"),
    "corpus": Rule(
        pattern=r"\S.*",
        allowed="installed-python, a Hugging Face dataset (name or name:configuration), "
        "or a .txt, .jsonl or .parquet file or URL",
    ),
    "layer": Rule(low=0),
    "site": Rule(choices=SITES),
    "architecture": Rule(choices=ARCHITECTURES),
    "n_latents": Rule(low=1),
    "k": Rule(low=1),
    "layers": Rule(low=0),
    "sites": Rule(choices=SITES),
    "architectures": Rule(choices=ARCHITECTURES),
    "widths": Rule(low=1),
    "ks": Rule(low=1),
    "n_seeds": Rule(low=2),
    "n_tokens": Rule(low=1),
    "n_eval_tokens": Rule(low=1),
    "n_eval_rows": Rule(low=1),
    "n_ngram_tokens": Rule(low=1),
    "batch_size": Rule(low=1),
    "sparsities": Rule(low=0),
    "n_source_tokens": Rule(low=0),
    "token_counts": Rule(low=1),
    "architecture_width": Rule(low=2),
    "n_cross_seeds": Rule(low=3),
    "rule_size": Rule(low=1),
    "member_latents": Rule(low=1),
    "member_tokens": Rule(low=1),
    "member_batch_size": Rule(low=1),
    "other_latents": Rule(low=1),
    "at_least": Rule(low=2),
    "n_members": Rule(low=2),
    "n_ensembles": Rule(low=2),
    "window": Rule(low=2),
    "n_train": Rule(low=20),
    "n_test": Rule(low=20),
    "probe_ks": Rule(low=1),
    "n_ablated": Rule(low=1),
    "attribute_pairs": Rule(pattern=r"\S.* & \S.*", allowed="two concepts with ' & ' between them"),
    "text_column": Rule(pattern=r"\S.*", allowed="the name of a column"),
    "label_columns": Rule(pattern=r"\S.*", allowed="a column, column=value, or column=one/other"),
    "n_shown": Rule(low=1),
    "n_smaller": Rule(low=1),
    "n_meta": Rule(low=1),
    "meta_k": Rule(low=1),
    "n_contexts": Rule(low=1),
    "saes": Rule(pattern=r"\S.*", allowed="a folder, a file, or owner/repository/folder on the hub", may_be_empty=True),
    "context": Rule(low=0),
    "base_lr": Rule(low=1e-9, high=1.0),
    "data_seed": Rule(low=0, high=2**32 - 1),
    "meta_widths": Rule(low=2),
    "meta_ks": Rule(low=1),
    "n_meta_steps": Rule(low=1),
    "meta_batch_size": Rule(low=2),
    "split_cosine": Rule(low=0.0, high=1.0),
    "n_edited": Rule(low=1),
    "n_edit_places": Rule(low=1),
    "edit_context": Rule(low=2),
    "dtype": Rule(choices=("float32", "bfloat16", "float16")),
    "device": Rule(pattern=r"cpu|cuda(:\d+)?", allowed="cpu, cuda or cuda:<number>"),
    "preset": Rule(pattern=r"[A-Za-z0-9][\w.-]*", allowed="letters, digits, '-', '_' and '.'"),
}


def check_value(name: str, kind: type, value: object) -> None:
    """Type, without any conversion (True is no int, "512" is no int; an int is a float), and range of one value.

    A list (``kind`` is list[int], for example) must hold at least one item where its rule does not say that it may be
    empty, each of them allowed, and none twice.
    """
    if get_origin(kind) is list:
        may_be_empty = name in RULES and RULES[name].may_be_empty
        if type(value) is not list or not value and not may_be_empty:
            least = "" if may_be_empty else "at least one "
            raise InputError(f"parameter {name} = {value!r} must be a list of {least}{get_args(kind)[0].__name__}")
        for item in value:
            check_value(name, get_args(kind)[0], item)
        twice = [item for i, item in enumerate(value) if item in value[:i]]
        if twice:
            raise InputError(f"parameter {name} = {value!r} holds {twice[0]!r} twice")
        return
    if type(value) is not kind and not (kind is float and type(value) is int):
        hint = " (YAML reads 1e-4 as text: write 1.0e-4)" if kind is float else ""
        raise InputError(f"parameter {name} = {value!r} must be {kind.__name__}, not {type(value).__name__}{hint}")
    if kind is float and not math.isfinite(value):
        raise InputError(f"parameter {name} = {value!r} must be a finite number")
    allowed = RULES[name].refusal(value) if name in RULES else ""
    if allowed:
        raise InputError(f"parameter {name} = {value!r} must be {allowed}")


def local_path(name: str) -> Path:
    """Where a model or a corpus of this name would be on this machine, with ``~`` for one's home folder."""
    return Path(os.path.expanduser(name))  # Path.expanduser raises for a user who is not there


def check_corpus(corpus: str) -> None:
    """A text file must exist; anything else must look like a URL or a name, and not be a folder or another file."""
    path = local_path(corpus)
    if re.match(r"https?://", corpus):
        if Path(urllib.parse.urlparse(corpus).path).suffix not in TEXT_FILES:
            raise InputError(f"parameter corpus = {corpus!r} must be {RULES['corpus'].allowed}")
    elif path.suffix in TEXT_FILES:
        if not path.is_file():
            raise InputError(f"parameter corpus = {corpus!r}: there is no such file")
    elif path.exists() or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?(:[\w.-]+)?", corpus):
        raise InputError(f"parameter corpus = {corpus!r} must be {RULES['corpus'].allowed}")


def check_model(model: str, context: int, layer: int) -> None:
    """Layer and context against the config.json of a model that is on this machine; others are checked at loading."""
    try:
        place = model_names.find(model)
        file = model_names.config_file(place)
        if place.is_hooked or file is None:
            return
        if not file.is_file():
            raise InputError(f"model = {model!r}: the folder has no config.json")
        config = model_names.read_config(model, file)
        model_names.check_layer(model, config, layer)
        model_names.check_context(model, config, context)
    except InputError as error:
        raise InputError(f"parameter {error}") from None


def check_dictionary(p: object) -> None:
    """Sizes and architecture of the dictionaries, where the notebook trains any."""
    for k, most in (("k", "n_latents"), ("k", "widths"), ("ks", "n_latents"), ("ks", "widths")):
        if hasattr(p, k) and hasattr(p, most) and _extreme(max, p, k) > _extreme(min, p, most):
            raise InputError(f"parameter {k} = {getattr(p, k)} must be 1 to {most} = {getattr(p, most)}")
    if hasattr(p, "architecture") and p.architecture not in FIXED_K and not hasattr(p, "sparsity"):
        raise InputError(
            f"parameter architecture = {p.architecture!r} needs a sparsity coefficient, which this notebook does not "
            f"take; allowed here: {', '.join(FIXED_K)}"
        )


def _extreme(which: Callable, p: object, name: str) -> int:
    """The largest or smallest value of a parameter that is a number or a list of them."""
    value = getattr(p, name)
    return which(value) if isinstance(value, list) else value


def check_batches(p: object) -> None:
    """Tokens for at least one training step, and for one batch of evaluation, where the notebook trains."""
    if hasattr(p, "n_tokens") and p.n_tokens < p.batch_size:
        raise InputError(f"parameter n_tokens = {p.n_tokens} must be batch_size = {p.batch_size} or more")
    # Twice, for the first position of each row and the ends of texts are left out.
    if hasattr(p, "n_eval_tokens") and p.n_eval_tokens < 2 * p.batch_size:
        raise InputError(
            f"parameter n_eval_tokens = {p.n_eval_tokens} must be 2 * batch_size = {2 * p.batch_size} or more"
        )


def check_device(device: str) -> None:
    """Imports torch for a CUDA device alone. Raises InputError where it is not there."""
    if device == "cpu":
        return
    import torch

    count = torch.cuda.device_count()
    if int(device.partition(":")[2] or 0) >= count:
        raise InputError(f"parameter device = {device!r}: this machine has {count} CUDA devices; use cpu")
