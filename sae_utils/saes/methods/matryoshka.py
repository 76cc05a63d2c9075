"""Matryoshka SAEs: the first latents alone must reconstruct, so they cannot leave general features to later ones."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sae_utils.data.activations import check_whole
from sae_utils.errors import InputError
from sae_utils.saes import kernels
from sae_utils.saes.losses import LossTerms, squared_error, training_loss
from sae_utils.saes.methods.method import Method
from sae_utils.saes.sae import SAE


@dataclass(frozen=True)
class Matryoshka(Method):
    """Nested dictionaries of ``widths``, which ascend to n_latents (Bussmann et al. 2025, 2503.17547, section 3.1)::

        loss = sum over m in widths of |x - z[:m] W_dec[:m] - b_dec|^2, and AuxK of the whole reconstruction

    z is the code of all latents, chosen together. The paper has BatchTopK and fixed widths, for 65,536 latents
    1/32, 3/32, 7/32, 15/32 and all of them. Prefixes sampled anew for each batch, its other variant, are left out.
    """

    method: str = "matryoshka"
    widths: tuple[int, ...] = ()

    def __post_init__(self):
        super().__post_init__()
        self.check_architecture("topk", "batch_topk")
        if not isinstance(self.widths, tuple | list):
            raise InputError(f"widths={self.widths!r} must be whole numbers, the last n_latents={self.n_latents}")
        object.__setattr__(self, "widths", tuple(self.widths))  # a list where a checkpoint is read
        for i, width in enumerate(self.widths):
            check_whole(f"widths[{i}]", width, 1)
        if sorted(set(self.widths)) != list(self.widths) or self.widths[-1:] != (self.n_latents,):
            raise InputError(f"widths={list(self.widths)} must ascend, and end with n_latents={self.n_latents}")

    def loss(self, sae: SAE, x, dead, step: int) -> LossTerms:
        """The squared errors of all prefixes in place of the one of the whole."""
        return training_loss(sae, x, dead, nested_error)


def nested_error(
    sae: SAE, x: Float[Tensor, "batch d_in"], z: Float[Tensor, " nnz"], pattern: kernels.Pattern
) -> tuple[Float[Tensor, " S"], Float[Tensor, "batch S d_in"]]:
    """Sum over the prefixes of their squared errors, and the reconstruction by all latents."""
    n_latents, widths = sae.config.n_latents, sae.config.widths
    dictionaries, latents = pattern.latents // n_latents, pattern.latents % n_latents
    x_hat, total, start = sae.b_dec, 0.0, 0
    # Each latent's row is used once: what a prefix adds to the one before it.
    for rows in sae.W_dec.split([b - a for a, b in zip((0, *widths), widths, strict=False)], dim=1):
        stop = start + rows.shape[1]
        here = (start <= latents) & (latents < stop)
        counts = torch.bincount(pattern.bags[here], minlength=len(pattern.starts))
        flat = dictionaries[here] * rows.shape[1] + latents[here] - start
        added = kernels.Pattern(flat, counts.cumsum(0) - counts, pattern.bags[here])
        x_hat = x_hat + kernels.sparse_decode(z[here], rows, added).unflatten(0, (len(x), sae.n_dictionaries))
        total = total + squared_error(x, x_hat)
        start = stop
    return total, x_hat
