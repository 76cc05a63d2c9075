"""Stacks of dictionaries whose rows, or whose overlap, are planted: what is in which is known."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sae_utils.analysis.directions import random_directions
from sae_utils.saes import SAE, SAEConfig


def sae_of(decoders: Float[Tensor, "S n d"], encoders=None, architecture="topk", **how) -> SAE:
    """A stack with these rows, of one dtype with them; encoders are the decoders if none are given, biases are 0."""
    sae = SAE(SAEConfig(decoders.shape[2], decoders.shape[1], architecture, **how), range(len(decoders)))
    with torch.no_grad():
        sae.to(decoders.dtype).W_dec.copy_(decoders)
        sae.encoder.copy_(decoders if encoders is None else encoders)
    return sae


def planted(held: Bool[np.ndarray, "S atoms"], n: int, d: int, seed: int = 0) -> Float[Tensor, "S n d"]:
    """Dictionary s holds the atoms of ``held[s]`` and own random directions, ``n`` in all, in any order and scale."""
    n_seeds, n_atoms = held.shape
    pool = random_directions(n_atoms + n_seeds * n, d, seed)
    atoms, own = pool[:n_atoms], pool[n_atoms:].view(n_seeds, n, d)
    generator = torch.Generator().manual_seed(seed + 1)
    stack = []
    for s in range(n_seeds):
        rows = torch.cat([atoms[torch.from_numpy(held[s])], own[s]])[:n]
        stack.append(rows[torch.randperm(n, generator=generator)] * (0.1 + torch.rand(n, 1, generator=generator)))
    return torch.stack(stack)


def noisy(n_seeds: int, n: int, d: int, seed: int = 0, noise: float = 1.0):
    """Encoders and decoders [S, n, d] that are alike by degrees, each dictionary in an order of its own."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    atoms, level = normal(n, d), noise * torch.rand(n, 1, generator=generator)
    orders = [torch.randperm(n, generator=generator) for _ in range(n_seeds)]
    decoders = torch.stack([(atoms + level * normal(n, d))[order] for order in orders])
    # An encoder is like its own decoder, so that both matchings may agree on a partner and be wrong.
    return decoders + 0.5 * normal(n_seeds, n, d), decoders
