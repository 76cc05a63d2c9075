"""Stacks of random SAEs away from their first values, and activations for them."""

import torch

from sae_utils.data.activations import Normalisation
from sae_utils.saes import SAE, SAEConfig


def how_sparse(architecture, k=4, sparsity=0.1):
    """What a configuration needs beside sizes and architecture."""
    return {"k": k} if "topk" in architecture else {"sparsity": sparsity}


def raw_activations(n=50, d_in=6, seed=1):
    return 3 * torch.randn(n, d_in, generator=torch.Generator().manual_seed(seed)) + torch.arange(d_in)


def make(architecture, n_latents=24, seeds=(0, 1, 2), normalised=True, perturb=True):
    """A stack away from its first values, on raw activations with a mean and a scale."""
    normalisation = Normalisation.of(raw_activations()) if normalised else None
    sae = SAE.create(SAEConfig(6, n_latents, architecture, **how_sparse(architecture)), seeds, "hook", normalisation)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for p in sae.parameters() if perturb else ():
            p.add_(0.2 * torch.randn(p.shape, generator=generator))
        if perturb:
            sae.threshold.copy_(torch.rand(sae.n_dictionaries, generator=generator))
    return sae
