"""The activations of an experiment: on disk, or streamed where that would be too large."""

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int

from sae_utils.data.activations.cache import ActivationCache, NoRoom, build_cache
from sae_utils.data.activations.shuffle_buffer import BeyondRange
from sae_utils.data.activations.source import ActivationSource, ActivationStream
from sae_utils.data.models.language_model import LanguageModel, check_dtype
from sae_utils.files import sha256_of
from sae_utils.memory import LARGEST_CACHE_GB, activation_bytes, buffer_rows, human

log = logging.getLogger(__name__)


def open_source(
    model: LanguageModel,
    rows: Int[np.ndarray, "n_rows context"],
    hook_points: Sequence[str],
    cache_dir: Path,
    largest_gb: float = LARGEST_CACHE_GB,
    block_rows: int | None = None,
    dtype: torch.dtype | str | None = None,
    prefetch: bool | None = None,
) -> ActivationSource:
    """A cache in a folder of ``cache_dir`` named by its content, built if need be, or a live stream if too large.

    A cache beyond ``largest_gb``, or beyond what the disk has free, is streamed. Both give the same batches, mixed
    over ``block_rows`` rows (None: ``memory.buffer_rows``), but for the rounding of ``dtype``. None means: a cache in
    float16, or in bfloat16 where the model is, or where activations turn out to be beyond float16; a stream as the
    model gives them. ``prefetch`` is the stream's. Raises InputError as ``build_cache`` and ``ActivationStream`` do.
    """
    block_rows = block_rows or buffer_rows(len(rows), rows.shape[-1])
    wanted = None if dtype is None else check_dtype(dtype)
    stream = ActivationStream(model, rows, hook_points, block_rows, dtype=wanted, prefetch=prefetch)
    stored = wanted or (torch.bfloat16 if torch.bfloat16 in stream.dtypes.values() else torch.float16)
    size = activation_bytes(rows.size, sum(stream.d_in.values()), stored)
    if size <= 1e9 * largest_gb:
        try:
            return _cached(model, rows, hook_points, cache_dir, block_rows, stored, fall_back=wanted is None)
        except NoRoom as error:
            log.warning("%s: the activations are streamed instead", error)
    why = f"a cache of them would take {human(size)}"
    log.info("activations are streamed (%s); %s needs %s", why, model.device, stream.memory(model.device))
    return stream


def _cached(model, rows, hook_points, cache_dir: Path, block_rows: int, dtype, fall_back: bool) -> ActivationCache:
    """The cache in ``dtype``; with ``fall_back``, in bfloat16 where float16 overflows, and from then on always."""
    about = f"{model.fingerprint} {list(hook_points)} {rows.shape} {rows.dtype}"
    name = f"activations-{sha256_of([about, np.ascontiguousarray(rows)])[:16]}"
    overflowed = cache_dir / f"{name}-beyond-float16"
    if not (fall_back and overflowed.exists()):
        folder = cache_dir / (name if dtype == torch.float16 else f"{name}-{str(dtype).removeprefix('torch.')}")
        try:
            return build_cache(folder, model, rows, hook_points, dtype, block_rows=block_rows)
        except BeyondRange as error:
            if not fall_back:
                raise
            log.warning("%s: the cache is built again in bfloat16", str(error).partition(";")[0])
            shutil.rmtree(folder)
    return build_cache(overflowed, model, rows, hook_points, torch.bfloat16, block_rows=block_rows)
