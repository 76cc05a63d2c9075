"""Gemma Scope: ``params.npz``; and Gemma Scope 2: ``params.safetensors`` beside ``config.json``.

Both hold the weights of a JumpReLU SAE whose encoder reads x itself.
"""

import re
from pathlib import Path

import numpy as np
import torch

from sae_utils.errors import InputError
from sae_utils.saes.formats.common import (
    OUR_NAMES,
    Plain,
    axes_of,
    by_our_names,
    check_shapes,
    check_size,
    checked_weights,
    hook_point_of,
    load_tensors,
    read_json,
    setting,
)
from sae_utils.saes.sae import SAE

NAMES = OUR_NAMES | {"threshold": "threshold"}
SITES = {"res": "hook_resid_post", "mlp": "hook_mlp_out", "att": "attn.hook_z"}
WEIGHTS = "params.safetensors"  # of Gemma Scope 2
NAMES_2 = {own: name.replace("W_", "w_") for own, name in NAMES.items()}


def read_gemma_scope(path: Path) -> SAE:
    """The SAE in ``params.npz`` or in a folder that holds it, a stack of one on raw activations.

    The hook point is known where the folders have their names on the hub (``gemma-scope-2b-pt-res/layer_12/…``), else
    it is empty. Pickled arrays are refused, and so are transcoders, whose files look the same, where the folders' names
    tell.
    """
    path = path / "params.npz" if path.is_dir() else path
    hook_point = _hook_point(path)
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            if set(file.files) != set(NAMES):
                raise InputError(f"{path} holds {', '.join(sorted(file.files))}; expected {', '.join(NAMES)}")
            arrays = [(name, file[name]) for name in NAMES]
            tensors = {name: torch.from_numpy(x.astype(x.dtype.newbyteorder("="), copy=False)) for name, x in arrays}
    except InputError:
        raise
    except Exception as error:  # of bytes that were changed, anything
        raise InputError(f"{path} is truncated or not an npz file: {' '.join(str(error).split())[:160]}") from None
    check_shapes({name: tensor.shape for name, tensor in tensors.items()}, axes_of(NAMES), str(path))
    return Plain("jump_relu", **checked_weights(tensors, str(path))).reading_x().as_sae(hook_point=hook_point)


def layer_of(path: Path) -> int | None:
    """The layer that the names of the folders say, ``…/layer_12/…``, whether or not they say the site."""
    layer = re.search(r"/layer_(\d+)/", path.absolute().as_posix() + "/")  # not resolved: the hub's cache holds links
    return int(layer[1]) if layer else None


def _hook_point(path: Path) -> str:
    """From the names of the folders, ``…gemma-scope-2b-pt-res…/layer_12/…``; empty where they do not say."""
    if "embedding" in path.parts:
        raise InputError(f"{path} is an SAE on token embeddings, which are not a hook point here")
    of = re.search(r"gemma-scope-\w+-(?:pt|it)-([a-z]+)", path.absolute().as_posix())
    if of and of[1] not in SITES:
        raise InputError(f"{path} is of {of[1]!r} of Gemma Scope; known: {', '.join(SITES)}")
    layer = layer_of(path)
    return f"blocks.{layer}.{SITES[of[1]]}" if of and layer is not None else ""


def read_gemma_scope_2(folder: Path) -> SAE:
    """The SAE in a folder of Gemma Scope 2, a stack of one on raw activations.

    Raises InputError for transcoders, which read another place than they write.
    """
    file = folder / "config.json"
    cfg = read_json(file)
    place = setting(cfg, "hf_hook_point_in", "", file)
    if cfg.get("architecture") != "jump_relu":
        raise InputError(f"architecture={cfg.get('architecture')!r} in {file} is not supported; allowed: 'jump_relu'")
    if cfg.get("hf_hook_point_out") not in (None, place) or cfg.get("affine_connection"):
        raise InputError(f"{folder} is a transcoder, from {place} to {cfg.get('hf_hook_point_out')}: not supported")
    if not place:
        raise InputError(f"{file} names no hf_hook_point_in, the place in the model")
    plain = Plain("jump_relu", **by_our_names(load_tensors(folder / WEIGHTS, axes_of(NAMES_2)), NAMES_2))
    check_size(cfg.get("width"), len(plain.b_enc), "width", file)
    return plain.reading_x().as_sae(hook_point=hook_point_of(place))
