"""Steps around the optimiser: schedule, clipping and unit-norm decoders, each dictionary of a stack by itself."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from sae_utils.saes.bags import triton_for


def learning_rate(n_latents: int, base: float) -> float:
    """Base / sqrt(n_latents / 2^14), as EleutherAI's sparsify scales it from 2e-4 (December 2024)."""
    return base / (n_latents / 2**14) ** 0.5


def schedule(step: int, n_steps: int, warmup: float, decay: float) -> float:
    """Factor of the learning rate: up over the first ``warmup`` of the steps, down over the last ``decay``."""
    up = (step + 1) / max(1.0, warmup * n_steps)
    down = (n_steps - step) / max(1.0, decay * n_steps)
    return min(1.0, up, down)


@torch.no_grad()
def remove_parallel_gradient(grad: Float[Tensor, "S n d"], rows: Float[Tensor, "S n d"]) -> None:
    """Take out of ``grad``, in place, what would only stretch or shrink the unit ``rows``."""
    if triton := triton_for(grad, rows):
        return triton.remove_parallel(grad, rows)
    grad.addcmul_(rows, (grad * rows).sum(-1, keepdim=True), value=-1)


@torch.no_grad()
def normalise_rows(rows: Float[Tensor, "S n d"]) -> None:
    """Scale each row to norm 1, in place."""
    if triton := triton_for(rows):
        return triton.normalise(rows)
    rows.div_(rows.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(rows.dtype).tiny))


@torch.no_grad()
def clip_per_dictionary(grads: Sequence[Tensor], largest: float) -> Float[Tensor, " S"]:
    """Scale each dictionary's gradients, in place, to a joint norm of at most ``largest``; returns the norms before.

    Each by itself, so that a dictionary trained in a stack takes the steps that it would take alone.
    """
    norms = torch.stack([g.flatten(1).norm(dim=1) for g in grads]).norm(dim=0)
    factor = (largest / norms.clamp_min(largest)).to(grads[0].dtype)
    for grad in grads:
        grad.mul_(factor.view(-1, *[1] * (grad.ndim - 1)))
    return norms
