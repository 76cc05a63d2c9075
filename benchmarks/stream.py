"""Does filling the shuffle buffer ahead pay, and how well does the buffer mix?

    python benchmarks/stream.py [--device cuda] [--model pycode-2m] [--wait 0.01] [--mixing]

Times, in one run and in turn: filling alone (batches are asked for and thrown away), training alone (on batches that
are there), training on a stream that fills on demand, and on one that fills ahead. 1 would be the sum of filling
and training alone; no overlap can do better than the larger share of the two, which is printed beside. The losses of
both streams must be equal to the bit.

On the CPU both threads want the same cores, so there is little to win. ``--wait S`` has every forward pass sleep
for S seconds in place of computing, as the thread that drives a GPU waits: so the overlap itself is measured, without
a GPU. ``--mixing`` times nothing: it prints the variance of batch means over that of independent draws, by the number
of rows in the buffer. 1 is a perfect shuffle; how far above says what a batch loses.
"""

import argparse
import statistics
import time
from contextlib import closing
from itertools import islice

import numpy as np
import torch

from sae_utils.data.activations import ActivationStream, Order
from sae_utils.data.models.language_model import LanguageModel, load_language_model
from sae_utils.data.text import token_rows
from sae_utils.paths import RESULTS
from sae_utils.saes import SAE, SAEConfig
from sae_utils.saes.training import TrainingConfig, train
from sae_utils.saes.training.residuals import HeldSource

ROWS_MIXED = (16, 64, 256, 1024)


class Waiting:
    """A model whose forward pass sleeps and gives activations that were computed before."""

    def __init__(self, model: LanguageModel, seconds: float):
        self._model, self._seconds, self._made = model, seconds, {}

    def __getattr__(self, name):
        return getattr(self._model, name)

    def activations(self, tokens, hook_points):
        """Those of the first tokens of this shape."""
        key = tokens.shape, tuple(hook_points)
        if key not in self._made:
            self._made[key] = self._model.activations(tokens, hook_points)
        time.sleep(self._seconds)
        return self._made[key]


def seconds_of(call, device: torch.device) -> float:
    """Wall time of one call, the device's work included."""
    start = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


class Ready:
    """A source whose batches are there."""

    def __init__(self, source: ActivationStream, batches: list):
        self.hook_points, self.d_in, self.n_tokens, self._batches = (
            source.hook_points, source.d_in, source.n_tokens, batches,
        )  # fmt: skip

    def batches(self, *args, **kwargs):
        """One after the other."""
        yield from self._batches


def compare(args, model, rows, hook: str) -> None:
    """Print one line a repetition and the medians."""
    device = torch.device(args.device)
    streams = {ahead: ActivationStream(model, rows, [hook], args.block_rows, prefetch=ahead) for ahead in (False, True)}
    config = TrainingConfig(args.steps * args.batch_size, args.batch_size)
    shape = SAEConfig(streams[True].d_in[hook], args.n_latents, "topk", k=args.k)
    losses = []

    def training(source) -> None:
        sae = SAE.create(shape, range(args.members), hook, streams[True].normalisation[hook]).to(device)
        losses.append(train([sae], source, config, progress=False)[0].loss)

    def filled() -> list:
        with closing(streams[False].batches(config.batch_size, config.data_seed, device=device)) as batches:
            return list(islice(batches, config.n_steps))

    ready = Ready(streams[True], filled())
    training(ready)  # warm-up
    found: dict[str, list[float]] = {"on demand": [], "ahead": [], "larger share": []}
    for _ in range(args.repetitions):
        fill, alone = seconds_of(filled, device), seconds_of(lambda: training(ready), device)
        on_demand, ahead = (seconds_of(lambda s=streams[a]: training(s), device) for a in (False, True))
        if not all(torch.equal(loss, losses[0]) for loss in losses):
            raise SystemExit("error: the losses differ; the runs do not do the same work")
        for name, value in zip(found, (on_demand, ahead, max(fill, alone)), strict=True):
            found[name].append(value / (fill + alone))
        print(f"filling {fill:.2f} s, training {alone:.2f} s; both: on demand {on_demand:.2f} s, ahead {ahead:.2f} s",
              flush=True)  # fmt: skip
    for name, ratios in found.items():
        print(f"{name}: {statistics.median(ratios):.2f} of the sum ({min(ratios):.2f} to {max(ratios):.2f})")


def mixing(args, model, rows, hook: str) -> None:
    """Print the variance of batch means over that of independent draws, by rows in the buffer."""
    held = HeldSource(ActivationStream(model, rows, [hook]))
    everything = torch.cat([x[hook] for x in islice(held.batches(4096, 0), held.n_tokens // 4096)])
    independent = everything.var(0).sum().item() / args.batch_size
    for block_rows in ROWS_MIXED:
        held.order = Order(held.order.keep, block_rows)
        batches = held.batches(args.batch_size, data_seed=1)
        means = torch.stack([x[hook].mean(0) for x in islice(batches, 3 * held.n_tokens // args.batch_size)])
        ratio = (means - everything.mean(0)).square().sum(1) / independent
        error = ratio.std().item() / len(ratio) ** 0.5
        print(f"{block_rows} rows, batch {args.batch_size}: {ratio.mean():.2f} +- {error:.2f} times the variance")


def main() -> None:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(description="Training on a stream: filled ahead, on demand, and how it mixes.")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--model", default="pycode-2m")
    parser.add_argument("--layer", type=int, default=3)
    parser.add_argument("--n-latents", type=int, default=1024)
    parser.add_argument("--k", type=int, default=16)
    parser.add_argument("--members", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--block-rows", type=int, default=64)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--n-rows", type=int, default=2000, help="of text, again and again")
    parser.add_argument("--wait", type=float, default=0.0, help="seconds of a pretended forward pass")
    parser.add_argument("--mixing", action="store_true")
    args = parser.parse_args()
    model = load_language_model(args.model, args.device)
    context = model.context
    rows = np.asarray(token_rows("installed-python", model.tokenizer, "train", args.n_rows, context, RESULTS / "cache"))
    hook = model.hook_point("mlp_out", args.layer)
    print(f"torch {torch.__version__}, {args.device}, {torch.get_num_threads()} threads, {args.model}, {hook}; "
          f"{args.members} SAEs of {args.n_latents} latents, k {args.k}, {args.steps} batches of {args.batch_size}"
          f"{f', forward passes that sleep {args.wait} s' if args.wait else ''}")  # fmt: skip
    measure = mixing if args.mixing else compare
    measure(args, Waiting(model, args.wait) if args.wait else model, rows, hook)


if __name__ == "__main__":
    main()
