"""How many bytes an experiment needs, by arithmetic, and how many a device and a disk have.

Nothing here loads torch before a device is asked for, so that a plan costs nothing to make.

Weights of dictionaries, gradients and Adam's moments are float32. The temporary tensors of a training step are counted
from measured peaks (tests/test_memory.py: a step takes half of the estimate to all of it). What CUDA itself takes, and
what its allocator leaves unused, is not in any number here: HEADROOM stands for it.
"""

import shutil
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from sae_utils.errors import InputError

if TYPE_CHECKING:
    import torch

    from sae_utils.saes import SAEConfig

BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
ADAM = ("gradient", "first moment", "second moment")
BLOCK_ROWS = 256  # of a shuffle buffer: 65,536 activations of 128 float16 are 17 MB
LARGE_CORPUS = 2**25  # tokens; beyond, buffers hold BUFFER_TOKENS, so that a batch of thousands has few of one row
BUFFER_TOKENS = 2**19  # 0.8 GB of 768 bfloat16
HEADROOM = 0.9  # share of a device's free memory that a plan may take
# Rows whose pre-activations are held at once on the CPU. Reused memory of this size saved a third of the encoder's time
# against one fresh tensor of [batch, S * n_latents], which the system must zero first.
CPU_CHUNK = 256
# Latents of these rows that are held at once, or one dictionary's where it has more. Stacks with more latents take the
# gradients of codes latent by latent.
CPU_LATENTS = 4096
# Pre-activations held at once on CUDA: 268 MB of bfloat16. Fewer cost time: 2^24 twice as much for a search (H100).
CUDA_HELD = 2**27
SEARCHED = 2048  # latents from which TopK on CUDA looks for its k in bfloat16
RECORDED = 2**26  # most parameters of a stack whose step becomes a CUDA graph: with more, the GPU is slower than Python
# Tokens in a forward pass. On the CPU at 8,192 glibc maps the attention scores (33 MB) anew, 1.8 times slower.
# On CUDA the hooks' Python, 5 ms a layer, is most of a pass over few tokens of a small model.
FORWARD_TOKENS = {"cpu": 4096, "cuda": 32_768}
LARGEST_CACHE_GB = 32.0  # of activations on disk: beyond, the language model runs again in each pass
HELD_GB = 8.0  # of activations in memory: beyond, residuals are computed anew in each pass
# Tensors [batch, S, n_latents] alive at once in a step whose code is dense, at its peak.
DENSE_TENSORS = {"relu": 5.25, "jump_relu": 5.25, "gated": 8.5}
EXTRA_PARAMETERS = {"gated": 2, "jump_relu": 1}  # parameters [S, n_latents] beside b_enc
OFFERED = {"topk": 1, "batch_topk": 8}  # candidates of each token, as multiples of k: losses._choose doubles 4 at times


def human(n_bytes: float) -> str:
    """Bytes with a decimal unit and three digits, such as ``1.57 GB``."""
    size, units = float(n_bytes), ["bytes", "kB", "MB", "GB", "TB", "PB"]
    while abs(size) >= 999.5 and len(units) > 1:
        size, units = size / 1000, units[1:]
    digits = 0 if units[0] == "bytes" else max(0, 3 - len(str(int(abs(size) + 0.5))))
    return f"{size:.{digits}f} {units[0]}"


def item_bytes(dtype: str) -> int:
    """Of one value of ``dtype`` (a name, also as ``torch.float16``). Raises InputError for one that is not in BYTES."""
    size = BYTES.get(str(dtype).removeprefix("torch."))
    if size is None:
        raise InputError(f"dtype={dtype!r} is unknown; allowed: {', '.join(BYTES)}")
    return size


def activation_bytes(n_activations: int, d_in: int, dtype: str = "float16") -> int:
    """Activations on disk or in a buffer; ``d_in`` is the sum over the hook points."""
    return n_activations * d_in * item_bytes(dtype)


def buffer_rows(n_rows: int, context: int) -> int:
    """Rows of a shuffle buffer, unless asked for otherwise: the same for a cache and a stream of the same rows."""
    return BLOCK_ROWS if n_rows * context <= LARGE_CORPUS else max(BLOCK_ROWS, BUFFER_TOKENS // context)


def rows_bytes(n_tokens: int, n_vocab: int) -> int:
    """Token rows on disk: two bytes a token where the vocabulary fits, else four."""
    return n_tokens * (2 if n_vocab <= 2**16 else 4)


def dictionary_bytes(n_dictionaries: int, d_in: int, n_latents: int, architecture: str = "topk") -> int:
    """Weights and buffers of a stack (``saes.sae.SAE``)."""
    return 4 * (_n_parameters(n_dictionaries, d_in, n_latents, architecture) + n_dictionaries + d_in + 1)


def optimiser_bytes(n_dictionaries: int, d_in: int, n_latents: int, architecture: str = "topk") -> int:
    """Gradient and Adam's two moments of a stack, and the int64 counter of each latent's last firing."""
    n = _n_parameters(n_dictionaries, d_in, n_latents, architecture)
    return 4 * len(ADAM) * n + 8 * n_dictionaries * n_latents


def _n_parameters(n_dictionaries: int, d_in: int, n_latents: int, architecture: str) -> int:
    per_latent = 2 * d_in + 1 + EXTRA_PARAMETERS.get(architecture, 0)
    return n_dictionaries * (n_latents * per_latent + d_in)


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes of device memory by what they are for. Plans add up part by part."""

    model: int = 0
    buffer: int = 0
    dictionaries: int = 0
    optimiser: int = 0
    step: int = 0  # temporary tensors; of one stack at a time, so sums of plans keep the largest

    @property
    def total(self) -> int:
        """Of all parts."""
        return sum(astuple(self))

    def __add__(self, other: "MemoryPlan") -> "MemoryPlan":
        *sums, _ = (one + two for one, two in zip(astuple(self), astuple(other), strict=True))
        return MemoryPlan(*sums, step=max(self.step, other.step))

    def __str__(self) -> str:
        names = ("language model", "shuffle buffer", "dictionaries", "optimiser", "temporary")
        parts = [f"{name} {human(size)}" for name, size in zip(names, astuple(self), strict=True) if size]
        return f"{human(self.total)}: {', '.join(parts)}" if parts else human(0)


def training_plan(config: "SAEConfig", n_dictionaries: int, batch_size: int, device: str = "cuda") -> MemoryPlan:
    """What one stack and its training need on a kind of device; plans of several stacks add up."""
    d_in, n_latents, architecture = config.d_in, config.n_latents, config.architecture
    n, weights = n_dictionaries * n_latents, 4 * n_dictionaries * n_latents * d_in
    # The largest sum of temporary tensors of one training step, beside the gradient.
    step = 4 * 4 * batch_size * n_dictionaries * d_in  # reconstruction, error, their gradients
    if architecture in DENSE_TENSORS:
        step = max(4 * DENSE_TENSORS[architecture] * batch_size * n + step, 2 * weights)
    else:
        if device == "cpu":
            held = 4 * min(batch_size, CPU_CHUNK) * min(n, max(n_latents, CPU_LATENTS))
        else:  # with what picks from them, and the encoder in bfloat16
            each = (3 if n_latents >= SEARCHED else 6) + (architecture == "batch_topk")
            held = each * min(batch_size * n, CUDA_HELD) + weights / 2
        # Values in float32 and latents in int64, chosen, masked, laid flat and sorted by latent.
        codes = 4 * 12 * OFFERED[architecture] * config.k * batch_size * n_dictionaries
        step = max(held + codes + step, 1.25 * weights)
    if config.auxk:
        # The dead latents of one dictionary at a time, at most all of it, and their rows of encoder and decoder.
        step += 4 * batch_size * n_latents + 3 * weights / n_dictionaries
    stack = n_dictionaries, d_in, n_latents, architecture
    plan = MemoryPlan(dictionaries=dictionary_bytes(*stack), optimiser=optimiser_bytes(*stack), step=int(step))
    if device != "cpu" and _n_parameters(*stack) <= RECORDED:
        plan = replace(plan, optimiser=plan.optimiser + plan.step, step=0)  # a graph keeps what it takes
    return plan


def check_fits(plan: MemoryPlan, free: int, device: str, present: int = 0) -> None:
    """Raise InputError where ``plan`` needs more than HEADROOM of the ``free`` bytes of ``device``.

    ``present`` of the plan's bytes are on the device already, and so no part of what is free.
    """
    if plan.total - present > HEADROOM * free:
        there = f", beside {human(present)} of this that is there already" if present else ""
        raise InputError(
            f"this needs {plan}; {device} has {human(free)} free{there}: "
            "take fewer latents, fewer dictionaries at once, a smaller batch or a smaller buffer"
        )


def free_memory(device: "str | torch.device") -> int | None:
    """Bytes that this process can still get on ``device``; None where that cannot be asked (mps)."""
    import torch

    device = torch.device(device)
    if device.type == "cpu":
        return psutil.virtual_memory().available
    if device.type == "cuda":
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # by torch, and unused
        return torch.cuda.mem_get_info(device)[0] + held
    return None


def total_memory(device: "str | torch.device") -> int | None:
    """Bytes that ``device`` has in all; None where that cannot be asked (mps)."""
    import torch

    device = torch.device(device)
    if device.type == "cpu":
        return psutil.virtual_memory().total
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else None


def free_disk(folder: Path) -> int:
    """Bytes free where ``folder`` is or would be."""
    existing = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    return shutil.disk_usage(existing).free
