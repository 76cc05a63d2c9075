"""All novel latents at once: does their sum count twice what the smaller SAE has, and what would make it add?

Each novel latent may lower the error alone, and all together may raise it. A TopK code is complete in itself: on every
token the larger SAE's latents reconstruct nearly all of x, so a large part of them reconstructs much of what the
smaller SAE's latents do already. Then one factor below 1 on the inserted sum helps, and so does letting the inserted
latents code what the smaller SAE *leaves* instead of x. An L1 penalty, in turn, makes the smaller SAE's activations too
small, so that almost anything that points the same way helps: what is left once they are enlarged by their best factor?
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from sae_utils.analysis.stitching.walk import PairError
from sae_utils.errors import InputError
from sae_utils.saes import SAE


@dataclass(frozen=True)
class Together:
    """What inserting a set of latents does; changes are of MSE, as shares of the smaller SAE's."""

    change: float
    cosine: float  # of the inserted sum with the smaller SAE's own, both without biases, over tokens
    factor: float  # on the inserted sum, that lowers MSE most on the tokens it was fitted on
    scaled_change: float  # with that factor, on other tokens
    unshrunk_factor: float  # on the smaller SAE's latents, likewise
    unshrunk_change: float  # of inserting the set into the SAE so enlarged, as a share of *its* MSE


def insert_together(fitting: PairError, judging: PairError, chosen: Int[np.ndarray, " n"]) -> Together:
    """The ``chosen`` latents of the larger SAE inserted at once; factors are fitted on ``fitting``'s tokens.

    Changes are NaN where nothing is chosen.
    """
    own, inserted = np.zeros((2, len(judging.linear)))
    own[: judging.n_small] = 1
    inserted[judging.n_small + chosen] = 1
    if not len(chosen):
        return Together(*6 * (float("nan"),))
    factor, excess = _best_factor(fitting, inserted), _best_factor(fitting, own)
    enlarged = judging.change(excess * own)
    product = own @ judging.quadratic @ inserted
    norms = own @ judging.quadratic @ own * (inserted @ judging.quadratic @ inserted)
    return Together(
        judging.change(inserted) / judging.mse,
        float(product / np.sqrt(norms)),
        factor,
        judging.change(factor * inserted) / judging.mse,
        1 + excess,
        (judging.change(excess * own + inserted) - enlarged) / (judging.mse + enlarged),
    )


def _best_factor(error: PairError, u: Float[np.ndarray, " m"]) -> float:
    return float(error.linear @ u / (u @ error.quadratic @ u))


@torch.no_grad()
def residuals(small: SAE, batches: Iterable[Float[Tensor, "batch d_in"]]) -> Iterator[Float[Tensor, "batch d_in"]]:
    """What the smaller SAE, a stack of one, leaves of each batch."""
    for x in batches:
        x = x.to(small.W_dec.device)
        yield x - small(x)[:, 0]


@torch.no_grad()
def code_the_residual(
    small: SAE, rows: Float[Tensor, "n d_in"], n_active: int, batches: Iterable[Float[Tensor, "batch d_in"]]
) -> float:
    """Change in MSE, as a share, where decoder rows code what the smaller SAE, a stack of one, leaves of each token.

    By matching pursuit: ``n_active`` times the row with the largest positive product with what is left, which it then
    takes away. Raises InputError without rows or activations.
    """
    rows = normalize(rows.detach().to(small.W_dec.device, torch.float64), dim=-1)
    if not len(rows):
        raise InputError("there are no rows to code a residual with")
    before, after = 0.0, 0.0
    for residual in residuals(small, batches):
        left = residual.double()
        before += float(left.square().sum())
        for _ in range(n_active):
            product, best = (left @ rows.T).max(1)
            left -= product.clamp_min(0)[:, None] * rows[best]
        after += float(left.square().sum())
    if not before:
        raise InputError("there are no activations to measure the stitching on")
    return after / before - 1
