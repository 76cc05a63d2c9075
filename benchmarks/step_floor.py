"""A training step's time for each SAE, as a multiple of a stack's floor: encoder product and top-k, nothing else.

    PYTHONPATH=.interop python benchmarks/step_floor.py [--repetitions 15] [--busy] [--sizes 0 1 2 3]

All alternate within one run; figures are medians over repetitions of the pairwise ratio to the floor. sparsify and
sae-lens train one SAE, as their trainers' steps do, where they are installed (./run_all.sh puts them in .interop).
``--busy`` measures the processor's time of the thread, for a machine that does other work; set OMP_NUM_THREADS=1.
"""

import argparse
import importlib.util
import statistics
import time

import torch

from sae_utils.saes import SAE, SAEConfig, kernels
from sae_utils.saes.training import StackTrainer, TrainingConfig

# d_in, latents, k, batch, SAEs in the stack
SIZES = [(256, 4096, 32, 2048, 8), (576, 4608, 32, 2048, 8), (128, 512, 16, 256, 8), (128, 128, 16, 256, 3)]
WARM_UP, STEPS = 2, 1_000_000


def ours(d_in, n_latents, k, batch, members):
    """The step of a stack, and its floor: two functions of a batch."""
    config = TrainingConfig(STEPS * batch, batch, warmup=1e-6, log_every=1000)
    sae = SAE.create(SAEConfig(d_in, n_latents, "topk", k=k), range(members), "x")
    trainer = StackTrainer(sae, config)

    @torch.no_grad()
    def floor(x):
        kernels.encode_top_k(x, sae.encoder, sae.b_enc, sae.b_dec, k)

    return (lambda x: trainer.step(STEPS // 100, x)), floor


def sparsify(d_in, n_latents, k, device="cpu"):
    """A step of one SAE as sparsify's trainer takes it with ``optimizer="adam"``, without 8-bit moments."""
    from sparsify.config import SparseCoderConfig
    from sparsify.sparse_coder import SparseCoder

    sae = SparseCoder(d_in, SparseCoderConfig(num_latents=n_latents, k=k), device, torch.float32)
    optimizer = torch.optim.Adam(sae.parameters(), lr=2e-4)

    def step(x):
        sae.set_decoder_norm_to_unit_norm()
        sae(x).fvu.backward()
        sae.remove_gradient_parallel_to_decoder_directions()
        optimizer.step()
        optimizer.zero_grad()

    return step


def sae_lens(d_in, n_latents, k, batch):
    """A step of one SAE by sae-lens's own trainer."""
    from sae_lens import TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    sae = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=d_in, d_sae=n_latents, k=k))
    trainer = SAETrainer(SAETrainerConfig(STEPS * batch, batch, lr=2e-4, lr_end=2e-5), sae, iter(()))
    return lambda x: trainer._train_step(sae, x)


def compare(size, repetitions: int, clock) -> None:
    """Print one line for one size."""
    d_in, n_latents, k, batch, members = size
    torch.manual_seed(0)
    batches = torch.randn(4, batch, d_in)
    stack, floor = ours(*size)
    one, floor_of_one = ours(*size[:4], 1)
    # Each with the number of its SAEs.
    steps = {"floor": (floor, members), f"stack of {members}": (stack, members)}
    steps |= {"floor of one": (floor_of_one, 1), "one": (one, 1)}
    if importlib.util.find_spec("sparsify"):
        steps["sparsify"] = sparsify(d_in, n_latents, k), 1
    if importlib.util.find_spec("sae_lens"):
        steps["sae-lens"] = sae_lens(d_in, n_latents, k, batch), 1
    seconds = {name: [] for name in steps}
    for repetition in range(WARM_UP + repetitions):
        for name, (step, n_saes) in steps.items():
            start = clock()
            step(batches[repetition % 4])
            seconds[name].append((clock() - start) / n_saes)
    shown = [f"floor {1e3 * statistics.median(seconds['floor'][WARM_UP:]):.2f} ms for each SAE"]
    for name in list(steps)[1:]:
        pairs = zip(seconds[name][WARM_UP:], seconds["floor"][WARM_UP:], strict=True)
        ratios = sorted(own / least for own, least in pairs)
        shown.append(f"{name} {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")
    print(f"d_in {d_in}, {n_latents} latents, k {k}, batch {batch}: {', '.join(shown)}", flush=True)


def main() -> None:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(description="A training step of each SAE of a stack against its floor.")
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--busy", action="store_true")
    parser.add_argument("--sizes", type=int, nargs="+", default=range(len(SIZES)))
    args = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, float32", flush=True)
    for i in args.sizes:
        compare(SIZES[i], args.repetitions, time.thread_time if args.busy else time.perf_counter)


if __name__ == "__main__":
    main()
