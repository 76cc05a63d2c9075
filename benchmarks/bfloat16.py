"""A language model in bfloat16 against float32: speed, activations, and what two seeds share when trained on either.

    python benchmarks/bfloat16.py [--model smollm2-135m --layer 9 --site mlp_out]

Whether bfloat16 pays depends on the processor (AVX512-BF16, AMX, a GPU); what it changes does not. Small dictionaries
read the activations several times over, for the share of latents of two seeds is to be far from 0.
"""

import argparse
import time

import torch

from sae_utils.analysis.directions import covariance
from sae_utils.analysis.matching.matching import SeedOverlap
from sae_utils.analysis.matching.metric import in_metric
from sae_utils.analysis.matching.overlap import overlap_of_pairs
from sae_utils.data.models.language_model import load_language_model
from sae_utils.data.text import token_rows
from sae_utils.saes import SAE, SAEConfig
from sae_utils.saes.training import StackTrainer, TrainingConfig

CONTEXT, BATCH = 128, 128
DTYPES = ("float32", "bfloat16")


def activations(options: argparse.Namespace, dtype: str) -> tuple[torch.Tensor, float]:
    """Activations [tokens, d] in float32, without each row's first token; and tokens in a second."""
    lm = load_language_model(options.model, dtype=dtype)
    rows = torch.from_numpy(
        token_rows(options.corpus, lm.tokenizer, "train", options.tokens // CONTEXT, CONTEXT)
    ).long()
    hook = lm.hook_point(options.site, options.layer)
    lm.activations(rows[:4], [hook])
    start = time.perf_counter()
    found = [lm.activations(some, [hook])[hook][:, 1:].float() for some in rows.split(8)]
    return torch.cat(found).flatten(0, 1), rows.numel() / (time.perf_counter() - start)


def trained(x: torch.Tensor, options: argparse.Namespace) -> SAE:
    """Two seeds of a TopK dictionary on ``passes`` readings of the activations, each in another order."""
    mean, rms = x.mean(0), (x - x.mean(0)).pow(2).sum(1).mean().sqrt()
    sae = SAE.create(SAEConfig(x.shape[1], options.latents, "topk", options.k), [0, 1], "x")
    with torch.no_grad():
        sae.mean.copy_(mean.expand_as(sae.mean))
        sae.scale.copy_((x.shape[1] ** 0.5 / rms).expand_as(sae.scale))
    config = TrainingConfig(options.passes * len(x), BATCH, base_lr=1.6e-3)
    trainer, generator = StackTrainer(sae, config), torch.Generator().manual_seed(0)
    order = torch.cat([torch.randperm(len(x), generator=generator) for _ in range(options.passes)])
    for step, batch in enumerate(order[: config.n_steps * BATCH].split(BATCH)):
        trainer.step(step, x[batch])
    return sae


def shared(overlap: SeedOverlap) -> float:
    """Paper A's strict share."""
    return overlap.fraction(overlap.shared("strict"))


def main() -> None:
    """Print one line for each question."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--corpus", default="installed-python")
    parser.add_argument("--layer", type=int, default=9)
    parser.add_argument("--site", default="mlp_out")
    for name, value in {"tokens": 16_384, "passes": 20, "latents": 192, "k": 16}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    x, speed = {}, {}
    for dtype in DTYPES:
        x[dtype], speed[dtype] = activations(options, dtype)
    exact, rounded = x["float32"], x["bfloat16"]
    apart = (exact - rounded).pow(2).sum(1) / (exact - exact.mean(0)).pow(2).sum(1)
    ratio = speed["bfloat16"] / speed["float32"]
    print(f"tokens in a second: {speed['float32']:.0f} in float32, {ratio:.2f} x as many in bfloat16")
    print(f"squared difference / variance: median {apart.median():.1e}, 99 % below {apart.quantile(0.99):.1e}")
    saes = {dtype: trained(x[dtype], options) for dtype in DTYPES}
    encoders = in_metric(torch.cat([sae.encoder for sae in saes.values()]).detach(), covariance([exact]))
    decoders = torch.cat([sae.W_dec for sae in saes.values()]).detach()
    pairs = overlap_of_pairs(encoders, decoders)
    print(f"two seeds share, float32: {shared(pairs[0, 1]):.3f}, bfloat16: {shared(pairs[2, 3]):.3f}")
    print(f"one seed, float32 and bfloat16, shares: {shared(pairs[0, 2]):.3f} and {shared(pairs[1, 3]):.3f}")


if __name__ == "__main__":
    main()
