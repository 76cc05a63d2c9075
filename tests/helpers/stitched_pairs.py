"""Pairs of a small and a large stack of SAEs, as stitching takes them, and pairs that it refuses."""

import torch
from helpers.random_saes import make, raw_activations

from sae_utils.analysis.stitching.swap_groups import relate
from sae_utils.analysis.stitching.walk import pair_error
from sae_utils.data.activations import Normalisation
from sae_utils.saes import SAE, SAEConfig, evaluate

THRESHOLD = 0.7


def pair(architecture, dtype=torch.float64, seeds=((0, 1), (2, 3, 4)), widths=(24, 40)):
    """A small and a large stack of random SAEs, away from their first values, the large one with its own b_dec."""
    small, large = (make(architecture, n, s).to(dtype) for n, s in zip(widths, seeds, strict=True))
    with torch.no_grad():
        large.b_dec.add_(0.3)
        large.W_dec.mul_(1.3)
    return small, large, raw_activations(200, seed=5).to(dtype)


def mse(x, x_hat):
    return (x - x_hat).double().square().sum(1).mean().item()


def related(architecture, dtype=torch.float64):
    """A pair whose large SAE has noisy copies of the small one's latents, and some that never fire."""
    small, large, x = pair(architecture, dtype, seeds=((0,), (1,)))
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        noise = 0.3 * torch.randn(small.W_dec.shape, generator=generator).to(dtype)
        large.W_dec[:, :24] = small.W_dec + noise
        for sae in (small, large):
            for name in ("b_enc", "b_mag"):
                if hasattr(sae, name):
                    getattr(sae, name)[:, -3:] = -1000
    alive = [evaluate(sae, [x]).alive[0].numpy() for sae in (small, large)]
    relation = relate(small.W_dec[0], large.W_dec[0], THRESHOLD, *alive)
    return small, large, x, relation, pair_error(small, large, x.split(64))


def other(**changes):
    small, _, _ = pair("topk")
    normalisation = changes.get("normalisation", small.normalisation)
    d_in = len(normalisation.mean)
    return SAE(SAEConfig(d_in, changes.get("n", 40), k=4), [0], changes.get("hook", "hook"), normalisation).double()


REFUSALS = {
    "SAEs of different hook points cannot be stitched: 'hook' and 'elsewhere'": {"hook": "elsewhere"},
    "SAEs of different models cannot be stitched: d_in=6 and d_in=7": {
        "normalisation": Normalisation(torch.zeros(7), 1)
    },
    "SAEs of different normalisation": {"normalisation": Normalisation(torch.zeros(6), 1.0)},
    "widths are in the wrong order: the first SAE has 24 latents, the second 23": {"n": 23},
}
