"""Training losses of the five architectures: pure functions of a stack and a normalised batch.

Each dictionary's loss is the published one divided by the batch's variance, so that its first term is the FVU::

    loss = (sum |x - x_hat|^2 + sparsity * sum penalty) / sum |x - mean(x)|^2      sums over the batch

Activations are normalised to E|x - mean|^2 = d_in, as Anthropic's L1 coefficients assume. Work that normalises to a
mean square of 1 (JumpReLU, Gemma Scope) has other units: there an L0 coefficient is d_in times smaller than here, an
L1 coefficient, a threshold and a bandwidth sqrt(d_in) times.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sae_utils.saes import kernels
from sae_utils.saes.sae import SAE


@dataclass(frozen=True)
class LossTerms:
    """What one batch gives for each dictionary of a stack; only ``loss`` carries a gradient."""

    loss: Float[Tensor, " S"]
    fvu: Float[Tensor, " S"]
    l0: Float[Tensor, " S"]
    fired: Bool[Tensor, "S n_latents"]  # latents active for at least one token
    variance: Float[Tensor, ""]  # of the batch, summed: what the loss is divided by
    smallest_kept: Float[Tensor, " S"] | None = None  # batch_topk: the smallest kept pre-activation


def training_loss(
    sae: SAE, x: Float[Tensor, "batch d_in"], dead: Bool[Tensor, "S n_latents"], error: Callable | None = None
) -> LossTerms:
    """Loss of one normalised batch. ``dead`` says which latents AuxK may revive; it is unused without AuxK.

    ``error`` stands in for ``whole_error`` with TopK and BatchTopK, and has its arguments and results.
    """
    variance = (x - x.mean(0)).pow(2).sum()
    if sae.config.architecture in ("topk", "batch_topk"):
        terms, x_hat = _sparse_terms(sae, x, variance, error)
    else:
        terms, x_hat = _dense_terms(sae, x, variance)
    if sae.config.auxk is None:
        return terms
    residual = (x[:, None] - x_hat).detach()
    revival = torch.stack([auxk_loss(sae, x, residual[:, s], dead[s], s) for s in range(sae.n_dictionaries)])
    return replace(terms, loss=terms.loss + sae.config.auxk_coefficient * revival / variance)


def squared_error(x: Float[Tensor, "batch d_in"], x_hat: Float[Tensor, "batch S d_in"]) -> Float[Tensor, " S"]:
    """Squared error of each dictionary, summed over tokens and dimensions."""
    return (x_hat - x[:, None]).pow(2).sum((0, 2))


def whole_error(
    sae: SAE, x: Float[Tensor, "batch d_in"], z: Float[Tensor, " nnz"], pattern: kernels.Pattern
) -> tuple[Float[Tensor, " S"], Float[Tensor, "batch S d_in"]]:
    """Squared error of the reconstruction by all active latents, and that reconstruction."""
    x_hat = kernels.sparse_decode(z, sae.W_dec, pattern).unflatten(0, (len(x), sae.n_dictionaries)) + sae.b_dec
    return squared_error(x, x_hat), x_hat


def _choose(sae: SAE, x):
    """The active latents of a batch with their pre-activations, no gradient: (values, pattern, smallest kept)."""
    k, n_latents = sae.config.k, sae.config.n_latents
    weights = sae.encoder, sae.b_enc, sae.b_dec
    if sae.config.architecture == "topk":
        values, latents = kernels.encode_top_k(x, *weights, k)
        return *kernels.keep_top_k(values, latents, n_latents), None
    # Few tokens need more than four times the average; where one does, offer twice as many and choose again.
    offered = min(4 * k, n_latents)
    while True:
        values, latents = kernels.encode_top_k(x, *weights, offered)
        kept, pattern, smallest, complete = kernels.keep_batch_top_k(values, latents, n_latents, k)
        if complete:
            return kept, pattern, smallest
        offered = min(2 * offered, n_latents)


def _sparse_terms(sae: SAE, x, variance, error=None) -> tuple[LossTerms, Float[Tensor, "batch S d_in"]]:
    """TopK (Gao et al. 2024) and BatchTopK (Bussmann et al. 2024), with sparse gradients."""
    with torch.no_grad():
        values, pattern, smallest = _choose(sae, x)
    z = kernels.sparse_encode(x, sae.encoder, sae.b_enc, sae.b_dec, values.to(x.dtype), pattern)
    minimised, x_hat = (error or whole_error)(sae, x, z, pattern)
    loss = minimised / variance
    fvu = squared_error(x, x_hat.detach()) / variance if error else loss.detach()
    # Whole numbers in floating point: in whatever order they are added, the sum is exact.
    counts = torch.zeros_like(sae.b_enc).flatten().scatter_add_(0, pattern.latents, (z.detach() > 0).to(x.dtype))
    counts = counts.view(sae.b_enc.shape)
    return LossTerms(loss, fvu, counts.sum(-1) / len(x), counts > 0, variance, smallest), x_hat


def _decode(z: Float[Tensor, "batch S n_latents"], W_dec, b_dec) -> Float[Tensor, "batch S d_in"]:
    return torch.bmm(z.transpose(0, 1), W_dec).transpose(0, 1) + b_dec


def _dense_terms(sae: SAE, x, variance) -> tuple[LossTerms, Float[Tensor, "batch S d_in"]]:
    """ReLU with L1, Gated and JumpReLU: nothing bounds their L0, so the code is dense."""
    pre = kernels.pre_activations(x, sae.encoder, sae.b_enc, sae.b_dec)
    norms = pre.new_ones(()) if sae.config.unit_norm_decoder else sae.W_dec.norm(dim=-1)
    auxiliary = 0.0
    match sae.config.architecture:
        case "relu":
            z = pre.relu()
            penalty = z * norms
        case "jump_relu":
            threshold = sae.log_threshold.exp()
            z, penalty = _JumpReLU.apply(pre, threshold, sae.config.bandwidth)
        case "gated":
            z = sae.activate(pre)
            gate = pre.relu()
            penalty = gate * norms
            # The gate must reconstruct alone, through a frozen decoder (Rajamanoharan et al. 2024a, eq. 8).
            auxiliary = squared_error(x, _decode(gate, sae.W_dec.detach(), sae.b_dec.detach()))
    x_hat = _decode(z, sae.W_dec, sae.b_dec)
    error = squared_error(x, x_hat)
    loss = (error + auxiliary + sae.config.sparsity * penalty.sum((0, 2))) / variance
    active = z.detach() > 0
    l0 = active.sum((0, 2)) / len(x)
    return LossTerms(loss, (error / variance).detach(), l0, active.any(0), variance), x_hat


def auxk_loss(sae: SAE, x, residual: Float[Tensor, "batch d_in"], dead: Bool[Tensor, " n_latents"], s: int):
    """Squared error of the residual's reconstruction by the ``auxk`` most active dead latents (Gao et al. 2024, A.2).

    ``residual`` and ``dead`` are those of dictionary ``s``. The gradient reaches decoder and encoder of the dead
    latents. 0 where no latent is dead.
    """
    rows = dead.nonzero().flatten()
    if not len(rows):
        return x.new_zeros(())
    weights = sae.encoder[s, rows][None], sae.b_enc[s, rows][None], sae.b_dec[s][None]
    with torch.no_grad():
        chosen = kernels.encode_top_k(x, *weights, min(sae.config.auxk, len(rows)))
        values, pattern = kernels.keep_top_k(*chosen, len(rows))
    z = kernels.sparse_encode(x, *weights, values.to(x.dtype), pattern)
    reconstruction = kernels.sparse_decode(z, sae.W_dec[s, rows][None], pattern)
    return (residual - reconstruction).pow(2).sum()


class _JumpReLU(torch.autograd.Function):
    """(pre * H, H), H = pre > threshold as 0 or 1, with straight-through gradients for the threshold.

    Where |pre - threshold| < bandwidth / 2 they are -threshold / bandwidth and -1 / bandwidth, else 0; pre gets none of
    H's (Rajamanoharan et al. 2024b, eq. 11 and 12, rectangle kernel).
    """

    @staticmethod
    def forward(ctx, pre, threshold, bandwidth):
        ctx.save_for_backward(pre, threshold)
        ctx.bandwidth = bandwidth
        above = pre > threshold
        return pre * above, above.to(pre.dtype)

    @staticmethod
    def backward(ctx, grad, grad_above):
        pre, threshold = ctx.saved_tensors
        near = (pre - threshold).abs() < ctx.bandwidth / 2
        of_value = -(threshold / ctx.bandwidth) * (near * grad).sum(0)
        return grad * (pre > threshold), of_value - (near * grad_above).sum(0) / ctx.bandwidth, None
