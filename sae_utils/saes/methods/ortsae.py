"""OrtSAE: latents whose decoder rows point in nearly one direction are penalised."""

from dataclasses import dataclass, replace
from math import ceil

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from sae_utils.data.activations import check_number, check_whole
from sae_utils.errors import InputError
from sae_utils.saes.losses import LossTerms, training_loss
from sae_utils.saes.methods.method import Method
from sae_utils.saes.sae import MOST, SAE

BLOCK = 1024  # rows whose cosines with a whole chunk are in memory at once


@dataclass(frozen=True)
class OrtSAE(Method):
    """An orthogonality penalty (Korznikov et al. 2025, 2509.22033, equations 3 to 5)::

        loss = MSE + gamma * mean over K chunks C of mean over i in C of (max over j in C, j != i, of cos(d_i, d_j))^2

    d are decoder rows, and AuxK is as without it. At each step the latents are parted anew, at random, into
    K = ceil(n_latents / chunk) equal chunks. With ``every`` = 5 the penalty is taken at each fifth step, five times as
    strong (their appendix C). The paper has BatchTopK, gamma 0.25 and chunks of 8,192. Its MSE is written as a sum over
    dimensions, while the code that it builds on (BatchTopK's) takes the mean over the dimensions of inputs of variance
    1; the latter is what our loss, the FVU, comes to, so gamma weighs the penalty against the FVU.
    """

    method: str = "ortsae"
    gamma: float = 0.25
    chunk: int = 8192
    every: int = 1

    def __post_init__(self):
        super().__post_init__()
        check_number("gamma", self.gamma, 0, MOST)
        check_whole("chunk", self.chunk, 2)
        check_whole("every", self.every, 1)
        if self.n_latents // ceil(self.n_latents / self.chunk) < 2:
            raise InputError(f"chunk={self.chunk} leaves one of n_latents={self.n_latents} alone in a chunk")

    def loss(self, sae: SAE, x, dead, step: int) -> LossTerms:
        """The loss without a method and the penalty."""
        terms = training_loss(sae, x, dead)
        if step % self.every:
            return terms
        pairs = zip(sae.W_dec, sae.seeds, strict=True)
        penalty = torch.stack([orthogonality(rows, chunks(self, seed, step)) for rows, seed in pairs])
        return replace(terms, loss=terms.loss + self.every * self.gamma * penalty)


def chunks(config: OrtSAE, seed: int, step: int) -> list[Int[Tensor, " latents"]]:
    """The latents of each chunk at a step: of the dictionary's own seed, so that in a stack it has those it has alone.

    Drawn on the CPU, so that every device has the same.
    """
    n_chunks = ceil(config.n_latents / config.chunk)
    if n_chunks == 1:
        return [torch.arange(config.n_latents)]
    generator = torch.Generator().manual_seed((seed + 1_000_003 * (step + 1)) % 2**63)
    return list(torch.randperm(config.n_latents, generator=generator).tensor_split(n_chunks))


def orthogonality(rows: Float[Tensor, "n_latents d_in"], parts: list[Int[Tensor, " latents"]]) -> Float[Tensor, ""]:
    """Mean over the parts of the mean squared cosine of each row with the nearest other row of its part."""
    directions, penalty = F.normalize(rows, dim=-1, eps=1e-8), 0.0
    for part in parts:
        own = directions[part.to(rows.device)]
        penalty = penalty + (own * own[nearest(own.detach())]).sum(-1).pow(2).mean()
    return penalty / len(parts)


def nearest(directions: Float[Tensor, "n d"]) -> Int[Tensor, " n"]:
    """The other row with the largest inner product with each, no gradient."""
    found = []
    for start in range(0, len(directions), BLOCK):
        with torch.autocast(directions.device.type, enabled=False):  # bfloat16 is for the encoder's product alone
            products = directions[start : start + BLOCK] @ directions.T
        products.diagonal(start).fill_(-torch.inf)
        found.append(products.argmax(-1))
    return torch.cat(found)
