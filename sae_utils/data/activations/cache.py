"""Activations on disk: shards with checksums, written so that a killed build goes on and nothing torn is read.

A folder holds ``manifest.json`` (whose activations), ``rows.npy`` (the tokens), one raw file per shard and hook point
[rows, context, d], a JSON of each whole shard with its files' sha256, and ``normalisation.safetensors``, written last.
``open_source`` takes a stream instead where a cache would be too large.
"""

import json
import logging
import math
import shutil
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from sae_utils.data.activations.order import Order, kept_positions
from sae_utils.data.activations.shuffle_buffer import BeyondRange, beyond_range
from sae_utils.data.activations.source import (
    ActivationSource,
    ActivationStream,
    Normalisation,
    check_whole,
    forward,
    probe,
)
from sae_utils.data.models.language_model import LanguageModel, check_dtype
from sae_utils.errors import InputError
from sae_utils.files import only_writer, read_safetensors, sha256_of, whole_file, write_json
from sae_utils.memory import BLOCK_ROWS, LARGEST_CACHE_GB, activation_bytes, buffer_rows, free_disk, human

log = logging.getLogger(__name__)

FORMAT = 1
MANIFEST, ROWS, NORMALISATION = "manifest.json", "rows.npy", "normalisation.safetensors"


def open_source(
    model: LanguageModel,
    rows: Int[np.ndarray, "n_rows context"],
    hook_points: Sequence[str],
    cache_dir: Path,
    largest_gb: float = LARGEST_CACHE_GB,
) -> ActivationSource:
    """A cache in a folder of ``cache_dir`` named by its content, built if need be, or a live stream if too large.

    A cache beyond ``largest_gb``, or beyond what the disk has free, is streamed. Both give the same batches, mixed
    over ``memory.buffer_rows`` rows, but for rounding: a cache is in float16, or in bfloat16 where the model is, or
    where activations turn out to be beyond float16. Raises InputError as ``build_cache`` and ``ActivationStream`` do.
    """
    block_rows = buffer_rows(len(rows), rows.shape[-1])
    stream = ActivationStream(model, rows, hook_points, block_rows)
    dtype = torch.bfloat16 if torch.bfloat16 in stream.dtypes.values() else torch.float16
    size = activation_bytes(rows.size, sum(stream.d_in.values()), dtype)
    if size <= 1e9 * largest_gb:
        try:
            return _cached(model, rows, hook_points, cache_dir, block_rows, dtype)
        except NoRoom as error:
            log.warning("%s: the activations are streamed instead", error)
    why = f"a cache of them would take {human(size)}"
    log.info("activations are streamed (%s); %s needs %s", why, model.device, stream.memory(model.device))
    return stream


def _cached(model, rows, hook_points, cache_dir: Path, block_rows: int, dtype: torch.dtype) -> "ActivationCache":
    """The cache in ``dtype``, or in bfloat16 where float16 overflows, and from then on always."""
    about = f"{model.fingerprint} {list(hook_points)} {rows.shape} {rows.dtype}"
    name = f"activations-{sha256_of([about, np.ascontiguousarray(rows)])[:16]}"
    overflowed = cache_dir / f"{name}-beyond-float16"
    if not overflowed.exists():
        folder = cache_dir / (name if dtype == torch.float16 else f"{name}-bfloat16")
        try:
            return build_cache(folder, model, rows, hook_points, dtype, block_rows=block_rows)
        except BeyondRange as error:
            log.warning("%s: the cache is built again in bfloat16", str(error).partition(";")[0])
    return build_cache(overflowed, model, rows, hook_points, torch.bfloat16, block_rows=block_rows)


def build_cache(
    folder: Path | str,
    model: LanguageModel,
    rows: Int[np.ndarray, "n_rows context"],
    hook_points: Sequence[str],
    dtype: torch.dtype | str = torch.float16,
    rows_per_shard: int = 256,
    block_rows: int = BLOCK_ROWS,
    progress: bool = True,
) -> "ActivationCache":
    """Write what of the cache is not there yet, and open it. Where another process writes it, wait for that.

    Raises InputError, before the start, where the folder holds another cache, the disk has too little room (NoRoom),
    or an argument is wrong; and where activations are beyond the range of ``dtype`` (BeyondRange) or not finite.
    """
    folder, dtype = Path(folder), check_dtype(dtype)
    check_whole("rows_per_shard", rows_per_shard, 1)
    manifest = {
        "format": FORMAT,
        "weights_sha256": model.fingerprint,
        "d_in": {name: x.shape[-1] for name, x in probe(model, rows, hook_points).items()},
        "n_rows": len(rows),
        "context": rows.shape[1],
        "rows_sha256": _sha256(rows),
        "end_of_text": model.tokenizer.eos_token_id,
        "dtype": str(dtype).removeprefix("torch."),
        "rows_per_shard": rows_per_shard,
    }
    if not _whole(folder, manifest):
        _check_room(folder, manifest, _missing(folder, manifest))
        with only_writer(folder.with_name(f".{folder.name}.lock"), f"activation cache {folder}"):
            if not _whole(folder, manifest):  # what another process made meanwhile
                _build(folder, manifest, model, rows, dtype, progress)
    return ActivationCache(folder, block_rows)


def _whole(folder: Path, manifest: dict) -> bool:
    """Whether nothing is missing; raises InputError where a whole cache is another one."""
    return (folder / NORMALISATION).exists() and _belongs(folder, manifest)


def _missing(folder: Path, manifest: dict) -> list[int]:
    """The shards that are not there."""
    n_shards = -(-manifest["n_rows"] // manifest["rows_per_shard"])
    return [i for i in range(n_shards) if not _entry(folder, i).exists()]


def _build(folder: Path, manifest: dict, model: LanguageModel, rows, dtype: torch.dtype, progress: bool) -> None:
    """Writes what is missing. What turns out to be beyond ``dtype`` can never be whole, and is removed."""
    _belongs(folder, manifest)
    for part in folder.glob(".*.part"):  # what a killed build had begun to write
        part.unlink()
    write_json(folder / MANIFEST, manifest)
    with whole_file(folder / ROWS) as part, part.open("wb") as file:
        np.save(file, rows)
    n, shards = manifest["rows_per_shard"], _missing(folder, manifest)
    try:
        for i in tqdm(shards, desc="activations", unit="shard", disable=not progress):
            _write_shard(folder, i, model, rows[i * n : (i + 1) * n], list(manifest["d_in"]), dtype)
    except BeyondRange:
        shutil.rmtree(folder)
        raise
    estimated = ActivationCache(folder).estimate_normalisation()
    tensors = {f"{name}.mean": n.mean for name, n in estimated.items()}
    tensors |= {f"{name}.scale": torch.tensor(n.scale, dtype=torch.float64) for name, n in estimated.items()}
    with whole_file(folder / NORMALISATION) as part:
        save_file(tensors, part, metadata={"sha256": _tensors_sha256(tensors)})


class NoRoom(InputError):
    """The disk is too small, said before the first forward pass."""


class ActivationCache(ActivationSource):
    """A cache that build_cache wrote. Raises InputError where ``folder`` has none or it is of another version."""

    def __init__(self, folder: Path | str, block_rows: int = BLOCK_ROWS):
        self.folder = Path(folder)
        try:
            self.manifest = json.loads((self.folder / MANIFEST).read_text())
            rows = np.load(self.folder / ROWS)
        except (OSError, ValueError, EOFError):
            raise InputError(f"{folder} is not an activation cache: no {MANIFEST} and {ROWS} to read") from None
        if self.manifest.get("format") != FORMAT or _sha256(rows) != self.manifest["rows_sha256"]:
            raise InputError(f"activation cache {folder} is of another version or its {ROWS} was changed; delete it")
        self.hook_points = tuple(self.manifest["d_in"])
        self.d_in = dict(self.manifest["d_in"])
        self.order = Order(kept_positions(rows, self.manifest["end_of_text"]), block_rows)
        self._dtype = check_dtype(self.manifest["dtype"])
        self._shards: dict[tuple[int, str], Tensor] = {}

    @property
    def content(self) -> str:
        """A hash of the manifest, which names the model's weights and the tokens by theirs."""
        return sha256_of([json.dumps(self.manifest, sort_keys=True), str(self.order.block_rows)])

    def read(self, rows):
        """Copies of the rows, gathered from the memory-mapped shards."""
        per_shard, context = self.manifest["rows_per_shard"], self.manifest["context"]
        out = {name: torch.empty(len(rows), context, d, dtype=self._dtype) for name, d in self.d_in.items()}
        shards, starts = np.unique(rows // per_shard, return_index=True)
        for i, inside, start in zip(shards, np.split(rows % per_shard, starts[1:]), starts, strict=True):
            index = torch.from_numpy(inside)
            for name, x in out.items():
                torch.index_select(self._shard(int(i), name), 0, index, out=x[start : start + len(inside)])
        return out

    @cached_property
    def normalisation(self) -> dict[str, Normalisation]:
        """By hook point, as build_cache stored it."""
        path = self.folder / NORMALISATION
        if not path.exists():
            raise InputError(f"activation cache {self.folder} is unfinished; build it again to go on")
        try:
            stored, about = read_safetensors(path)
        except (SafetensorError, OSError):
            raise self._damaged(f"{path.name} is cut short") from None
        if _tensors_sha256(stored) != about.get("sha256"):
            raise self._damaged(f"{path.name} is damaged (its sha256 differs)")
        if stored.keys() != {f"{name}.{what}" for name in self.hook_points for what in ("mean", "scale")}:
            raise self._damaged(f"{path.name} is of other hook points")
        return {
            name: Normalisation(stored[f"{name}.mean"], stored[f"{name}.scale"].item()) for name in self.hook_points
        }

    def _shard(self, i: int, name: str) -> Tensor:
        """The shard as a memory-mapped tensor, its checksum verified when it is first asked for."""
        if (i, name) not in self._shards:
            try:
                entry = json.loads(_entry(self.folder, i).read_text())[name]
                raw = np.memmap(self.folder / entry["file"], np.uint8, mode="c")
                known, per_shard = entry["sha256"], self.manifest["rows_per_shard"]
                n_rows = min(per_shard, len(self.order.keep) - i * per_shard)  # the last has the rest
                shape = (n_rows, self.manifest["context"], self.d_in[name])
            except (OSError, ValueError, KeyError, TypeError):
                raise self._damaged(f"shard {i} is missing or cut short") from None
            if _sha256(raw) != known or raw.size != activation_bytes(math.prod(shape), 1, self._dtype):
                raise self._damaged(f"{entry['file']} is damaged (its sha256 differs)")
            self._shards[i, name] = torch.from_numpy(raw).view(self._dtype).view(shape)
        return self._shards[i, name]

    def _damaged(self, what: str) -> InputError:
        return InputError(f"activation cache {self.folder}: {what}; delete it all")


def _belongs(folder: Path, manifest: dict) -> bool:
    """Whether the folder holds this cache, whole or in part; raises InputError where it holds something else."""
    if not folder.exists() or all(file.match(f".{MANIFEST}.*.part") for file in folder.iterdir()):
        return False
    try:
        found = dict(json.loads((folder / MANIFEST).read_text()))
    except (OSError, ValueError, TypeError):
        raise InputError(f"{folder} holds files but no activation cache; give an empty or new folder") from None
    for key, value in manifest.items():
        if json.dumps(found.get(key)) != json.dumps(value):  # 16.0 is not 16, nor is True 1
            raise InputError(f"activation cache {folder} is another one: its {key} is {found.get(key)}, not {value}")
    return True


def _check_room(folder: Path, manifest: dict, shards: Sequence[int]) -> None:
    missing = len(shards) * min(manifest["rows_per_shard"], manifest["n_rows"]) * manifest["context"]
    need, free = activation_bytes(missing, sum(manifest["d_in"].values()), manifest["dtype"]), free_disk(folder)
    if need > 0.98 * free:
        raise NoRoom(f"activation cache {folder} needs {human(need)} and the disk has {human(free)} free")


def _write_shard(folder: Path, i: int, model, rows, hook_points, dtype) -> None:
    """The shard's files, then its entry: a shard with an entry is whole."""
    parts = {name: [] for name in hook_points}
    for part in forward(model, rows, hook_points):
        for name, x in part.items():
            stored = x.to(dtype).cpu()
            if not torch.isfinite(stored).all():
                raise beyond_range(name, dtype if torch.isfinite(x).all() else x.dtype)
            parts[name].append(stored)
    entry = {}
    for name, tensors in parts.items():
        x = torch.cat(tensors).contiguous()
        raw = x.view(torch.uint8).numpy()
        file = folder / f"shard-{i:05d}.{name}.bin"
        with whole_file(file) as part:
            raw.tofile(part)
        entry[name] = {"file": file.name, "sha256": _sha256(raw), "shape": list(x.shape), "dtype": str(dtype)}
    write_json(_entry(folder, i), entry)


def _entry(folder: Path, i: int) -> Path:
    return folder / f"shard-{i:05d}.json"


def _tensors_sha256(tensors: dict[str, Tensor]) -> str:
    return sha256_of(tensors[name].double().reshape(-1).numpy() for name in sorted(tensors))


def _sha256(array: np.ndarray) -> str:
    return sha256_of([np.ascontiguousarray(array)])
