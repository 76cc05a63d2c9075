"""Gemma Scope: ``params.npz`` with the weights of a JumpReLU SAE whose encoder reads x itself."""

import re
import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch

from sae_utils.errors import InputError
from sae_utils.saes.formats.common import Plain, check_shapes, checked_weights
from sae_utils.saes.sae import SAE

AXES = {"W_enc": "df", "W_dec": "fd", "b_enc": "f", "b_dec": "d", "threshold": "f"}
SITES = {"res": "resid_post", "mlp": "mlp_out"}


def read_gemma_scope(path: Path) -> SAE:
    """The SAE in ``params.npz`` or in a folder that holds it, a stack of one on raw activations.

    The encoder of the file does not subtract b_dec: b_enc takes that up. The hook point is known where the folders
    have their names on the hub (``gemma-scope-2b-pt-res/layer_12/…``), else it is empty. Pickled arrays are refused.
    """
    path = path / "params.npz" if path.is_dir() else path
    if "embedding" in path.parts:
        raise InputError(f"{path} is an SAE on token embeddings, which are not a hook point here")
    try:
        with np.load(path, allow_pickle=False) as file:
            if set(file.files) != set(AXES):
                raise InputError(f"{path} holds {', '.join(sorted(file.files))}; expected {', '.join(AXES)}")
            arrays = {name: file[name] for name in AXES}
    except InputError:
        raise
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path} is truncated or not an npz file: {' '.join(str(error).split())[:160]}") from None
    check_shapes({name: array.shape for name, array in arrays.items()}, AXES, str(path))
    w = checked_weights({name: torch.from_numpy(array) for name, array in arrays.items()}, str(path))
    return Plain("jump_relu", **w).reading_x().as_sae(0, _hook_point(path))


def _hook_point(path: Path) -> str:
    """From the names of the folders, ``…gemma-scope-2b-pt-res…/layer_12/…``; empty where they do not say."""
    text = path.absolute().as_posix()  # not resolved: files of the hub's cache are links to nameless ones
    site = re.search(r"gemma-scope-\w+-(?:pt|it)-(res|mlp)\b", text)
    layer = re.search(r"/layer_(\d+)/", text)
    return f"blocks.{layer[1]}.hook_{SITES[site[1]]}" if site and layer else ""
