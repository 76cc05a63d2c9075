"""The throughput of this machine, measured in a few seconds at sizes like those of some cells."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from tokenizers import Tokenizer

from sae_utils.memory import total_memory
from sae_utils.paths import MODELS, PACKAGE
from sae_utils.run.costs.cost import Throughput, training_operations
from sae_utils.run.plans.model_facts import ModelFacts
from sae_utils.saes import SAE
from sae_utils.saes.training import StackTrainer
from sae_utils.saes.training.grid import Cell

SECONDS = 0.3  # for which each timing is repeated
MOST = {"cpu": 2e9, "cuda": 1e12}  # operations of a timed call
CONTEXT, WIDEST = 256, 1024  # of the timed transformer block
N_TEXTS = 40  # that are tokenised, in a fifth of a second


def device_at_hand(wanted: str) -> str:
    """``wanted`` where it is there, else the CPU."""
    return wanted if wanted.startswith("cuda") and torch.cuda.is_available() else "cpu"


def measure(cells: Sequence[Cell], models: Mapping[str, ModelFacts], device: str) -> Throughput:
    """Training steps of each architecture, by its costliest cell; a block of the model of each dtype; and text."""
    costliest: dict[str, Cell] = {}
    for cell in sorted(cells, key=training_operations):
        costliest[cell.config.architecture] = cell
    empty = _step_seconds(_small(min(costliest.values(), key=training_operations), 0), device) if cells else 0.0
    training = {}
    for architecture, cell in costliest.items():
        small = _small(cell, MOST[device.partition(":")[0]])
        seconds = _step_seconds(small, device)
        operations = training_operations(small) / small.training.n_steps
        # As Throughput.launches_ahead: on a GPU an empty step's time is no part of a full one's.
        alone = seconds if device.startswith("cuda") else max(seconds - empty, seconds / 10)
        training[architecture] = _round(operations / alone)
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else f"CPU, {os.cpu_count()} cores, {_cpu()}"
    return Throughput(
        device=name,
        memory=total_memory(device),
        tokens=_round(_tokens()),
        step=_round(empty),
        forward={dtype: _round(_forward(facts, dtype, device)) for dtype, facts in models.items()},
        training=training,
    )


def _small(cell: Cell, most_operations: float) -> Cell:
    """The cell with fewer dictionaries, then latents, then tokens in a batch: a step of at most so many operations."""
    config, training = cell.config, replace(cell.training, n_tokens=cell.training.batch_size)
    seeds = cell.seeds
    while training_operations(replace(cell, config=config, training=training, seeds=seeds)) > most_operations:
        if len(seeds) > 1:
            seeds = seeds[: len(seeds) // 2]
        elif config.n_latents > max(64, 4 * (config.k or 0)):
            config = replace(config, n_latents=config.n_latents // 2)
        elif training.batch_size > 8:
            training = replace(training, batch_size=training.batch_size // 2, n_tokens=training.batch_size // 2)
        else:
            break
    return replace(cell, config=config, training=training, seeds=seeds)


def _step_seconds(cell: Cell, device: str) -> float:
    trainer = StackTrainer(SAE.create(cell.config, cell.seeds).to(device), cell.training, record=False)
    x = torch.randn(cell.training.batch_size, cell.config.d_in, device=device)
    return _seconds(lambda: trainer.step(0, x), device)


def _forward(facts: ModelFacts, dtype: str, device: str) -> float:
    """Operations in a second of a transformer block of the model's shape, or narrower."""
    width = min(facts.d_model, WIDEST)
    heads = max(n for n in range(1, max(1, width // 64) + 1) if width % n == 0)
    inner = round(width * facts.d_mlp / facts.d_model)
    block = torch.nn.TransformerEncoderLayer(width, heads, inner, dropout=0.0, batch_first=True, norm_first=True)
    block = block.eval().to(device, getattr(torch, dtype))
    operations = CONTEXT * (2 * (4 * width**2 + 2 * width * inner) + 4 * CONTEXT * width)
    rows = max(1, int(MOST[device.partition(":")[0]] // operations))
    x = torch.randn(rows, CONTEXT, width, device=device, dtype=getattr(torch, dtype))
    with torch.no_grad():
        return rows * operations / _seconds(lambda: block(x), device)


def _tokens() -> float:
    """Tokens of Python source in a second, with the bundled tokenizer."""
    tokenizer = Tokenizer.from_file(str(MODELS / "pycode-2m" / "tokenizer.json"))
    texts = [path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py"))[:N_TEXTS]]
    n = sum(len(one.ids) for one in tokenizer.encode_batch(texts))
    return n / _seconds(lambda: tokenizer.encode_batch(texts), "cpu")


def _seconds(call: Callable[[], object], device: str) -> float:
    """Median time of a call, after two that do not count."""
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    while len(times) < 5 or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return statistics.median(times[2:])


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _round(rate: float) -> float:
    """Three digits, which is more than a few seconds can tell."""
    return float(f"{rate:.3g}")
