"""Language models through TransformerLens's TransformerBridge: bundled, from a local folder, or from the hub."""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_utils.data.models import gguf, hub, reference
from sae_utils.data.models import names as model_names
from sae_utils.data.models.fingerprint import fingerprint
from sae_utils.data.models.names import BUNDLED, SITES
from sae_utils.errors import InputError, one_line

if TYPE_CHECKING:
    from transformer_lens import HookedTransformer
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedTokenizerBase

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class LanguageModel:
    """A causal language model in evaluation mode whose activations can be read and replaced.

    ``bridge`` is TransformerLens's (a HookedTransformer for what is of no Hugging Face architecture), with the weights
    as they were trained: no norm folded in, nothing centred. ``tokenizer`` is as the model's makers left it, which
    TransformerLens's copy is not: that one puts a beginning-of-text token in front of texts for every model.
    ``tensors`` are the weights by their own names: a tied one once, and none that TransformerLens made of others.
    """

    name: str
    bridge: "TransformerBridge | HookedTransformer" = field(repr=False)
    tokenizer: "PreTrainedTokenizerBase" = field(repr=False)
    tensors: Mapping[str, Tensor] = field(repr=False)

    @property
    def weights(self) -> torch.nn.Module:
        """The module that holds the parameters under their own names: Hugging Face's where there is one."""
        return getattr(self.bridge, "original_model", self.bridge)

    @property
    def n_layers(self) -> int:
        """Number of transformer blocks."""
        return self.bridge.cfg.n_layers

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self.bridge.cfg.d_model

    @property
    def context(self) -> int:
        """The most positions in a row."""
        return self.bridge.cfg.n_ctx

    @property
    def n_vocab(self) -> int:
        """Token ids that the model can read: 0 to n_vocab - 1."""
        return self.bridge.cfg.d_vocab

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.weights.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights and the activations."""
        return next(self.weights.parameters()).dtype

    @property
    def n_parameters(self) -> int:
        """Parameters, as the model's makers count them."""
        return sum(tensor.numel() for tensor in self.tensors.values() if isinstance(tensor, torch.nn.Parameter))

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over every byte of the weights, their names, shapes and dtypes, and what the configuration sets.

        The same for the same model in another folder, on another device, or saved by another version of transformers.
        """
        config = self.bridge.cfg if self.weights is self.bridge else self.weights.config
        return fingerprint(self.tensors, config.to_dict())

    def hook_point(self, site: str, layer: int) -> str:
        """TransformerLens's name of a site, such as ``blocks.3.hook_mlp_out``.

        ``resid_pre`` and ``resid_post`` are what enters and leaves the block. ``mlp_out`` is what the MLP adds to the
        residual stream: the output of the MLP or, where a norm comes after it (Gemma-2 and later), that of the norm,
        which is what the MLP dictionaries of Gemma Scope were trained on (arXiv 2408.05147, "MLP sublayer's output").

        Raises InputError for a site that is not in SITES, and for a layer or a site of it that the model does not have.
        """
        if site not in SITES:
            raise InputError(f"site={site!r} is unknown; allowed: {', '.join(SITES)}")
        if isinstance(layer, bool) or not isinstance(layer, int) or not 0 <= layer < self.n_layers:
            raise InputError(f"layer={layer!r} is not in {self.name}; allowed: 0 to {self.n_layers - 1}")
        points = self.bridge.hook_dict
        there = [name for name in SITES if f"blocks.{layer}.hook_{name}" in points]
        if site not in there:
            raise InputError(
                f"site={site!r} is not in layer {layer} of {self.name}; allowed: {', '.join(there) or 'none'}"
            )
        return f"blocks.{layer}.hook_{site}"

    @torch.no_grad()
    def activations(
        self, tokens: Int[Tensor, "batch pos"], hook_points: Sequence[str]
    ) -> dict[str, Float[Tensor, "batch pos d"]]:
        """Activations at all ``hook_points`` from one forward pass, which stops after the last layer needed.

        In the model's dtype and on its device. Raises InputError for an unknown hook point and for too long rows.
        """
        self._check(tokens, hook_points)
        found: dict[str, Tensor] = {}
        hooks = {name: partial(found.__setitem__, name) for name in hook_points}
        layers = [re.match(r"blocks\.(\d+)\.", name) for name in hook_points]
        stop = max(int(layer[1]) for layer in layers) + 1 if all(layers) else None
        self._run(tokens, hooks, stop_at_layer=stop)
        return found

    @torch.no_grad()
    def logits(
        self, tokens: Int[Tensor, "batch pos"], replace: Mapping[str, Callable[[Tensor], Tensor]] | None = None
    ) -> Float[Tensor, "batch pos vocab"]:
        """Next-token logits in float32; ``replace`` maps a hook point to a function of its activations [batch, pos, d].

        Raises InputError as ``activations`` does.
        """
        replace = replace or {}
        self._check(tokens, list(replace))
        return self._run(tokens, replace).float()

    @torch.no_grad()
    def loss(
        self, tokens: Int[Tensor, "batch pos"], replace: Mapping[str, Callable[[Tensor], Tensor]] | None = None
    ) -> Float[Tensor, "batch pos-1"]:
        """Cross-entropy in nats of each token but the first, given those before it; ``replace`` as in ``logits``."""
        logits = self.logits(tokens, replace)[:, :-1]
        targets = tokens[:, 1:].to(logits.device)
        return torch.nn.functional.cross_entropy(logits.transpose(1, 2), targets, reduction="none")

    def _run(self, tokens: Tensor, hooks: Mapping[str, Callable[[Tensor], Tensor | None]], **options) -> Tensor:
        """Logits; each hook is called with its point's activations, and what it returns, if anything, takes over."""
        reached = set()

        def run(name: str, activation: Tensor, hook) -> Tensor | None:
            reached.add(name)
            replaced = hooks[name](activation)
            return None if replaced is None else replaced.to(activation.dtype)

        if self.weights is not self.bridge:
            options["use_cache"] = False  # an argument of Hugging Face's models
        fwd_hooks = [(name, partial(run, name)) for name in hooks]
        logits = self.bridge.run_with_hooks(
            tokens.to(self.device), fwd_hooks=fwd_hooks, return_type="logits", **options
        )
        # Some points that TransformerLens names are inside what Hugging Face computes at once.
        if silent := [name for name in hooks if name not in reached]:
            raise InputError(f"hook point {silent[0]!r} of {self.name} is not reached in its forward pass")
        return logits

    def _check(self, tokens: Tensor, hook_points: Sequence[str]) -> None:
        if tokens.ndim != 2 or tokens.dtype != torch.int64:
            raise InputError(f"tokens must be int64 [batch, pos], not {tokens.dtype} {list(tokens.shape)}")
        if tokens.shape[1] > self.context:
            raise InputError(f"rows of {tokens.shape[1]} tokens are longer than the {self.context} of {self.name}")
        # TransformerLens ignores a hook on a name that it does not know.
        points = self.bridge.hook_dict
        unknown = [name for name in hook_points if name not in points]
        if unknown:
            sites = [f"blocks.{layer}.hook_{site}" for layer in range(self.n_layers) for site in SITES]
            there = [name for name in sites if name in points]
            near = ", ".join(difflib.get_close_matches(unknown[0], there, n=3, cutoff=0))
            layers = f"whose layers are 0 to {self.n_layers - 1}"
            raise InputError(f"hook point {unknown[0]!r} is not in {self.name}, {layers}; near ones: {near}")


def load_language_model(
    name_or_path: str | Path,
    device: str = "cpu",
    dtype: torch.dtype | str = torch.float32,
    layer: int | None = None,
) -> LanguageModel:
    """A bundled model (BUNDLED), a local Hugging Face folder, a GGUF file, or a model of the hub, all by the same road.

    A hub name takes a revision after an @: ``EleutherAI/pythia-160m@step1000``. ``dtype`` is a torch dtype or its
    name: float32, float16, bfloat16. ``layer`` is one that will be asked for, checked before the weights load. Raises
    InputError, before anything slow, for a name that is none of the three, for a folder with files missing, for what
    is no causal language model, for a gated model without a token, and for a device or layer that is not there; then
    for weights that are not all there, and for a family that TransformerLens computes otherwise than transformers.
    """
    device = check_device(device)
    dtype = check_dtype(dtype)
    name = str(name_or_path)
    place = model_names.find(name)
    if place.gguf:
        with hub.quiet(offline=True):
            gguf.convert(place.gguf, place.folder)
    if place.folder:
        model_names.check_folder(name, place.folder)
    offline = place.folder is not None or not _on_hub(name, place)

    with hub.quiet(offline):
        if not place.is_hooked:
            _check_config(name, place, layer)
        try:
            model = _boot(name, place, device, dtype)
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"model {name!r} does not load: {one_line(error)}") from error
    model.weights.requires_grad_(False)
    return model


def check_device(device: str) -> torch.device:
    """``device`` as torch's; raises InputError where this machine does not have it."""
    there = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    try:
        parsed = torch.device(device)
    except (RuntimeError, TypeError):
        parsed = None
    if parsed is None or parsed.type not in there:
        raise InputError(f"device={device!r} is unknown; allowed: cpu, cuda, cuda:N, mps")
    if (parsed.index or 0) >= there[parsed.type]:
        raise InputError(f"device={device!r} is not on this machine, which has {there['cuda']} CUDA devices; use cpu")
    return parsed


def check_dtype(dtype: torch.dtype | str) -> torch.dtype:
    """``dtype`` as torch's; raises InputError for one that is not in DTYPES."""
    found = DTYPES.get(str(dtype).removeprefix("torch."))
    if found is None:
        raise InputError(f"dtype={dtype!r} is unknown; allowed: {', '.join(DTYPES)}")
    return found


def _on_hub(name: str, place: model_names.Place) -> bool:
    """True where the hub has the model; False where only its cache on disk has it. Raises InputError otherwise."""
    reason = hub.why_not("model", place.repository, place.revision)
    if reason is None:
        return True
    if model_names.config_file(place):
        return False
    bundled = ", ".join(BUNDLED)
    raise InputError(f"model {name!r} is unknown: it is not bundled ({bundled}), not an existing folder, and {reason}")


def _check_config(name: str, place: model_names.Place, layer: int | None) -> None:
    file = place.folder / "config.json" if place.folder else hub.model_config(name, place.repository, place.revision)
    config = model_names.read_config(name, file)
    if layer is not None:
        model_names.check_layer(name, config, layer)

    from transformer_lens.factories.architecture_adapter_factory import SUPPORTED_ARCHITECTURES  # takes seconds

    if not set(config["architectures"]) & set(SUPPORTED_ARCHITECTURES):
        architectures = ", ".join(config["architectures"])
        raise InputError(f"model {name!r}: TransformerLens does not know its architecture, {architectures}")


def _boot(name: str, place: model_names.Place, device: torch.device, dtype: torch.dtype) -> LanguageModel:
    """The model in evaluation mode. One that TransformerLens is the home of has TransformerLens's tokenizer."""
    options = {"device": str(device), "dtype": dtype}
    if place.is_hooked:
        from transformer_lens import HookedTransformer

        hooked = HookedTransformer.from_pretrained_no_processing(place.repository, **options).eval()
        return LanguageModel(name, hooked, hooked.tokenizer, dict(hooked.named_parameters()))

    from transformer_lens.model_bridge import TransformerBridge
    from transformers import AutoTokenizer

    where, loader = str(place.folder or place.repository), reference.Loader(name, device)
    bridge = TransformerBridge.boot_transformers(where, revision=place.revision, model_class=loader, **options).eval()
    reference.check_same(name, bridge, loader.reference)
    tokenizer = AutoTokenizer.from_pretrained(where, revision=place.revision)
    return LanguageModel(name, bridge, tokenizer, loader.tensors)
