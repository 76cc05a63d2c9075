"""What reading a batch costs, as a share of the training step it is for.

    python benchmarks/read_batches.py [--preset laptop]

Reads from the disk cache as training does (a block is gathered, permuted and cut into batches), and trains the preset's
stack of SAEs on what it read. Both are timed in the same loop.
"""

import argparse
import statistics
import time

from sae_utils.data.activations import open_source
from sae_utils.data.models.language_model import load_language_model
from sae_utils.data.text import token_rows
from sae_utils.paths import NOTEBOOKS, RESULTS
from sae_utils.run.parameters.presets import load_preset
from sae_utils.saes import SAE, SAEConfig
from sae_utils.saes.training import StackTrainer, TrainingConfig

TOKENS = 500_000  # a cache of eight blocks


def main() -> None:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(description="Reading a batch against the training step it is for.")
    parser.add_argument("--preset", default="laptop")
    args = parser.parse_args()
    notebook = NOTEBOOKS / "01_seed_divergence.ipynb"
    p = load_preset(args.preset).overrides[notebook.stem]
    model = load_language_model(p["model"])
    hook = model.hook_point(p["site"], p["layer"])
    rows = token_rows(p["corpus"], model.tokenizer, "train", TOKENS // model.context, model.context, RESULTS / "cache")
    source = open_source(model, rows, [hook], RESULTS / "cache")
    config = SAEConfig(source.d_in[hook], p["n_latents"], p["architecture"], k=p["k"])
    sae = SAE.create(config, range(p["n_seeds"]), hook, source.normalisation[hook])
    trainer = StackTrainer(sae, TrainingConfig(n_tokens=TOKENS, batch_size=p["batch_size"]))
    batches = source.batches(p["batch_size"], data_seed=0)
    reading, training = [], []
    for step in range(TOKENS // p["batch_size"] - 1):
        start = time.perf_counter()
        x = next(batches)[hook]
        read = time.perf_counter()
        trainer.step(step, x)
        reading.append(read - start)
        training.append(time.perf_counter() - read)
    # A block is read at once and cut into many batches, so the mean is what counts for reading.
    share = statistics.mean(reading) / statistics.mean(training)
    print(
        f"preset {args.preset}: {p['batch_size']} x {config.d_in}, {p['n_seeds']} SAEs of {config.n_latents} "
        f"latents: reading costs {share:.1%} of a training step (mean over {len(reading)} steps)"
    )


if __name__ == "__main__":
    main()
