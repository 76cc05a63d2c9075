"""Sparse sums of planted unit directions: activations whose dictionary is known."""

import torch
import torch.nn.functional as F


def planted(n, d_in=24, n_features=32, active=3, noise=0.02, seed=0, dictionary_seed=0):
    """(activations [n, d_in], planted directions [n_features, d_in]); ``active`` of them on per token, on average."""
    directions = torch.randn(n_features, d_in, generator=torch.Generator().manual_seed(1000 + dictionary_seed))
    directions = F.normalize(directions, dim=-1)
    generator = torch.Generator().manual_seed(seed)
    on = torch.rand(n, n_features, generator=generator) < active / n_features
    sizes = 1 + 0.3 * torch.randn(n, n_features, generator=generator).abs()
    noise = noise * torch.randn(n, d_in, generator=generator)
    return (on * sizes) @ directions + noise, directions
