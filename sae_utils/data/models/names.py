"""What a model's name means, and what its config.json says of it: read before anything loads, without torch."""

import contextlib
import functools
import json
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path

from sae_utils.data.models import gguf
from sae_utils.errors import InputError
from sae_utils.paths import MODELS

BUNDLED = {"pycode-2m": MODELS / "pycode-2m"}
# Not of a Hugging Face architecture: by TransformerLens's name, and by that of the repository.
HOOKED = {"gelu-1l": "NeelNanda/GELU_1L512W_C4_Code"}

SITES = ("mlp_out", "resid_pre", "resid_post")  # where activations are read; LanguageModel.hook_point says more
WEIGHT_FILES = ("model.safetensors", "model.safetensors.index.json")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "spiece.model")
LONGEST_ROW = 2048  # that nobody asked for: the mask of one row of 131,072 tokens is 17 GB
CAUSAL = ("ForCausalLM", "LMHeadModel")  # how transformers names the classes of causal language models

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """Where a model is: a folder of this machine, or else a repository of the hub, at a revision or at its newest.

    The folder of a ``gguf`` file is there once it has been converted (``gguf.convert``).
    """

    folder: Path | None = None
    repository: str = ""
    revision: str | None = None
    gguf: Path | None = None

    @property
    def is_hooked(self) -> bool:
        """Whether HookedTransformer loads it, for it is of no Hugging Face architecture."""
        return self.repository in HOOKED.values()


def find(name: str) -> Place:
    """The place of a bundled model, a folder, a GGUF file, or a hub name, with ``@`` and a revision if one is wanted.

    Asks nothing of the hub. Raises InputError for a name that can be none of these, for a revision where none is, and
    as ``gguf.file_of`` does.
    """
    folder = folder_of(name)
    if folder:
        return Place(folder)
    file = gguf.file_of(name)
    if file:
        return Place(gguf.folder_of(file), gguf=file)
    model, at, revision = name.partition("@")
    if at and (folder_of(model) or model in HOOKED or model in HOOKED.values()):
        raise InputError(f"model {name!r}: {model} has no revisions, which only models of the hub have; leave out @")
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?", model):
        raise InputError(
            f"model {name!r} is unknown: it is not bundled, not an existing folder, and no name of the hub"
        )
    if at and not re.fullmatch(r"[\w.-]+(/[\w.-]+)*", revision):
        raise InputError(f"model {name!r}: after the @ must be a branch, a tag or a commit")
    return Place(None, HOOKED.get(model, model), revision or None)


def check_folder(name: str, folder: Path) -> None:
    """Raises InputError for a folder in which the config.json, the weights or the tokenizer are missing."""
    for needed in (("config.json",), WEIGHT_FILES, TOKENIZER_FILES):
        if not any((folder / file).is_file() for file in needed):
            raise InputError(f"model {name!r}: {folder} holds no {' or '.join(needed)}")


def read_config(name: str, file: Path) -> dict:
    """A config.json. Raises InputError where it is not one, and where it is that of no causal language model."""
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"model {name!r}: its config.json is not JSON ({error})") from None
    if not isinstance(config, dict):
        raise InputError(f"model {name!r}: its config.json holds no settings")
    architectures = config.get("architectures") or ["none"]
    if not any(str(architecture).endswith(CAUSAL) for architecture in architectures):
        raise InputError(
            f"model {name!r} is no causal language model: the architectures of its config.json are "
            f"{', '.join(map(str, architectures))}, and none ends in {' or '.join(CAUSAL)}"
        )
    return config


def config_file(place: Place) -> Path | None:
    """The config.json of a folder, or of what was converted or had from the hub before; asks nothing of the hub."""
    if place.gguf and not place.folder.is_dir():
        return None
    if place.folder:
        return place.folder / "config.json"
    import huggingface_hub

    with contextlib.suppress(ValueError):  # not a name that the hub allows
        found = huggingface_hub.try_to_load_from_cache(place.repository, "config.json", revision=place.revision)
        return Path(found) if isinstance(found, str) else None
    return None


def whole_number(config: dict, *names: str) -> int:
    """The first of these settings that is a number of at least 1, and 0 where none is."""
    return next((config[name] for name in names if type(config.get(name)) is int and config[name] > 0), 0)


def check_layer(name: str, config: dict, layer: int) -> None:
    """Raises InputError for a layer that the model of this config.json does not have."""
    n_layers = whole_number(config, "num_hidden_layers", "n_layer", "num_layers")
    if n_layers and not 0 <= layer < n_layers:
        raise InputError(f"layer = {layer} must be 0 to {n_layers - 1} for the model {name}")


def check_context(name: str, config: dict, context: int) -> None:
    """Raises InputError for rows that are longer than the model of this config.json can read; 0 means its longest."""
    longest = whole_number(config, "max_position_embeddings", "n_positions")
    if longest and context > longest:
        raise InputError(f"context = {context} must be 0 (the model's) to {longest} for the model {name}")


@functools.cache  # says it once
def row_context(asked: int, longest: int) -> int:
    """Tokens in a row: as many as ``asked`` for, or with 0 the ``longest`` that the model reads, up to LONGEST_ROW."""
    if not asked and longest > LONGEST_ROW:
        logger.warning("context = 0: rows of %d tokens; the model reads up to %d, if asked for", LONGEST_ROW, longest)
    return asked or min(longest, LONGEST_ROW)


def folder_of(name: str) -> Path | None:
    """The folder of a bundled model, or one that is there; None for any other name."""
    path = BUNDLED.get(name, Path(os.path.expanduser(name)))  # Path.expanduser raises for a user who is not there
    # Path("") is the folder one stands in; Path.is_dir raises for a name that is too long.
    return path if name and os.path.isdir(path) else None
