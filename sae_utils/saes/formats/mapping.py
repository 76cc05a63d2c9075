"""Dictionaries that somebody made at home: a file of tensors, and beside it ``mapping.yaml``, which names them::

    architecture: topk
    k: 32
    W_enc: encoder_weights     # [d_in, latents]; NAME.T is the transpose of NAME
    W_dec: decoder_weights     # [latents, d_in]
    b_enc: encoder_bias
    pre_bias: pre_bias

The dictionary is then z = activation((x - pre_bias) W_enc + b_enc) and x_hat = z W_dec + b_dec. A bias that is not
named is 0, but for b_dec beside a pre_bias: then that is added again. ``threshold``, of jump_relu and batch_topk, is
the name of a tensor or a number. Gated dictionaries have ``r_mag`` and ``b_mag``, and b_enc is the gate's.
``hook_point``, and ``weights``, the name of the file, may be left out.

Which axis is which is told by the tensors of one axis. Where none is named, fewer latents than d_in are refused, since
that is how the weights of ``nn.Linear`` look without ``.T``; square matrices cannot be told from their transposes.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
import yaml
from safetensors import SafetensorError
from torch import Tensor

from sae_utils.errors import InputError, one_line
from sae_utils.files import read_safetensors
from sae_utils.saes.formats.common import (
    AXES,
    Plain,
    check_shapes,
    checked_weights,
    hook_point_of,
    is_plain,
    setting,
    unpickled,
    whole,
)
from sae_utils.saes.sae import MOST, SAE

NAME = "mapping.yaml"
SHOWN = 12  # tensors that are named where the one asked for is not there
SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
# Biases come first: they have one axis, so what does not fit them is a matrix that is named the wrong way round.
NAMED = {"b_enc": "f", "pre_bias": "d", "b_dec": "d"} | AXES
OWN = {  # what each architecture has beside W_enc, W_dec and what may be left out
    "relu": (),
    "topk": ("k",),
    "batch_topk": ("k", "threshold"),
    "jump_relu": ("threshold",),
    "gated": ("r_mag", "b_mag"),
}
NEEDED, OPTIONAL = ("architecture", "W_enc", "W_dec"), ("b_enc", "pre_bias", "b_dec", "hook_point", "weights")


def mapping_of(path: Path) -> Path | None:
    """The mapping in a folder, or beside a file of weights; None where there is none."""
    if path.is_file() and path.suffix not in SUFFIXES and path.name != NAME:
        return None
    file = (path if path.is_dir() else path.parent) / NAME
    return file if file.is_file() else None


def read_mapped(path: Path) -> SAE:
    """The dictionary in a folder, or in a file, with a mapping beside it: a stack of one on raw activations.

    Weights are safetensors, or what torch.save wrote, opened with ``weights_only=True``; tensors in maps of maps are
    named with points between. Raises InputError for whatever is missing, unknown, or of another shape.
    """
    mapping = mapping_of(path)
    if mapping is None:
        raise InputError(f"no {NAME} in {path if path.is_dir() else path.parent}, which says what the tensors are")
    said = _checked(mapping)
    file = path if path.is_file() and path != mapping else _weights(mapping, said)
    held = _tensors(file)
    tensors = {key: _tensor(said[key], key, held, mapping, file) for key in NAMED if key in said}
    axes = {key: NAMED[key] for key in tensors}
    if "threshold" in tensors and (tensors["threshold"].numel() == 1 or said["architecture"] == "batch_topk"):
        axes["threshold"] = ""  # one number for all latents
    try:
        sizes = check_shapes({key: tuple(t.shape) for key, t in tensors.items()}, axes, str(file))
    except InputError as error:
        raise InputError(f"{error}, as {mapping} names it; NAME.T is the transpose of NAME") from None
    if sizes["f"] < sizes["d"] and not any(len(axis) == 1 for axis in axes.values()):
        raise InputError(
            f"W_enc of {file}, as {mapping} names it, is [d_in {sizes['d']}, latents {sizes['f']}]: without a bias, "
            "these may be nn.Linear's weights; name NAME.T for both matrices, or a bias, of zeros if there is none"
        )
    weights = checked_weights(tensors, str(file))
    pre_bias = weights.pop("pre_bias", torch.zeros(sizes["d"]))
    b_dec = weights.pop("b_dec", pre_bias)
    b_enc = weights.pop("b_enc", torch.zeros(sizes["f"]))
    k = whole(said["k"], "k", mapping) if "k" in said else None
    # The encoder subtracts b_dec: b_enc takes up what pre_bias is besides.
    plain = Plain(said["architecture"], b_enc=b_enc, b_dec=b_dec - pre_bias, k=k, **weights).reading_x()
    return replace(plain, b_dec=b_dec).as_sae(hook_point=hook_point_of(setting(said, "hook_point", "", mapping)))


def _checked(mapping: Path) -> dict:
    """What a mapping says, after its keys. Raises InputError for one that is missing, unknown or of no use."""
    try:
        said = yaml.safe_load(mapping.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{mapping} cannot be read as YAML: {one_line(error)}") from None
    if not isinstance(said, dict):
        raise InputError(f"{mapping} holds a {type(said).__name__}; expected lines such as W_enc: encoder_weights")
    architecture = said.get("architecture")
    if not isinstance(architecture, str) or architecture not in OWN:
        raise InputError(f"architecture={architecture!r} in {mapping} is unknown; allowed: {', '.join(OWN)}")
    needed = NEEDED + OWN[architecture]
    missing, unknown = [key for key in needed if key not in said], [key for key in said if key not in needed + OPTIONAL]
    if missing or unknown:
        raise InputError(
            f"{mapping} must say {', '.join(needed)} of a {architecture} dictionary, and may say "
            f"{', '.join(OPTIONAL)}; missing {missing}, unknown {unknown}"
        )
    return said


def _weights(mapping: Path, said: Mapping) -> Path:
    """The file of weights beside a mapping, which need not name it where there is one."""
    name = setting(said, "weights", "", mapping)
    there = sorted(file.name for file in mapping.parent.iterdir() if file.suffix in SUFFIXES)
    if name in there or (not name and len(there) == 1):
        return mapping.parent / (name or there[0])
    asked = f"weights={name!r}" if name else "one file of weights"
    raise InputError(
        f"{mapping} needs {asked} beside it ({', '.join(SUFFIXES)}); found {', '.join(there) or 'none'}: name one as "
        "weights: FILE, or give its path"
    )


def _tensors(file: Path) -> dict[str, Tensor]:
    """Every tensor of a file by name."""
    if file.suffix != ".safetensors":
        return dict(_flat(unpickled(file)))
    try:
        return read_safetensors(file)[0]
    except (SafetensorError, OSError) as error:
        raise InputError(f"{file} is truncated or not a safetensors file: {one_line(error)}") from None


def _flat(held, start: str = ""):
    """Names and tensors of maps within maps."""
    for key, value in held.items() if isinstance(held, dict) else ():
        if is_plain(value):
            yield f"{start}{key}", value
        else:
            yield from _flat(value, f"{start}{key}.")


def _tensor(name, key: str, held: Mapping[str, Tensor], mapping: Path, file: Path) -> Tensor:
    """The tensor that a mapping names under ``key``, or that it is: a threshold may be a number."""
    if key == "threshold" and type(name) in (int, float) and abs(name) < MOST:
        return torch.tensor(float(name))
    plain, turned = str(name), str(name).removesuffix(".T")
    if plain in held:
        tensor = held[plain]
        return tensor.reshape(()) if key == "threshold" and tensor.numel() == 1 else tensor
    if turned in held and held[turned].ndim == 2:
        return held[turned].T
    shown = ", ".join(f"{one} {list(tensor.shape)}" for one, tensor in sorted(held.items())[:SHOWN])
    more = f" and {len(held) - SHOWN} more" if len(held) > SHOWN else ""
    raise InputError(f"{key}={name!r} in {mapping} names no tensor of {file}, which holds {shown or 'none'}{more}")
