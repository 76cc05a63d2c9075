"""An ``SAE`` or an ``Ensemble`` as a custom SAE of SAEBench, by the interface of its ``custom_saes/README.md``.

SAEBench itself is not imported: its pins conflict with ours. It asks for ``encode``, ``decode`` and ``forward`` on
[..., d_in]; for ``W_enc``, ``W_dec`` with rows of norm 1, ``b_enc`` and ``b_dec``; for ``device``, ``dtype`` and
``to``; and for ``cfg``, a dataclass with the names of SAELens before version 6.
"""

import re
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sae_utils.errors import InputError
from sae_utils.saes.ensembles.ensemble import Ensemble
from sae_utils.saes.formats.common import hooked_name, row_norms
from sae_utils.saes.sae import SAE

THEIRS = {"relu": "standard", "jump_relu": "jumprelu"}  # other architectures have the same name there


@dataclass(frozen=True)
class Metadata:
    """What newer evaluations read from ``cfg.metadata``."""

    context_size: int | None
    hook_name: str
    hook_head_index: int | None
    seqpos_slice: tuple
    prepend_bos: bool


@dataclass
class SAEBenchConfig:
    """The fields that SAEBench reads from ``cfg``; those without a meaning here have its own defaults."""

    model_name: str  # as TransformerLens and SAEBench call it, "pythia-160m-deduped"
    d_in: int
    d_sae: int
    hook_layer: int
    hook_name: str
    context_size: int | None = None
    hook_head_index: int | None = None
    metadata: Metadata | None = None
    architecture: str = ""
    apply_b_dec_to_input: bool = True
    finetuning_scaling_factor: bool = False
    activation_fn_str: str = ""
    activation_fn_kwargs: dict = field(default_factory=dict)
    prepend_bos: bool = True
    normalize_activations: str = "none"
    dtype: str = "float32"
    device: str = "cpu"
    model_from_pretrained_kwargs: dict = field(default_factory=dict)
    dataset_path: str = ""
    dataset_trust_remote_code: bool = True
    seqpos_slice: tuple = (None,)
    training_tokens: int = -1
    sae_lens_training_version: str | None = None
    neuronpedia_id: str | None = None


class SAEBenchSAE(nn.Module):
    """One dictionary, or an ensemble as one, under SAEBench's names; reads raw activations.

    Latents are in raw units times the norm of their decoder row, which is then 1: the reconstruction stays the same.
    The dictionary encodes in float32 whatever ``dtype`` the activations and weights have. ``encode`` has no gradient.
    For an ensemble ``W_enc`` and ``b_enc`` are the members' own side by side; in a boosted one each reads what the
    members before it leave, so that only ``encode`` gives its latents.
    """

    def __init__(
        self,
        dictionary: SAE | Ensemble,
        model_name: str,
        context_size: int | None = None,
        training_tokens: int = -1,
        prepend_bos: bool = True,
    ):
        super().__init__()
        if dictionary.n_dictionaries != 1:
            raise InputError(
                f"SAEBench takes one SAE, not a stack of {dictionary.n_dictionaries}: take .dictionary(index)"
            )
        name = hooked_name(dictionary.hook_point, model_name)
        match = re.fullmatch(r"blocks\.(\d+)\.hook_\w+", name)
        if match is None:
            raise InputError(
                f"hook point {dictionary.hook_point!r} names no layer; expected 'blocks.3.hook_resid_post'"
            )
        folded = dictionary.fold_normalisation().requires_grad_(False).float()
        # In a tuple, so that nn.Module does not see it: .to(bfloat16) must not round what encodes.
        self._dictionary = (folded,)
        self._norms = row_norms(folded.W_dec[0])  # a plain attribute, for the same reason
        gains = _gains(folded) * self._norms
        self.W_enc = nn.Parameter(folded.W_enc[0] * gains)
        self.b_enc = nn.Parameter(folded.b_enc[0] * gains)
        self.W_dec = nn.Parameter(folded.W_dec[0] / self._norms[:, None])
        self.b_dec = nn.Parameter(folded.b_dec[0].clone())
        if dictionary.config.architecture == "gated":  # asked for instead of b_enc
            members = folded.members if isinstance(folded, Ensemble) else [folded]
            self.b_mag = nn.Parameter(torch.cat([member.b_mag[0] for member in members]) * gains)
        self.cfg = SAEBenchConfig(
            model_name=model_name,
            d_in=dictionary.config.d_in,
            d_sae=dictionary.config.n_latents,
            hook_layer=int(match[1]),
            hook_name=name,
            context_size=context_size,
            metadata=Metadata(context_size, name, None, (None,), prepend_bos),
            architecture=THEIRS.get(dictionary.config.architecture, dictionary.config.architecture),
            prepend_bos=prepend_bos,
            device=str(self.device),
            training_tokens=training_tokens,
        )

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.W_dec.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights, and of what ``encode`` and ``decode`` give."""
        return self.W_dec.dtype

    def _apply(self, fn, recurse=True):
        """What ``to``, ``cuda`` and ``half`` call: the dictionary follows to the device, not to the dtype."""
        super()._apply(fn, recurse)
        self._dictionary[0].to(self.device)
        self._norms = self._norms.to(self.device)
        self.cfg.device, self.cfg.dtype = str(self.device), str(self.dtype).removeprefix("torch.")
        return self

    @torch.no_grad()
    def encode(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_sae"]:
        """Latents of raw activations, dense."""
        code = self._dictionary[0].encode(x.reshape(-1, x.shape[-1]).to(self.device).float())
        dense = code.dense(self.cfg.d_sae)[:, 0] * self._norms
        return dense.to(self.dtype).reshape(*x.shape[:-1], -1)

    def decode(self, feature_acts: Float[Tensor, "*batch d_sae"]) -> Float[Tensor, "*batch d_in"]:
        """Reconstruction of raw activations from latents; its gradient reaches them."""
        return feature_acts @ self.W_dec + self.b_dec

    def forward(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_in"]:
        """Reconstruction of raw activations."""
        return self.decode(self.encode(x))

    @torch.no_grad()
    def check_decoder_norms(self) -> bool:
        """Whether all decoder rows have norm 1, up to the dtype's precision; SAEBench recommends asking."""
        tolerance = 1e-5 if self.dtype == torch.float32 else 1e-2
        norms = self.W_dec.float().norm(dim=1)
        return bool((norms - 1).abs().max() <= tolerance)


def _gains(dictionary: SAE | Ensemble) -> Float[Tensor, " n"]:
    """What each latent of an ensemble is multiplied by after its member's encoder: |weight|; 1 for a single SAE."""
    if not isinstance(dictionary, Ensemble):
        return torch.ones_like(dictionary.W_dec[0, :, 0])
    counts = torch.tensor([member.config.n_latents for member in dictionary.members], device=dictionary.W_dec.device)
    return dictionary.weights.abs().repeat_interleave(counts)
