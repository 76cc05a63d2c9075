"""One command for a CUDA machine: is every CUDA path right, and how fast is a training step?

    python benchmarks/gpu.py [--device cuda] [--small]

First each CUDA path against its twin on the CPU (gpu_checks.py), a line each. Then a whole training step, for a stack
of 1 and of 8, beside the least that it could take (the encoder's product in bfloat16 and one pass over what that
gives), beside a step of sparsify where that is installed, and the peak memory; last a small step, recorded as a CUDA
graph and not. Exit code: 0, 1 where a check failed,
2 without the device.

``--device cpu --small`` goes through the same code on the CPU, which is how the tests run it. The twins are then equal
by construction, and the throughput says nothing.
"""

import argparse
import gc
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from unittest import mock

import torch
from gpu_checks import check_all
from step_floor import sparsify

from sae_utils.data.models.language_model import check_device
from sae_utils.errors import InputError
from sae_utils.saes import SAE, SAEConfig
from sae_utils.saes.training import StackTrainer, TrainingConfig, trainer

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


LAPTOP = Size(d_in=128, n_latents=512, k=16, batch=256)
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


def least_seconds(size: Size, device: torch.device) -> float:
    """For one dictionary the product of the encoder in bfloat16 and the largest of each row, into memory at hand."""
    x = torch.randn(size.batch, size.d_in, device=device, dtype=torch.bfloat16)
    weight = torch.randn(size.n_latents, size.d_in, device=device, dtype=torch.bfloat16).T
    out = torch.empty(size.batch, size.n_latents, device=device, dtype=torch.bfloat16)
    return median_seconds(lambda: torch.mm(x, weight, out=out).amax(-1), device, size.repetitions)


def sparsify_seconds(size: Size, device: torch.device) -> float:
    """A step of one SAE of sparsify."""
    step = sparsify(size.d_in, size.n_latents, size.k, device)
    x = torch.randn(size.batch, size.d_in, device=device)
    return median_seconds(lambda: step(x), device, size.repetitions)


def step_seconds(size: Size, n_dictionaries: int, device: torch.device) -> tuple[float, float | None]:
    """A whole training step (loss to renormalised rows): median seconds, and the peak GiB of the run on CUDA."""
    if device.type == "cuda":
        gc.collect()  # an optimiser is part of a reference cycle, and its stack would be counted again
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    sae = SAE.create(SAEConfig(size.d_in, size.n_latents, "topk", k=size.k), range(n_dictionaries), "hook").to(device)
    config = TrainingConfig(1_000_000 * size.batch, size.batch, log_every=1_000_000)
    trainer = StackTrainer(sae, config)
    batches = [torch.randn(size.batch, size.d_in, device=device) for _ in range(4)]
    steps = iter(range(config.n_steps))

    def step() -> None:
        i = next(steps)
        trainer.step(i, batches[i % len(batches)])

    seconds = median_seconds(step, device, size.repetitions)
    return seconds, torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None


def report_throughput(size: Size, device: torch.device) -> None:
    """Print what a step takes for each dictionary of a stack of 1 and of 8, and of sparsify, over the least."""
    least = least_seconds(size, device)
    print(f"batch {size.batch:,}: product in bfloat16 and one pass over it {1000 * least:.3f} ms, "
          f"{size.batch / least:,.0f} tokens/s")  # fmt: skip
    times = {}
    for n_dictionaries in STACKS:
        try:
            seconds, peak = step_seconds(size, n_dictionaries, device)
        except torch.OutOfMemoryError:
            print(f"  stack of {n_dictionaries}: does not fit into this device's memory")
            continue
        times[f"stack of {n_dictionaries}"] = seconds / n_dictionaries
        print(f"  stack of {n_dictionaries}: peak memory "
              f"{'not measured on the CPU' if peak is None else f'{peak:.2f} GiB'}")  # fmt: skip
    if importlib.util.find_spec("sparsify"):
        times["sparsify"] = sparsify_seconds(size, device)
    for name, seconds in times.items():
        print(
            f"  {name}: {1000 * seconds:.3f} ms a step of an SAE, {size.batch / seconds:,.0f} tokens x SAEs/s, "
            f"{least / seconds:.1%} of the limit",
            flush=True,
        )


def report_recorded(size: Size, device: torch.device) -> None:
    """Print what a small step takes kernel by kernel, and recorded as a graph."""
    trained = []
    for eager in (10**9, trainer.EAGER):
        with mock.patch.object(trainer, "EAGER", eager):
            trained.append(step_seconds(size, STACKS[-1], device)[0])
    print(f"stack of {STACKS[-1]}, d_in {size.d_in}, {size.n_latents} latents, k {size.k}, batch {size.batch}: "
          f"{1000 * trained[0]:.2f} ms a step, recorded {1000 * trained[1]:.2f}")  # fmt: skip


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
        torch.cuda.set_device(device.index or 0)  # whose stream the events are of
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
    print(f"TopK, d_in {size.d_in}, {size.n_latents:,} latents, k {size.k}; medians of {size.repetitions}")
    for batch in (size.batch, 4 * size.batch):
        report_throughput(replace(size, batch=batch), device)
    report_recorded(SMALL if args.small else LAPTOP, device)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
