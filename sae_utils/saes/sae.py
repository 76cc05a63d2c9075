"""A stack of sparse autoencoders of one width and architecture."""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sae_utils.data.activations import check_number
from sae_utils.errors import InputError
from sae_utils.memory import MemoryPlan, check_fits, dictionary_bytes, free_memory
from sae_utils.saes import kernels
from sae_utils.saes.base import Dictionary, SparseCode

Architecture = Literal["relu", "gated", "topk", "batch_topk", "jump_relu"]
ARCHITECTURES: tuple[str, ...] = get_args(Architecture)


LEAST, MOST = 1e-30, 1e18  # of numbers above 0, far within float32 and, whole ones, within int64


def _is_whole(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


@dataclass(frozen=True)
class SAEConfig:
    """What a dictionary is, apart from its seed. Raises InputError for impossible values."""

    d_in: int  # dimensions of the activations
    n_latents: int  # width of the dictionary
    architecture: Architecture = "topk"
    k: int | None = None  # active latents per token: exactly (topk) or on average over a batch (batch_topk)
    sparsity: float | None = None  # coefficient of the sparsity penalty (relu, gated, jump_relu); see losses.py
    bandwidth: float = 0.05  # jump_relu: width of the kernel in the threshold's gradient, in normalised units
    first_threshold: float = 0.05  # jump_relu: threshold at the start, in normalised units
    unit_norm_decoder: bool = True  # False: free norms, and the penalty weighs each latent by its row's norm
    auxk: int | None = None  # dead latents per token that learn the residual (AuxK); None: no revival
    auxk_coefficient: float = 1 / 32  # weight of AuxK's loss (Gao et al. 2024, section A.2)
    encoder_bias: bool = True  # False: b_enc stays 0, as in meta-SAEs (Leask et al. 2025)

    def __post_init__(self):
        if self.architecture not in ARCHITECTURES:
            raise InputError(f"architecture={self.architecture!r} is unknown; allowed: {', '.join(ARCHITECTURES)}")
        for name in ("d_in", "n_latents"):
            value = getattr(self, name)
            if not _is_whole(value) or value < 1:
                raise InputError(f"{name}={value!r} must be a whole number of at least 1")
        self._check_sparsity()
        if self.auxk is not None and not (_is_whole(self.auxk) and 1 <= self.auxk <= self.n_latents):
            raise InputError(f"auxk={self.auxk!r} must be a whole number from 1 to n_latents={self.n_latents}")
        for name, least in (("bandwidth", LEAST), ("first_threshold", LEAST), ("auxk_coefficient", 0)):
            check_number(name, getattr(self, name), least, MOST)
        for name in ("unit_norm_decoder", "encoder_bias"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{name}={getattr(self, name)!r} must be True or False")

    def extend(self, sae: "SAE") -> None:
        """Give a new stack the tensors that only its method has; here none."""

    def _check_sparsity(self):
        if self.architecture in ("topk", "batch_topk"):
            if not _is_whole(self.k) or not 1 <= self.k <= self.n_latents:
                raise InputError(f"k={self.k!r} must be a whole number from 1 to n_latents={self.n_latents}")
            if self.sparsity is not None:
                raise InputError(f"sparsity={self.sparsity} has no meaning for {self.architecture!r}: set k alone")
        else:
            if self.k is not None:
                raise InputError(f"k={self.k} has no meaning for {self.architecture!r}: set sparsity instead")
            check_number("sparsity", self.sparsity, 0, MOST)


def _extra_parameters(config: SAEConfig) -> dict[str, float]:
    """Parameters [S, n_latents] that only some architectures have, with their first value."""
    return {
        "gated": {"r_mag": 0.0, "b_mag": 0.0},
        "jump_relu": {"log_threshold": float(torch.tensor(float(config.first_threshold)).log())},
    }.get(config.architecture, {})


class SAE(Dictionary, nn.Module):
    """S dictionaries of one width and architecture on one hook point; S = 1 is a single SAE.

    In normalised units x_n = (x - mean) * scale::

        pre   = (x_n - b_dec) W_enc + b_enc
        z     = activation(pre)          by architecture: ReLU, gate, k largest, above a threshold
        x_hat = (z W_dec + b_dec) / scale + mean

    Parameters carry the stack first: ``W_enc`` [S, d_in, n_latents], ``W_dec`` [S, n_latents, d_in], ``b_enc``
    [S, n_latents], ``b_dec`` [S, d_in]. The encoder is stored latent by latent (``encoder`` [S, n_latents, d_in],
    of which ``W_enc`` is a view), since its gradient comes row by row. ``threshold`` [S] is BatchTopK's at
    inference (Bussmann et al. 2024): a running mean, over about the last hundred
    training batches, of the smallest kept pre-activation.
    """

    def __init__(self, config: SAEConfig, seeds: Sequence[int], hook_point: str = "", normalisation=None):
        super().__init__()
        if not seeds:
            raise InputError("seeds=[] must name at least one seed")
        for seed in seeds:
            if isinstance(seed, bool) or not isinstance(seed, Integral) or not -(2**63) <= seed < 2**63:
                raise InputError(f"seeds={list(seeds)} must be whole numbers of 64 bits")
        self.config, self.seeds, self.hook_point = config, tuple(int(s) for s in seeds), hook_point
        shape = len(self.seeds), config.n_latents, config.d_in
        size = dictionary_bytes(shape[0], config.d_in, config.n_latents, config.architecture)
        check_fits(MemoryPlan(dictionaries=size), free_memory("cpu"), "cpu")
        self.encoder = nn.Parameter(torch.zeros(shape))
        self.W_dec = nn.Parameter(torch.zeros(shape))
        self.b_enc = nn.Parameter(torch.zeros(shape[:2]), requires_grad=config.encoder_bias)
        self.b_dec = nn.Parameter(torch.zeros(shape[0], shape[2]))
        for name, value in _extra_parameters(config).items():
            setattr(self, name, nn.Parameter(torch.full(shape[:2], value)))
        config.extend(self)
        self.register_buffer("threshold", torch.zeros(shape[0]))
        self.register_buffer("mean", torch.zeros(config.d_in))
        self.register_buffer("scale", torch.ones(()))
        if normalisation is not None:
            if normalisation.mean.shape != self.mean.shape:
                raise InputError(f"normalisation has {len(normalisation.mean)} dimensions, the SAE d_in={config.d_in}")
            self.mean.copy_(normalisation.mean)
            self.scale.fill_(normalisation.scale)

    @classmethod
    def create(cls, config: SAEConfig, seeds: Sequence[int], hook_point: str = "", normalisation=None) -> "SAE":
        """A new stack, one dictionary per seed: random unit decoder rows, W_enc = W_dec transposed, biases 0.

        Drawn by a CPU generator per seed, so a seed means the same dictionary on every device and in any stack.
        """
        sae = cls(config, seeds, hook_point, normalisation)
        with torch.no_grad():
            for i, seed in enumerate(sae.seeds):
                generator = torch.Generator().manual_seed(seed)
                rows = torch.randn(config.n_latents, config.d_in, generator=generator)
                sae.W_dec[i] = F.normalize(rows, dim=-1)
            sae.encoder.copy_(sae.W_dec)
        return sae

    def pre_activations(self, x: Float[Tensor, "batch d_in"]) -> Float[Tensor, "batch S n_latents"]:
        """Pre-activations of raw activations, in normalised units."""
        return kernels.pre_activations(self.normalise(x), self.encoder, self.b_enc, self.b_dec)

    def activate(self, pre: Float[Tensor, "batch S n_latents"]) -> Float[Tensor, "batch S n_latents"]:
        """The architecture's activation at inference, dense."""
        match self.config.architecture:
            case "relu":
                return pre.relu()
            case "gated":
                # pre is the gate's; magnitudes share its encoder up to a scale and their own bias (Rajamanoharan et
                # al. 2024a, eq. 5-7).
                magnitude = ((pre - self.b_enc) * self.r_mag.exp() + self.b_mag).relu()
                return magnitude * (pre > 0)
            case "jump_relu":
                return pre * (pre > self.log_threshold.exp())
            case "batch_topk":
                return pre * (pre > self.threshold[:, None])
            case "topk":
                values, indices = kernels.top_k(pre, self.config.k)
                return torch.zeros_like(pre).scatter_(-1, indices, values.relu())

    @torch.no_grad()
    def encode(self, x: Float[Tensor, "batch d_in"]) -> SparseCode:
        """Sparse code of raw activations; k is the largest number of active latents where it is not fixed."""
        if self.config.architecture == "topk":
            args = self.normalise(x), self.encoder, self.b_enc, self.b_dec
            values, indices = kernels.encode_top_k(*args, self.config.k)
            return SparseCode(values.relu(), indices)
        dense = self.activate(self.pre_activations(x))
        k = int((dense != 0).sum(-1).max()) if len(x) else 0
        values, indices = dense.topk(max(k, 1), dim=-1)
        return SparseCode(values.clamp_min(0.0), indices)

    @torch.no_grad()
    def copy(
        self,
        config: SAEConfig | None = None,
        seeds: Sequence[int] = (),
        hook_point: str | None = None,
        **tensors: Tensor,
    ) -> "SAE":
        """A copy that differs in what is given; ``tensors`` are parameters and buffers by name.

        All its parameters learn, whatever is frozen here. With another width or number of seeds every tensor of the new
        shape must be given.
        """
        hook_point = self.hook_point if hook_point is None else hook_point
        out = SAE(config or self.config, seeds or self.seeds, hook_point).to(self.W_dec)
        out.load_state_dict({**self.state_dict(), **tensors})
        return out

    def stacked(self) -> dict[str, Tensor]:
        """All tensors whose first axis is the stack, by name."""
        return {name: t for name, t in self.state_dict().items() if name not in ("mean", "scale")}

    def dictionary(self, index: int) -> "SAE":
        """One dictionary of the stack as a stack of one, a copy."""
        return self.copy(seeds=[self.seeds[index]], **{name: t[[index]] for name, t in self.stacked().items()})

    @torch.no_grad()
    def fold_normalisation(self) -> "SAE":
        """The same function of raw activations with mean 0 and scale 1: latents come in raw units, rows stay."""
        folded = {
            "mean": torch.zeros_like(self.mean),
            "scale": torch.ones_like(self.scale),
            "b_enc": self.b_enc / self.scale,
            "b_dec": self.mean + self.b_dec / self.scale,
            "threshold": self.threshold / self.scale,
        }
        if self.config.architecture == "gated":
            folded["b_mag"] = self.b_mag / self.scale
        if self.config.architecture == "jump_relu":
            folded["log_threshold"] = self.log_threshold - self.scale.log()
        return self.copy(**folded)
