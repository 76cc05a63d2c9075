"""Ordered SAEs: every prefix of the latents is to reconstruct, so each latent has a place of its own."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sae_utils.data.activations import check_number
from sae_utils.saes import kernels
from sae_utils.saes.losses import LossTerms, training_loss
from sae_utils.saes.methods.method import Method
from sae_utils.saes.sae import SAE

CHUNK = 256  # tokens whose active decoder rows are in memory at once


@dataclass(frozen=True)
class Ordered(Method):
    """Nested dropout over all prefixes (Wang et al. 2025, 2512.02194, sections 2.4 and 2.6)::

        loss = sum over l of p(l) |x - z[:l] W_dec[:l] - b_dec|^2,     p(l) ~ l^-exponent, l = 1 ... n_latents

    z is TopK's code, and AuxK is of the whole reconstruction. The sum is exact, not sampled. The paper does not say
    which p its language models had, only that it was the one of its Matryoshka baselines; with synthetic data p was
    that of the features' Zipf law, which is the form here. 0 weighs all prefixes alike. Its unit sweeping and its k
    that falls to its value, which the paper has for synthetic data, are left out.
    """

    method: str = "ordered"
    exponent: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        self.check_architecture("topk")
        check_number("exponent", self.exponent, 0, 100)

    def loss(self, sae: SAE, x, dead, step: int) -> LossTerms:
        """The expected squared error of a prefix in place of the one of the whole."""
        return training_loss(sae, x, dead, ordered_error)


def tail(config: Ordered) -> Float[Tensor, " n_latents"]:
    """Probability of the prefixes that hold each latent, float64: it falls from 1."""
    weights = torch.arange(1, config.n_latents + 1, dtype=torch.float64).pow(-config.exponent)
    return weights.flip(0).cumsum(0).flip(0) / weights.sum()


def ordered_error(
    sae: SAE, x: Float[Tensor, "batch d_in"], z: Float[Tensor, " nnz"], pattern: kernels.Pattern
) -> tuple[Float[Tensor, " S"], Float[Tensor, "batch S d_in"]]:
    """Expected squared error of a prefix, summed over tokens, and the reconstruction by all latents, no gradient."""
    with torch.no_grad():
        x_hat = kernels.sparse_decode(z, sae.W_dec, pattern).unflatten(0, (len(x), sae.n_dictionaries)) + sae.b_dec
    weights = tail(sae.config).to(x)
    with torch.autocast(x.device.type, enabled=False):  # bfloat16 is for the encoder's product alone
        return _OrderedError.apply(x, z, sae.W_dec, sae.b_dec, pattern, weights), x_hat


class _OrderedError(torch.autograd.Function):
    """Sum over prefixes without their reconstructions: with a_i the probability of the prefixes that hold latent i,

        sum over l of p(l) |r - sum_{i <= l} z_i d_i|^2 = |r|^2 - 2 sum_i a_i z_i d_i.r
                                                          + sum_ij min(a_i, a_j) z_i z_j d_i.d_j,     r = x - b_dec

    The gradients are made with the value, some tokens at a time; all tokens have as many active latents.
    """

    @staticmethod
    def forward(ctx, x, z, W_dec, b_dec, pattern, weights):
        n_dictionaries, n_latents, d_in = W_dec.shape
        table, shape = W_dec.flatten(0, 1), (len(x), n_dictionaries, -1)
        z, latents = z.view(shape), pattern.latents.view(shape)
        error, grad_W, grad_b = z.new_zeros(n_dictionaries), torch.zeros_like(table), torch.zeros_like(b_dec)
        grad_z = torch.empty_like(z)
        for start in range(0, len(x), CHUNK):
            here = slice(start, start + CHUNK)
            rows, codes, a = table[latents[here]], z[here], weights[latents[here] % n_latents]
            r = x[here, None] - b_dec
            both = torch.minimum(a[..., :, None], a[..., None, :]) * codes[..., None, :]
            grad = 2 * (both @ rows - a[..., None] * r[..., None, :])  # of z_i d_i, for each active latent
            grad_z[here] = (grad * rows).sum(-1)
            seen = ((a * codes)[..., None, :] @ rows).squeeze(-2)
            error += ((r - seen) * r).sum((0, 2)) + (codes * grad_z[here]).sum((0, 2)) / 2
            grad_b -= 2 * (r - seen).sum(0)
            by_latent, order = latents[here].flatten().sort(stable=True)
            pairs = order, by_latent, codes.flatten()[order]
            grad_W += kernels.sum_by_latent(grad.view(-1, d_in), *pairs, len(table))
        ctx.save_for_backward(grad_z, grad_W.view(W_dec.shape), grad_b)
        return error

    @staticmethod
    def backward(ctx, grad):
        grad_z, grad_W, grad_b = ctx.saved_tensors
        of_z = (grad[:, None] * grad_z).flatten()
        return None, of_z, grad[:, None, None] * grad_W, grad[:, None] * grad_b, None, None
