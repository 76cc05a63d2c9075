"""Paper A's question at its own width, on a GPU: the dictionaries of a preset's notebook 01, and what some pairs share.

    python benchmarks/paper_width.py [--preset a-smollm2-135m --tokens 8000000 --pairs 2]

Trained and evaluated as in the notebook. That then matches ten pairs of seeds in fourteen ways, which takes hours at
32,768 latents; here each pair is compared as published, in the data's metric, and with its null (random rows with the
decoders' second moment, encoder and decoder tied), side by side in processes of their own.
"""

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import torch

from sae_utils.analysis import directions
from sae_utils.analysis.matching import Rows, compare
from sae_utils.analysis.matching.metric import in_metric
from sae_utils.analysis.matching.overlap import latent_values
from sae_utils.data.models.language_model import load_language_model
from sae_utils.paths import NOTEBOOKS
from sae_utils.run.plans import open_plan, plan_of
from sae_utils.run.train import planned_of
from sae_utils.saes import cross_entropy_recovered, evaluate
from sae_utils.saes.training import train_cells

NOTEBOOK = "01_seed_divergence"
SHOWN = ("shared_strict", "shared_notebook", "shared_decoder_only", "agree", "decoder_cosine", "encoder_cosine")
THREADS = 2  # of a comparison


def shares(first: Rows, second: Rows) -> dict[str, float]:
    """Means over the latents of the first."""
    torch.set_num_threads(THREADS)
    overlap = compare(first, second)
    return {name: float(latent_values(overlap, name).mean()) for name in SHOWN}


def comparisons(sae, alive, covariance, n_pairs: int):
    """(name, first, second) of all that is compared."""
    encoders, decoders, alive = (t.detach().cpu() for t in (sae.encoder, sae.W_dec, alive))
    spread = {directions.DECODERS: directions.second_moment(decoders.flatten(0, 1)[alive.flatten()])}
    kind = f"{directions.DECODERS}_{directions.TIED}"
    null_encoders, null_decoders = directions.null_stacks(tuple(alive.shape), spread, seed=0)[kind]
    sides = {
        "as published": (encoders, decoders),
        "in the data's metric": (in_metric(encoders, covariance), decoders),
        "null, in the data's metric": (in_metric(null_encoders, covariance), null_decoders),
    }
    for i in range(0, 2 * n_pairs, 2):
        for name, (e, d) in sides.items():
            # Copies: a process is sent the whole of what a part is a view of.
            yield f"seeds {i}, {i + 1}, {name}", *(Rows(*(t[j].clone() for t in (e, d, alive))) for j in (i, i + 1))


def main() -> None:
    """Print one line for each question."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--preset", default="a-smollm2-135m")
    parser.add_argument("--tokens", type=int, default=0, help="to train on; 0: the preset's")
    parser.add_argument("--pairs", type=int, default=2, help="of seeds 0 and 1, 2 and 3, ... to compare")
    parser.add_argument("--cache", type=Path, default=Path("results/cache"))
    options = parser.parse_args()
    p, plan = planned_of(options.preset, NOTEBOOKS, "01")[NOTEBOOK]
    lm = load_language_model(p.model, p.device, dtype=p.dtype)
    if options.tokens:
        p.n_tokens = options.tokens
        plan = plan_of(NOTEBOOK, p, lm)
    start = time.perf_counter()
    rows, sources = open_plan(plan, lm, p.corpus, options.cache)
    (cell,) = plan.cells
    print(f"text and activations: {time.perf_counter() - start:.0f} s for {cell.reads.n_tokens:,} tokens", flush=True)
    start = time.perf_counter()
    sae = train_cells([cell], sources, options.cache, p.device, progress=False)[cell.name]
    seconds = time.perf_counter() - start
    rate = p.n_tokens * len(cell.seeds) / seconds
    print(f"{len(cell.seeds)} dictionaries of {cell.config.n_latents:,} latents, d_in {cell.config.d_in}, batch "
          f"{p.batch_size}: {seconds:.0f} s, {rate:,.0f} tokens x SAEs/s")  # fmt: skip
    if p.device != "cpu":
        print(f"peak memory {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB on {torch.cuda.get_device_name()}")
    (held_out,) = [source for reads, source in sources.items() if reads.split == "held_out"]

    def batches():
        some = islice(held_out.batches(p.batch_size, p.data_seed, device=p.device), held_out.n_tokens // p.batch_size)
        return (batch[cell.hook_point] for batch in some)

    quality = evaluate(sae, batches())
    recovered = [one.recovered for one in cross_entropy_recovered(lm, [sae], rows["held_out"][:64])]
    for name, values in {
        "explained variance": quality.explained_variance,
        "trimmed": quality.explained_variance_trimmed,
        "L0": quality.l0,
        "dead latents": quality.dead_fraction,
        "cross-entropy recovered": torch.tensor(recovered),
    }.items():
        print(f"{name}: {values.min():.3f} to {values.max():.3f}", flush=True)
    covariance = directions.covariance(batches()).cpu()
    work = list(comparisons(sae, quality.alive, covariance, options.pairs))
    start = time.perf_counter()
    with ProcessPoolExecutor(len(work), get_context("spawn")) as pool:
        running = [(name, pool.submit(shares, first, second)) for name, first, second in work]
        for name, one in running:
            print(f"{name}: " + ", ".join(f"{what} {value:.3f}" for what, value in one.result().items()), flush=True)
    print(f"{len(work)} comparisons: {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
