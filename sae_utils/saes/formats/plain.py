"""What every format comes down to: one dictionary as plain tensors, in our orientation and in float32."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from sae_utils.data.activations.source import Normalisation
from sae_utils.errors import InputError
from sae_utils.saes.sae import SAE, Architecture, SAEConfig


@dataclass(frozen=True)
class Plain:
    """One dictionary whose encoder reads x - b_dec, as ``SAE`` does; what only some architectures have is None."""

    architecture: Architecture
    W_enc: Float[Tensor, "d_in n_latents"]
    W_dec: Float[Tensor, "n_latents d_in"]
    b_enc: Float[Tensor, " n_latents"]  # gated: the gate's
    b_dec: Float[Tensor, " d_in"]
    k: int | None = None
    threshold: Float[Tensor, " n_latents"] | None = None  # jump_relu; batch_topk: one number, repeated
    r_mag: Float[Tensor, " n_latents"] | None = None
    b_mag: Float[Tensor, " n_latents"] | None = None

    def reading_x(self) -> "Plain":
        """The same weights where the file's encoder reads x itself: x W = (x - b_dec) W + b_dec W."""
        shift = self.b_dec @ self.W_enc
        b_mag = None if self.b_mag is None else self.b_mag + shift * self.r_mag.exp()
        return replace(self, b_enc=self.b_enc + shift, b_mag=b_mag)

    def by_value_times_norm(self) -> "Plain":
        """The same function with decoder rows of norm 1, where the file chooses latents by value times decoder norm.

        Latents and their biases take up the norms; a threshold is of that product already.
        """
        norms = self.W_dec.norm(dim=1)
        norms = torch.where(norms > 0, norms, 1.0)
        return replace(self, W_enc=self.W_enc * norms, W_dec=self.W_dec / norms[:, None], b_enc=self.b_enc * norms)

    @torch.no_grad()
    def as_sae(self, seed: int = 0, hook_point: str = "", scale: float = 1.0) -> SAE:
        """A stack of one. ``scale`` multiplies x before the encoder. The sparsity coefficient, in no file, is 0."""
        n_latents, d_in = self.W_dec.shape
        norms = self.W_dec.norm(dim=1)
        config = SAEConfig(
            d_in,
            n_latents,
            self.architecture,
            k=self.k,
            sparsity=None if self.k is not None else 0.0,
            unit_norm_decoder=bool((norms - 1).abs().max() < 1e-3),
        )
        sae = SAE(config, [seed], hook_point, Normalisation(torch.zeros(d_in), scale))
        sae.encoder.copy_(self.W_enc.T[None])
        for name in ("W_dec", "b_enc", "b_dec"):
            getattr(sae, name).copy_(getattr(self, name)[None])
        if self.architecture == "gated":
            sae.r_mag.copy_(self.r_mag[None])
            sae.b_mag.copy_(self.b_mag[None])
        if self.architecture == "jump_relu":
            # All formats apply a ReLU besides the threshold: one below 0 means 0, whose logarithm is not finite.
            sae.log_threshold.copy_(self.threshold.clamp_min(torch.finfo(torch.float32).tiny).log()[None])
        if self.architecture == "batch_topk":
            sae.threshold.fill_(float(self.threshold[0].clamp_min(0.0)))
        return sae


def checked_weights(tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """The tensors in float32, whatever dtype the file has; InputError for values that are not finite numbers."""
    out = {}
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise InputError(f"{name} of {where} has dtype {tensor.dtype}; expected floating point")
        out[name] = tensor.float()
        if not torch.isfinite(out[name]).all():
            raise InputError(f"{name} of {where} holds values that are not finite")
    return out


def check_shapes(shapes: Mapping[str, tuple[int, ...]], axes: Mapping[str, str], where: str) -> dict[str, int]:
    """The size of each axis; ``axes`` names them by a letter: d for d_in, f for latents, "" for a single number.

    Raises InputError where a tensor is missing, unknown, or of another shape than the others and its axes say.
    """
    if shapes.keys() != axes.keys():
        missing, unknown = sorted(axes.keys() - shapes.keys()), sorted(shapes.keys() - axes.keys())
        raise InputError(f"{where} holds other tensors than its format: missing {missing}, unknown {unknown}")
    sizes: dict[str, int] = {}
    for name, letters in axes.items():
        shape = tuple(shapes[name])
        expected = tuple(sizes.get(letter, size) for letter, size in zip(letters, shape, strict=False))
        if len(shape) != len(letters) or shape != expected or 0 in shape:
            said = ", ".join(f"{'d_in' if x == 'd' else 'latents'} {sizes.get(x, '>= 1')}" for x in letters)
            raise InputError(f"{name} of {where} has shape {list(shape)}; expected [{said}]")
        sizes.update(zip(letters, shape, strict=True))
    return sizes
