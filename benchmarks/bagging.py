"""Training 8 bagged TopK SAEs in one pass over the activations against one after another.

    python benchmarks/bagging.py [--repetitions 5] [--tokens 65536]

Both train the same members, from the same first weights, on the same batches: once as one stack, and once as eight
stacks of one, each of which reads the activations anew. Activations come from memory, so that reading them costs next
to nothing in the first line; in the second each read costs what the bundled model's forward pass costs (22 microseconds
a token), as where activations are not kept on a disk. The two alternate, and the figures are medians over repetitions.
The members' outputs are compared at the end, so that a fast wrong answer cannot win.
"""

import argparse
import statistics
import time

import torch

from sae_utils.data.activations import TensorSource
from sae_utils.saes import SAE, SAEConfig
from sae_utils.saes.ensembles import Ensemble
from sae_utils.saes.training import TrainingConfig, train

MEMBERS, D_IN, N_LATENTS, K, BATCH = 8, 128, 512, 16, 512
FORWARD_SECONDS = 22e-6  # of a token, by the bundled model on two cores


class SlowSource(TensorSource):
    """Activations that take as long to read as a language model takes to make them."""

    def read(self, rows):
        """The rows, after the wait."""
        time.sleep(FORWARD_SECONDS * len(rows))
        return super().read(rows)


def together(source: TensorSource, config: TrainingConfig) -> Ensemble:
    """The bag, trained in one pass."""
    stack = SAE.create(SAEConfig(D_IN, N_LATENTS, "topk", K), range(MEMBERS), "x", source.normalisation["x"])
    train([stack], source, config, progress=False)
    return Ensemble.bag(stack)


def one_by_one(source: TensorSource, config: TrainingConfig) -> Ensemble:
    """The same bag, trained in as many passes as it has members."""
    members = []
    for seed in range(MEMBERS):
        sae = SAE.create(SAEConfig(D_IN, N_LATENTS, "topk", K), [seed], "x", source.normalisation["x"])
        train([sae], source, config, progress=False)
        members.append(sae)
    return Ensemble(members)


def timed(how, *args):
    """(seconds, what it made)."""
    start = time.perf_counter()
    made = how(*args)
    return time.perf_counter() - start, made


def compare(name: str, source: TensorSource, config: TrainingConfig, repetitions: int) -> None:
    """Print one line for one source."""
    pairs = []
    for _ in range(repetitions):
        (joint, bag), (single, other) = timed(together, source, config), timed(one_by_one, source, config)
        pairs.append((joint, single))
    x = next(source.batches(2048, 1))["x"]
    # The root mean square: rounding swaps the last of the k latents on a few tokens, which moves a few entries by 5 %.
    difference = float((bag(x) - other(x)).square().mean().sqrt() / x.std())
    if difference > 0.01:
        raise SystemExit(f"error: the bags differ by {difference:.1e} standard deviations: they are not the same work")
    ratios = sorted(b / a for a, b in pairs)
    joint, single = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(
        f"{name}: one pass {joint:.2f} s, one after another {single:.2f} s; ratio {statistics.median(ratios):.2f} "
        f"(from {ratios[0]:.2f} to {ratios[-1]:.2f}); outputs differ by {difference:.1e} standard deviations"
    )


def main() -> None:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(description="8 bagged SAEs in one pass against one after another.")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=65_536)
    args = parser.parse_args()
    torch.manual_seed(0)
    x = torch.randn(args.tokens, D_IN) @ (torch.randn(D_IN, D_IN) / D_IN**0.5)
    config = TrainingConfig(args.tokens, BATCH)
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads; {MEMBERS} members, {N_LATENTS} latents, k {K}, "
        f"batch {BATCH}, {args.tokens} tokens"
    )
    compare("activations in memory", TensorSource({"x": x}), config, args.repetitions)
    compare("activations at a model's pace", SlowSource({"x": x}), config, args.repetitions)


if __name__ == "__main__":
    main()
