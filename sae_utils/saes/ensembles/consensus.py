"""A consensus dictionary: latents that several seeds found, each the mean of its versions, and a brief refit."""

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F

from sae_utils.errors import InputError
from sae_utils.saes.sae import SAE

Group = Sequence[tuple[int, int]]  # (position in the stack, latent): versions of one latent


@torch.no_grad()
def merge(stack: SAE, groups: Sequence[Group], seed: int = 0) -> SAE:
    """A dictionary with one latent for each group of a stack's latents.

    Its decoder row is the mean of the group's unit rows, scaled to length one; encoder row, bias and what else belongs
    to a latent are means; the decoder bias is the mean of the dictionaries that occur. ``seed`` only names it.
    Raises InputError for no group, an empty one, and fewer groups than active latents.
    """
    if not groups or not all(groups):
        raise InputError("a consensus dictionary needs at least one group, and in each group at least one latent")
    if stack.config.k is not None and len(groups) < stack.config.k:
        raise InputError(f"{len(groups)} groups of latents are fewer than the k={stack.config.k} active on a token")
    owner = torch.tensor([i for i, group in enumerate(groups) for _ in group])
    positions, latents = torch.tensor([pair for group in groups for pair in group]).T
    sizes = torch.bincount(owner).to(stack.W_dec)

    def mean(rows: torch.Tensor) -> torch.Tensor:
        sums = rows.new_zeros(len(groups), *rows.shape[1:]).index_add_(0, owner.to(rows.device), rows)
        return sums / sizes.view(-1, *[1] * (rows.ndim - 1))

    merged = {"threshold": stack.threshold[positions.unique()].mean()[None]}
    for name, parameter in stack.named_parameters():
        if name == "b_dec":
            value = parameter[positions.unique()].mean(0)
        elif name == "W_dec":
            value = F.normalize(mean(F.normalize(parameter[positions, latents], dim=-1)), dim=-1)
        else:
            value = mean(parameter[positions, latents])
        merged[name] = value[None]
    return stack.copy(replace(stack.config, n_latents=len(groups), auxk=None), [seed], **merged)
