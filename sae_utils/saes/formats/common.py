"""What all formats share: files opened and checked, one dictionary as plain tensors, names of hook points, stacks.

Every format comes down to ``Plain``: the tensors of one dictionary in our orientation and in float32.
"""

import json
import pickle
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sae_utils.data.activations import Normalisation
from sae_utils.errors import InputError
from sae_utils.files import read_safetensors, whole_file, write_json
from sae_utils.saes.sae import SAE, Architecture, SAEConfig
from sae_utils.saes.training.checkpoints import PICKLES

# Axes of each tensor: d for d_in, f for latents; "" is a single number.
AXES = {"W_enc": "df", "W_dec": "fd", "b_enc": "f", "b_dec": "d", "threshold": "f", "r_mag": "f", "b_mag": "f"}
OUR_NAMES = {name: name for name in ("W_enc", "W_dec", "b_enc", "b_dec")}  # of formats that call them as we do
PLACES = (  # names of places in other libraries, and what TransformerLens has after ``blocks.N``
    (r"(?:.*\.)?(?:layers|h)\.(\d+)", "hook_resid_post"),  # a module, whose output is read
    (r"(?:.*\.)?(?:layers|h)\.(\d+)\.mlp", "mlp.hook_out"),
    (r"resid_pre_layer_(\d+)", "hook_resid_pre"),  # dictionary_learning
    (r"resid_post_layer_(\d+)", "hook_resid_post"),
    (r"mlp_out_layer_(\d+)", "mlp.hook_out"),  # the output of the module there
    (r"(?:.*\.)?layers\.(\d+)\.output", "hook_resid_post"),  # Gemma Scope 2
    (r"(?:.*\.)?layers\.(\d+)\.post_feedforward_layernorm\.output", "hook_mlp_out"),
    (r"(?:.*\.)?layers\.(\d+)\.self_attn\.o_proj\.input", "attn.hook_z"),
    (r"blocks\.(\d+)\.hook_in", "hook_resid_pre"),  # TransformerBridge's other names
    (r"blocks\.(\d+)\.hook_out", "hook_resid_post"),
)
Setting = TypeVar("Setting", str, bool, dict)


@dataclass(frozen=True)
class Plain:
    """One dictionary whose encoder reads x - b_dec, as ``SAE`` does; what only some architectures have is None."""

    architecture: Architecture
    W_enc: Float[Tensor, "d_in n_latents"]
    W_dec: Float[Tensor, "n_latents d_in"]
    b_enc: Float[Tensor, " n_latents"]  # gated: the gate's
    b_dec: Float[Tensor, " d_in"]
    k: int | None = None
    threshold: Float[Tensor, "..."] | None = None  # jump_relu: of each latent, or one; batch_topk: one
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
        norms = row_norms(self.W_dec)
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
        for name in ("W_dec", "b_enc", "b_dec", *(("r_mag", "b_mag") if self.architecture == "gated" else ())):
            getattr(sae, name).copy_(getattr(self, name)[None])
        if self.architecture == "jump_relu":
            # All formats apply a ReLU besides the threshold: one below 0 means 0, whose logarithm is not finite.
            threshold = self.threshold.expand(n_latents).clamp_min(torch.finfo(torch.float32).tiny)
            sae.log_threshold.copy_(threshold.log()[None])
        if self.architecture == "batch_topk":
            sae.threshold.fill_(float(self.threshold.max().clamp_min(0.0)))
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


def axes_of(names: Mapping[str, str], **other: str) -> dict[str, str]:
    """The axes of a file's tensors, ``other`` than in ``AXES`` where given.

    ``names`` has their names by ours; the transpose of NAME is called ``NAME.T``.
    """
    axes, out = AXES | other, {}
    for own, name in names.items():
        out[name.removesuffix(".T")] = axes[own][::-1] if name.endswith(".T") else axes[own]
    return out


def by_our_names(tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """A file's tensors that ``names`` names, as ``axes_of`` takes it, under our names and in our orientation."""
    return {own: tensors[name[:-2]].T if name.endswith(".T") else tensors[name] for own, name in names.items()}


def read_json(path: Path) -> dict:
    """The object in a JSON file. Raises InputError where there is none."""
    try:
        out = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as JSON: {' '.join(str(error).split())}") from None
    if not isinstance(out, dict):
        raise InputError(f"{path} holds a JSON {type(out).__name__}; expected an object")
    return out


def setting(cfg: Mapping, name: str, default: Setting, path: Path) -> Setting:
    """What ``cfg`` says under ``name``, ``default`` where that is nothing or null; InputError for another type."""
    value = cfg.get(name)
    if value is None:
        return default
    if type(value) is not type(default):
        kind = {str: "a text", bool: "true or false", dict: "an object"}[type(default)]
        raise InputError(f"{name}={str(value)[:80]!r} in {path} must be {kind}")
    return value


def shapes_of(path: Path) -> dict[str, tuple[int, ...]]:
    """Shape of each tensor, from the header alone. Raises InputError for a corrupt or foreign file."""
    try:
        with safe_open(path, "pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is truncated or not a safetensors file: {' '.join(str(error).split())}") from None


def load_tensors(path: Path, axes: Mapping[str, str], optional: Mapping[str, str] | None = None) -> dict[str, Tensor]:
    """The tensors of a safetensors file in float32, after their shapes (``check_shapes``); ``optional`` may lack."""
    shapes = shapes_of(path)
    present = {name: letters for name, letters in (optional or {}).items() if name in shapes}
    check_shapes(shapes, {**axes, **present}, str(path))
    return checked_weights(read_safetensors(path)[0], str(path))


def unpickled(path: Path):
    """What torch.save wrote to a file, opened with ``weights_only=True``: no code in it runs.

    Raises InputError for a pickle of more than tensors and plain values, and for a file that was cut or changed.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(2)
        if head not in PICKLES:
            raise ValueError(f"it begins with {head!r} and is neither a pickle nor an archive")
        if head == b"PK":
            with zipfile.ZipFile(path) as archive:
                if broken := archive.testzip():  # which torch does not look at
                    raise ValueError(f"its {broken} does not match its checksum")
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise InputError(
            f"{path} is a pickle of more than tensors, which could run code: it is refused; "
            "torch.save(model.state_dict(), ...) writes tensors alone"
        ) from None
    except Exception as error:  # of bytes that were changed, anything
        said = " ".join(str(error).split())[:160]
        raise InputError(f"{path} is truncated or not a file of torch.save: {said}") from None


def is_plain(value) -> bool:
    """Whether it is a tensor with all its values: neither sparse nor without a memory."""
    return isinstance(value, Tensor) and value.layout == torch.strided and value.device.type == "cpu"


def write_files(folder: Path, weights: str, tensors: Mapping[str, Tensor], settings: Mapping) -> None:
    """Write ``tensors`` as the safetensors file ``weights`` and ``settings`` as cfg.json, each whole or not at all."""
    # Cloned: safetensors refuses tensors that share memory, as W_enc shares the encoder's.
    apart = {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
    with whole_file(folder / weights) as part:
        save_file(apart, part)
    write_json(folder / "cfg.json", settings)


def row_norms(rows: Float[Tensor, "*stack n d_in"]) -> Float[Tensor, "*stack n"]:
    """The norm of each decoder row, 1 for rows of zeros: what rows can be divided by."""
    norms = rows.norm(dim=-1)
    return torch.where(norms > 0, norms, 1.0)


def whole(value, what: str, path: Path) -> int:
    """``value`` as a whole number of at least 1, which some files write as 32.0. Raises InputError otherwise."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 1 <= value < 2**63 and value == int(value):
        return int(value)
    raise InputError(f"{what}={str(value)[:80]} in {path} must be a whole number of at least 1")


def check_size(said, found: int, what: str, path: Path) -> None:
    """InputError where the settings name another size than the tensors have; ``None`` says nothing."""
    if said is not None and said != found:
        raise InputError(f"{what}={said!r} in {path} does not match the tensors, which have {found}")


def hook_point_of(name: str) -> str:
    """TransformerLens's name of a place that another library names; a name that is not known stays as it is.

    The output of the module ``layers.5.mlp`` is ``blocks.5.mlp.hook_out``. ``blocks.5.hook_mlp_out``, what the MLP
    adds to the residual stream, is the same but in models with a norm in between, Gemma-2 for one.
    """
    for pattern, hook in PLACES:
        if match := re.fullmatch(pattern, name):
            return f"blocks.{match[1]}.{hook}"
    return name


def site_of(hook_point: str) -> str:
    """The hook point of ours that an MLP's output is in models without a norm after the MLP; others stay."""
    return hook_point.replace(".mlp.hook_out", ".hook_mlp_out")


def hooked_name(hook_point: str, model_name: str | None) -> str:
    """What HookedTransformer, which other libraries run, calls a hook point of a model, where it has that point."""
    norm_after = model_name is None or re.search("gemma-[23]|medgemma", model_name)
    return hook_point if norm_after else site_of(hook_point)


@torch.no_grad()
def stack_saes(saes: Sequence[SAE]) -> SAE:
    """The dictionaries of ``saes`` in one stack, copied, in order.

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
    tensors = {name: torch.cat([sae.stacked()[name] for sae in saes]) for name in first.stacked()}
    return first.copy(seeds=[seed for sae in saes for seed in sae.seeds], **tensors)
