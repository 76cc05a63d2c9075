"""Aligned training: each latent's encoder and decoder rows keep an inner product of 1."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sae_utils.saes.methods.method import Method
from sae_utils.saes.sae import SAE


@dataclass(frozen=True)
class Aligned(Method):
    """The constraint of aligned training (Brzozowski and Chung 2026, 2605.18629)::

        e_i . d_i = 1     for each latent i with encoder row e_i and decoder row d_i

    It has no coefficient, and stands beside any architecture; a new dictionary, whose rows are equal and of length 1,
    meets it. The paper keeps it by a reparameterisation, of which the abstract and its summaries, all that could be
    read, give no formula. Here each step ends at the nearest encoder rows that meet it: the set of allowed dictionaries
    is the paper's, the path of training within it need not be.
    """

    method: str = "aligned"

    def project(self, sae: SAE) -> None:
        """Put the encoder, a frozen one too, back where the constraint holds."""
        align(sae.encoder, sae.W_dec)


@torch.no_grad()
def align(encoder: Float[Tensor, "S n d"], W_dec: Float[Tensor, "S n d"]) -> None:
    """Move each encoder row, in place, to the nearest one whose inner product with its decoder row is 1."""
    missing = 1 - (encoder * W_dec).sum(-1, keepdim=True)
    length = W_dec.pow(2).sum(-1, keepdim=True).clamp_min(torch.finfo(W_dec.dtype).tiny)
    encoder.addcmul_(W_dec, missing / length)
