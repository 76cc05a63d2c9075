"""The activations of an experiment: on disk, or streamed where that would be too large."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int

from sae_utils.data.activation_cache import build_cache
from sae_utils.data.activations import ActivationSource, ActivationStream, widths
from sae_utils.data.language_model import LanguageModel

LARGEST_GB = 32.0  # of a cache: beyond, the language model runs again in each pass


def open_source(
    model: LanguageModel,
    rows: Int[np.ndarray, "n_rows context"],
    hook_points: Sequence[str],
    cache_dir: Path,
    largest_gb: float = LARGEST_GB,
) -> ActivationSource:
    """A cache in a folder of ``cache_dir`` named by its content, built if need be, or a live stream if too large.

    Both give the same batches, but for the cache's float16. Raises InputError as ``build_cache`` does.
    """
    size_gb = 2e-9 * rows.size * sum(widths(model, rows, hook_points).values())
    if size_gb > largest_gb:
        return ActivationStream(model, rows, hook_points)
    content = hashlib.sha256(f"{model.fingerprint} {list(hook_points)} {rows.shape} {rows.dtype}".encode())
    content.update(np.ascontiguousarray(rows))
    return build_cache(cache_dir / f"activations-{content.hexdigest()[:16]}", model, rows, hook_points)
