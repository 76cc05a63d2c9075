"""Inputs of the checks: kernels' arguments, one stack per architecture, and batches on which every choice is clear.

A choice (the k largest, the sign of a pre-activation) may fall either way where two sums differ in their last bit, and
then gradients differ by a whole token. So batches are picked on which each choice is clear by ``MARGIN`` in float64.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from sae_utils.saes import SAE, SAEConfig, kernels

MARGIN = 5e-6
BATCH = 128  # tokens in a training batch
DEAD = 16  # latents that AuxK revives
CONFIGS = {
    "relu": SAEConfig(64, 256, "relu", sparsity=0.05),
    "relu, free norms": SAEConfig(64, 256, "relu", sparsity=0.05, unit_norm_decoder=False),
    "gated": SAEConfig(64, 256, "gated", sparsity=0.05),
    "jump_relu": SAEConfig(64, 256, "jump_relu", sparsity=0.05),
    "topk": SAEConfig(64, 256, "topk", k=8),
    "topk, AuxK": SAEConfig(64, 256, "topk", k=8, auxk=DEAD),
    "batch_topk": SAEConfig(64, 256, "batch_topk", k=8),
}
WIDE = SAEConfig(64, 4096, "topk", k=8)  # on CUDA searched in bfloat16


@dataclass(frozen=True)
class KernelSize:
    """Size at which the kernels are checked."""

    batch: int
    members: int
    d_in: int
    n_latents: int
    k: int


FULL = KernelSize(4096, 2, 768, 32_768, 32)
SMALL = KernelSize(64, 2, 32, 256, 4)


def encoder_arguments(size: KernelSize, generator: torch.Generator) -> tuple[Tensor, ...]:
    """x, encoder, b_enc, b_dec with pre-activations of order 1."""
    shapes = (size.batch, size.d_in), (size.members, size.n_latents, size.d_in), (size.members, size.n_latents)
    x, encoder, b_enc = (torch.randn(shape, generator=generator) for shape in shapes)
    return x, encoder / size.d_in**0.5, 0.1 * b_enc, 0.1 * torch.randn(size.members, size.d_in, generator=generator)


def stack(config: SAEConfig) -> SAE:
    """Two members, with every parameter moved off its first value, so that no gradient is trivially zero."""
    sae = SAE.create(config, [0, 1], "hook")
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in sae.parameters():
            p += 0.02 * torch.randn(p.shape, generator=generator)
        if config.unit_norm_decoder:
            sae.W_dec /= sae.W_dec.norm(dim=-1, keepdim=True)
    return sae


def clear_case(config: SAEConfig) -> tuple[SAE, Tensor]:
    """A stack and the first random batch on which every choice is clear."""
    sae = stack(config)
    for seed in range(1000):
        x = torch.randn(BATCH, config.d_in, generator=torch.Generator().manual_seed(seed))
        if _margin(sae, x) > MARGIN:
            return sae, x
    raise RuntimeError(f"no batch of 1,000 leaves every choice of {config.architecture} clear by {MARGIN}")


@torch.no_grad()
def _margin(sae: SAE, x: Tensor) -> float:
    """How far the pre-activations are from where the code would change, in float64."""
    double = copy.deepcopy(sae).double()
    pre = kernels.pre_activations(x.double(), double.encoder, double.b_enc, double.b_dec)
    distances: list[Tensor] = [pre[..., :DEAD].abs()] if sae.config.auxk else []
    match sae.config.architecture:
        case "relu":
            distances += [pre.abs()]
        case "gated":
            distances += [pre.abs(), ((pre - double.b_enc) * double.r_mag.exp() + double.b_mag).abs()]
        case "jump_relu":
            apart = (pre - double.log_threshold.exp()).abs()
            distances += [apart, (apart - sae.config.bandwidth / 2).abs()]
        case "topk":
            best = pre.topk(sae.config.k + 1, dim=-1).values
            distances += [best[..., -2] - best[..., -1], best[..., :-1].abs()]
        case "batch_topk":
            best = pre.transpose(0, 1).flatten(1).topk(len(x) * sae.config.k + 1, dim=-1).values
            distances += [best[:, -2] - best[:, -1], pre.abs()]  # its threshold at inference is still 0
    return min(d.min().item() for d in distances)
