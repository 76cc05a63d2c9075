"""Trained-looking dictionaries and ensembles of every architecture, made in no time."""

import torch
from helpers.random_saes import how_sparse

from sae_utils.data.activations import Normalisation
from sae_utils.saes import SAE, SAEConfig
from sae_utils.saes.ensembles import Ensemble


def stack(architecture="topk", n_seeds=3, d_in=12, n_latents=20, k=3, normalisation=None, hook="hook") -> SAE:
    """Dictionaries with random biases, thresholds and units, so that nothing is zero or one by chance."""
    units = normalisation or Normalisation(torch.linspace(-2, 3, d_in), 0.7)
    sae = SAE.create(
        SAEConfig(d_in, n_latents, architecture, **how_sparse(architecture, k)), range(n_seeds), hook, units
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in sae.named_parameters():
            if name.startswith("b_"):
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    sae.threshold.fill_(0.4)
    return sae


def activations(n=64, d_in=12, seed=0) -> torch.Tensor:
    """Raw activations whose mean and scale are those of ``stack``'s units, about."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, d_in, generator=generator) * 1.5 + torch.linspace(-2, 3, d_in)


def boosted(architecture="topk", n_members=3, weights=None) -> Ensemble:
    """A sequential ensemble whose later members have units of their own."""
    units = [Normalisation(torch.full((12,), 0.1 * j), 0.7 * 2**j) for j in range(n_members)]
    members = [stack(architecture, n_members).dictionary(0)]
    members += [stack(architecture, n_members, normalisation=units[j]).dictionary(j) for j in range(1, n_members)]
    return Ensemble(members, weights, sequential=True)
