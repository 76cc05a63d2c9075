"""Several dictionaries of one kind as one stack: what a comparison of seeds starts from."""

from collections.abc import Sequence

import torch

from sae_utils.errors import InputError
from sae_utils.saes.sae import SAE


@torch.no_grad()
def stack_saes(saes: Sequence[SAE]) -> SAE:
    """The members of ``saes`` in one stack, copied, in order.

    Raises InputError where they differ in settings, hook point or normalisation: those belong to the stack.
    """
    if not saes:
        raise InputError("saes=[] must hold at least one SAE")
    first = saes[0]
    for i, sae in enumerate(saes):
        for what in ("config", "hook_point"):
            if getattr(sae, what) != getattr(first, what):
                raise InputError(f"SAE {i} has {what} {getattr(sae, what)}, SAE 0 has {getattr(first, what)}")
        if not (torch.equal(sae.mean, first.mean) and torch.equal(sae.scale, first.scale)):
            raise InputError(f"SAE {i} has another normalisation than SAE 0: fold_normalisation() makes them equal")
    out = SAE(first.config, [seed for sae in saes for seed in sae.seeds], first.hook_point, first.normalisation)
    out.to(first.W_dec)
    for name, parameter in out.named_parameters():
        parameter.copy_(torch.cat([sae.get_parameter(name) for sae in saes]))
    out.threshold.copy_(torch.cat([sae.threshold for sae in saes]))
    return out
