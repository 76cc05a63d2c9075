"""Checkpoints: one safetensors file each, whose header says in JSON what it is and what its bytes hash to.

One file, renamed into place when whole: there is no pair of files to tear. Pickles are never opened.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from sae_utils.errors import InputError
from sae_utils.files import read_safetensors, sha256_of, whole_file
from sae_utils.memory import free_disk
from sae_utils.saes.methods import stored_config
from sae_utils.saes.sae import SAE

FORMAT = "sae_utils/1"
PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK")  # how they and torch's archives begin


def raw_bytes(tensor: Tensor) -> memoryview:
    """The bytes of a tensor's values in order, for a hash."""
    return memoryview(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())


def _digest(tensors: Mapping[str, Tensor], about: str) -> str:
    parts: list[str | memoryview] = [about]
    for name, tensor in sorted(tensors.items()):
        parts += [f"{name} {tensor.dtype} {tuple(tensor.shape)}", raw_bytes(tensor)]
    return sha256_of(parts)


def write_tensors(path: Path, kind: str, tensors: Mapping[str, Tensor], about: Mapping) -> None:
    """Write ``tensors`` and the JSON-able ``about`` as one file that is whole or not there.

    Raises InputError before writing where the disk has no room for it.
    """
    tensors = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    size = sum(t.numel() * t.element_size() for t in tensors.values())
    free = free_disk(path.parent)
    if free < 1.1 * size:
        raise InputError(
            f"no room for checkpoint {path}: it needs {size / 2**20:.1f} MiB, {free / 2**20:.1f} MiB are free"
        )
    text = json.dumps(about)
    header = {"format": FORMAT, "kind": kind, "sha256": _digest(tensors, text), "about": text}
    with whole_file(path) as part:
        save_file(tensors, part, metadata=header)


def read_tensors(path: Path, kind: str) -> tuple[dict[str, Tensor], dict]:
    """The tensors and the ``about`` of a file that ``write_tensors`` wrote.

    Raises InputError, in one line, for a missing, truncated, altered or foreign file and for a pickle.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no checkpoint at {path}")
    try:
        tensors, header = read_safetensors(path)
    except (SafetensorError, OSError) as error:
        # Asked only now: a safetensors file whose header is 640 bytes long begins like a pickle, but for its zeros.
        with open(path, "rb") as file:
            head = file.read(3)
        if head[:2] in PICKLES and head[2:] not in (b"", b"\0"):
            raise InputError(
                f"checkpoint {path} is a pickle or a torch archive, which can run code: only safetensors is read"
            ) from None
        raise InputError(f"checkpoint {path} is truncated or not a safetensors file: {error}") from None
    if header.get("format") != FORMAT or header.get("kind") != kind:
        found = f"{header.get('format', 'no format')}, {header.get('kind', 'no kind')}"
        raise InputError(f"checkpoint {path} is foreign: its header says {found}; expected {FORMAT}, {kind}")
    about = header.get("about", "")
    if _digest(tensors, about) != header.get("sha256"):
        raise InputError(f"checkpoint {path} is corrupt: what it holds does not match its sha256")
    return tensors, json.loads(about)


def below(tensors: Mapping[str, Tensor], start: str) -> dict[str, Tensor]:
    """The tensors whose names begin with ``start``, by the rest of their names."""
    return {name.removeprefix(start): t for name, t in tensors.items() if name.startswith(start)}


def save_sae(sae: SAE, path: Path) -> None:
    """Write a stack with its config, seeds, hook point and normalisation."""
    about = {"config": asdict(sae.config), "seeds": sae.seeds, "hook_point": sae.hook_point}
    write_tensors(Path(path), "sae", sae.state_dict(), about)


def load_sae(path: Path, device: str = "cpu") -> SAE:
    """The stack that ``save_sae`` wrote. Raises InputError as ``read_tensors`` does, and for what is no stack."""
    tensors, about = read_tensors(Path(path), "sae")
    return stored_sae(path, about.get("config"), about.get("seeds"), about.get("hook_point"), tensors).to(device)


def stored_sae(path: Path, config, seeds, hook_point, tensors: Mapping[str, Tensor]) -> SAE:
    """The stack of which a file holds these settings and tensors. Raises InputError where they are no stack."""
    try:
        if not isinstance(hook_point, str):
            raise TypeError(f"hook_point={hook_point!r} is no name")
        sae = SAE(stored_config(config), seeds, hook_point)
        sae.load_state_dict(tensors)
    except (TypeError, KeyError, RuntimeError, OverflowError) as error:
        raise InputError(f"checkpoint {path} holds no SAE: {' '.join(str(error).split())[:160]}") from None
    for name, tensor in sae.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise InputError(f"checkpoint {path} is of no use: {name} holds values that are not finite")
    if not sae.scale > 0:
        raise InputError(f"checkpoint {path} is of no use: its scale is {float(sae.scale)}")
    return sae
