"""Small stacks whose method is proven against a dense form, a batch for them, and their codes written out densely."""

import torch

from sae_utils.saes import SAE

D_IN, N, K, BATCH = 5, 12, 3, 40


def batch():
    return torch.randn(BATCH, D_IN, generator=torch.Generator().manual_seed(9), dtype=torch.float64) + 0.5


def perturbed(sae, n_dictionaries=2):
    """A stack away from its first values, float64, by a configuration or as it is given."""
    sae = sae if isinstance(sae, SAE) else SAE.create(sae, range(n_dictionaries)).double()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in (p for p in sae.parameters() if p.requires_grad):
            p.add_(0.3 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return sae


def dense_code(p, x, architecture):
    """The code [batch, N] of one dictionary, TopK's or BatchTopK's, from its parameters by name."""
    pre = (x - p["b_dec"]) @ p["encoder"].T + p["b_enc"]
    if architecture == "topk":
        return torch.zeros_like(pre).scatter(1, pre.topk(K).indices, 1) * pre.relu()
    return pre.relu() * (pre >= pre.flatten().topk(K * len(x)).values[-1])


def of_one(sae, s):
    """The learned parameters of dictionary ``s`` by name, leaves of a graph of their own."""
    return {name: t[s].detach().clone().requires_grad_() for name, t in sae.named_parameters() if t.requires_grad}


def total_variance(x):
    return (x - x.mean(0)).pow(2).sum()
