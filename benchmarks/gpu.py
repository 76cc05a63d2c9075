"""One command for a CUDA machine: is every CUDA path right, and how fast is a training step?

    python benchmarks/gpu.py [--device cuda] [--small]

First each CUDA path against its twin on the CPU (gpu_checks.py), a line each. Then the throughput of a whole training
step, for a stack of 1 and of 8, as a share of the rate of the encoder's matrix product alone in the same run, and the
peak memory. Exit code: 0, 1 where a check failed, 2 without the device.

``--device cpu --small`` goes through the same code on the CPU, which is how the tests run it. The twins are then equal
by construction, and the throughput says nothing.
"""

import argparse
import gc
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from gpu_checks import check_all

from sae_utils.data.models.language_model import check_device
from sae_utils.errors import InputError
from sae_utils.saes import SAE, SAEConfig
from sae_utils.saes.training import StackTrainer, TrainingConfig

STACKS = (1, 8)
WARM_UP = 5  # calls before the first that counts


@dataclass(frozen=True)
class Size:
    """Size of the timed step; the defaults are those of paper A's dictionaries on Pythia-160M."""

    d_in: int = 768
    n_latents: int = 32_768
    k: int = 32
    batch: int = 4096
    repetitions: int = 30


SMALL = Size(d_in=32, n_latents=256, k=4, batch=64, repetitions=3)


def median_seconds(call: Callable[[], object], device: torch.device, repetitions: int) -> float:
    """Median time of one call: CUDA events on CUDA, wall clock elsewhere."""
    for _ in range(WARM_UP):
        call()
    if device.type != "cuda":
        times = []
        for _ in range(repetitions):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
        return statistics.median(times)
    events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(repetitions)]
    for start, end in events:
        start.record()
        call()
        end.record()
    torch.cuda.synchronize(device)
    return statistics.median(start.elapsed_time(end) / 1000 for start, end in events)


def gemm_seconds(size: Size, n_dictionaries: int, device: torch.device, dtype: torch.dtype) -> float:
    """The encoder's product alone: torch.mm of its shapes, layout and dtype, into memory that is already there."""
    x = torch.randn(size.batch, size.d_in, device=device, dtype=dtype)
    weight = torch.randn(n_dictionaries * size.n_latents, size.d_in, device=device, dtype=dtype).T
    out = torch.empty(size.batch, n_dictionaries * size.n_latents, device=device, dtype=dtype)
    return median_seconds(lambda: torch.mm(x, weight, out=out), device, size.repetitions)


def step_seconds(size: Size, n_dictionaries: int, device: torch.device, bfloat16: bool) -> tuple[float, float | None]:
    """A whole training step (loss to renormalised rows): median seconds, and the peak GiB of the run on CUDA."""
    if device.type == "cuda":
        gc.collect()  # an optimiser is part of a reference cycle, and its stack would be counted again
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    sae = SAE.create(SAEConfig(size.d_in, size.n_latents, "topk", k=size.k), range(n_dictionaries), "hook").to(device)
    config = TrainingConfig(1_000_000 * size.batch, size.batch, bfloat16=bfloat16, log_every=1_000_000)
    trainer = StackTrainer(sae, config)
    batches = [torch.randn(size.batch, size.d_in, device=device) for _ in range(4)]
    steps = iter(range(config.n_steps))

    def step() -> None:
        i = next(steps)
        trainer.step(i, batches[i % len(batches)])

    seconds = median_seconds(step, device, size.repetitions)
    return seconds, torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None


def report_throughput(size: Size, n_dictionaries: int, device: torch.device) -> None:
    """Print the rates of one stack."""
    bfloat16 = device.type == "cuda"
    dtype = torch.bfloat16 if bfloat16 else torch.float32
    seconds, peak = step_seconds(size, n_dictionaries, device, bfloat16)
    alone = gemm_seconds(size, n_dictionaries, device, dtype)
    done = size.batch * n_dictionaries
    teraflops = 2e-12 * done * size.d_in * size.n_latents / alone
    print(
        f"stack of {n_dictionaries}: {1000 * seconds:.2f} ms a step, {done / seconds:,.0f} tokens x SAEs/s; "
        f"encoder GEMM alone {1000 * alone:.2f} ms, {done / alone:,.0f} tokens x SAEs/s ({teraflops:.1f} TFLOP/s); "
        f"the step runs at {alone / seconds:.1%} of the GEMM's rate; "
        f"peak memory {'not measured on the CPU' if peak is None else f'{peak:.2f} GiB'}",
        flush=True,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(description="Check the CUDA paths against the CPU, then time a training step.")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, or cpu to try the script itself")
    parser.add_argument("--small", action="store_true", help="small sizes, for tests")
    args = parser.parse_args(arguments)
    try:
        device = check_device(args.device)
    except InputError as error:
        print(f"gpu.py: {error}; nothing was checked", file=sys.stderr)
        return 2
    if device.type == "cuda":
        torch.cuda.set_device(device)  # whose stream the events are of
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"{time.strftime('%Y-%m-%d')}, {name}, torch {torch.__version__}, CUDA {torch.version.cuda}")
    if device.type == "cpu":
        print("on the CPU both twins are the same code, so their differences are zero by construction")

    failed = 0
    for check in check_all(args.device, args.small):
        print(check, flush=True)
        failed += not check.passed
    print(f"{failed} checks failed" if failed else "all checks passed")

    size = SMALL if args.small else Size()
    product = "bfloat16" if device.type == "cuda" else "float32"
    print(f"TopK, d_in {size.d_in}, {size.n_latents:,} latents, k {size.k}, batch {size.batch:,}; "
          f"encoder product in {product}; median of {size.repetitions}")  # fmt: skip
    for n_dictionaries in STACKS:
        try:
            report_throughput(size, n_dictionaries, device)
        except torch.OutOfMemoryError:
            print(f"stack of {n_dictionaries}: does not fit into this device's memory")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
