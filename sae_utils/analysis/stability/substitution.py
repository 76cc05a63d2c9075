"""Does a latent's partner in another seed do its work? (Functional substitution.)

One latent at a time is taken out of a dictionary's reconstruction, and the contribution of its partner, coded and
decoded by the other dictionary, is put in its place. The share of the error that the removal costs, and the partner
saves, is the work that is kept: 1 where it does the same, 0 where nothing does as well, below 0 where it does harm.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_utils.saes import SAE

CHUNK = 512  # tokens whose dense codes are in memory at once


Pair = tuple[int, int]  # positions in a stack: whose latents are replaced, and by whose


@torch.no_grad()
def kept_work(
    stack: SAE, partners: Mapping[Pair, Int[Tensor, " n"]], x: Float[Tensor, "tokens d_in"]
) -> dict[Pair, float]:
    """For each pair the share that partners keep, summed over the first one's latents that have a partner.

    ``partners`` hold -1 for a latent without. NaN where removing those latents costs nothing.
    """
    removed, saved = ({pair: 0.0 for pair in partners} for _ in range(2))
    for part in x.to(stack.W_dec.device).split(CHUNK):
        code = stack.encode(part)
        errors = (part[:, None] - stack.decode(code)) * stack.scale
        z = code.dense(stack.config.n_latents)
        for (i, j), partner in partners.items():
            has = partner >= 0
            rows, others = stack.W_dec[i][has], stack.W_dec[j][partner[has]]
            own, its = z[:, i][:, has], z[:, j][:, partner[has]]
            # |e + z d|^2 - |e|^2, and what of it is saved in |e + z d - z' d'|^2
            without = own * (2 * (errors[:, i] @ rows.T) + own * rows.square().sum(-1))
            toward = 2 * (errors[:, i] @ others.T) + 2 * own * (rows * others).sum(-1)
            removed[i, j] += without.double().sum().item()
            saved[i, j] += (its * (toward - its * others.square().sum(-1))).double().sum().item()
    return {pair: saved[pair] / cost if cost else float("nan") for pair, cost in removed.items()}
