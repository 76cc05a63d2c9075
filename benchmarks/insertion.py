"""Insertion of all latents at once against one forward pass per latent, on a pair of dictionaries.

    python benchmarks/insertion.py [--widths 512 1024] [--architecture topk] [--k 16] [--tokens 20000]

Both work in float32 on the same random SAEs and the same activations and alternate within one run. The loop does what
the definition says: for each latent of the larger SAE it encodes the tokens with both SAEs, adds the latent's part to
the smaller one's reconstruction and measures the MSE. ``loop, codes kept`` is a loop that is given both codes and the
error, and does the rest latent by latent. The figures are medians over repetitions of the pairwise ratio; the changes
of all are compared, so that a fast wrong answer cannot win. A loop is timed on ``--sample`` latents and multiplied.
"""

import argparse
import statistics
import time

import numpy as np
import torch

from sae_utils.analysis.stitching.insertion import insert
from sae_utils.saes import SAE, SAEConfig

BATCH = 4096


def pair(args: argparse.Namespace) -> tuple[SAE, SAE, torch.Tensor]:
    """A small and a large random SAE and activations."""
    how = {"k": args.k} if "topk" in args.architecture else {"sparsity": 0.0}
    saes = [SAE.create(SAEConfig(args.d_in, n, args.architecture, **how), [i]) for i, n in enumerate(args.widths)]
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(args.tokens, args.d_in, generator=generator)
    with torch.no_grad():
        for sae in saes:
            sae.b_dec.add_(0.1)
            if args.architecture in ("relu", "gated"):
                sae.b_enc.sub_(2.0)  # so that a few latents in a hundred are active
            sae.threshold.fill_(2.0)
    return *saes, x


@torch.no_grad()
def one_by_one(small: SAE, large: SAE, x: torch.Tensor, latents: np.ndarray) -> np.ndarray:
    """Forward passes of both SAEs for each latent."""
    changes = []
    for j in latents:
        before = after = 0.0
        for part in x.split(BATCH):
            x_hat = small(part)[:, 0]
            z = large.encode(part).dense(large.config.n_latents)[:, 0, j]
            before += (part - x_hat).double().square().sum().item()
            after += (part - x_hat - z[:, None] * large.W_dec[0, j]).double().square().sum().item()
        changes.append((after - before) / len(x))
    return np.array(changes)


@torch.no_grad()
def with_codes_kept(small: SAE, large: SAE, x: torch.Tensor, latents: np.ndarray) -> np.ndarray:
    """One encoding for all, then latent by latent."""
    error = torch.cat([part - small(part)[:, 0] for part in x.split(BATCH)])
    z = torch.cat([large.encode(part).dense(large.config.n_latents)[:, 0] for part in x.split(BATCH)])
    before = error.double().square().sum()
    changes = [(error - z[:, [j]] * large.W_dec[0, j]).double().square().sum() - before for j in latents]
    return np.array([change.item() for change in changes]) / len(x)


def timed(function, *args) -> tuple[float, np.ndarray]:
    """Wall seconds of one call, and what it gave."""
    start = time.perf_counter()
    found = function(*args)
    return time.perf_counter() - start, found


def main() -> None:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(description="Insertion of all latents at once against one by one.")
    parser.add_argument("--widths", type=int, nargs=2, default=[512, 1024])
    parser.add_argument("--architecture", default="topk", choices=["topk", "batch_topk", "relu", "jump_relu", "gated"])
    parser.add_argument("--k", type=int, default=16)
    parser.add_argument("--d-in", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=20_000)
    parser.add_argument("--sample", type=int, default=16, help="latents that the loops are timed on")
    parser.add_argument("--repetitions", type=int, default=5)
    args = parser.parse_args()
    small, large, x = pair(args)
    latents = np.random.default_rng(0).choice(args.widths[1], min(args.sample, args.widths[1]), replace=False)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; {args.architecture}, widths {args.widths}, "
          f"d_in {args.d_in}, {args.tokens} tokens; loops timed on {len(latents)} latents")  # fmt: skip
    insert(small, large, x.split(BATCH))  # warm-up
    ratios: dict[str, list[float]] = {"loop": [], "loop, codes kept": []}
    for _ in range(args.repetitions):
        seconds, found = timed(insert, small, large, x.split(BATCH))
        line = f"all at once: {seconds:.3f} s"
        for name, loop in (("loop", one_by_one), ("loop, codes kept", with_codes_kept)):
            taken, changes = timed(loop, small, large, x, latents)
            np.testing.assert_allclose(found.change[0, 0, latents], changes, rtol=1e-4, atol=1e-6 * found.mse[0])
            ratios[name].append(taken * args.widths[1] / len(latents) / seconds)
            line += f"; {name}: {taken * args.widths[1] / len(latents):.1f} s"
        print(line, flush=True)
    for name, values in ratios.items():
        print(f"{name}: {statistics.median(values):.0f} times as long ({min(values):.0f} to {max(values):.0f})")


if __name__ == "__main__":
    main()
