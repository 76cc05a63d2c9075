"""Language models through TransformerLens's TransformerBridge: bundled, from a local folder, or from the hub."""

import contextlib
import hashlib
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_utils.data import hub
from sae_utils.data.errors import InputError
from sae_utils.data.paths import MODELS

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedTokenizerBase

BUNDLED = {"pycode-2m": MODELS / "pycode-2m"}
SITES = ("mlp_out", "resid_pre", "resid_post")
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}

WEIGHT_FILES = ("model.safetensors", "model.safetensors.index.json")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "spiece.model")


@dataclass(frozen=True)
class LanguageModel:
    """A causal language model in evaluation mode whose activations can be read and replaced."""

    name: str
    bridge: "TransformerBridge" = field(repr=False)

    @property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """The model's own tokenizer."""
        return self.bridge.tokenizer

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
        return next(self.bridge.original_model.parameters()).device

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over at most 65,536 evenly spaced values of each weight, and their dtype."""
        sha = hashlib.sha256()
        for weight in self.bridge.original_model.parameters():
            sample = weight.detach().flatten()[:: max(1, weight.numel() // 65536)]
            sha.update(f"{weight.dtype}{list(weight.shape)}".encode() + sample.float().cpu().numpy().tobytes())
        return sha.hexdigest()

    def hook_point(self, site: str, layer: int) -> str:
        """TransformerLens's name of a site, such as ``blocks.3.hook_mlp_out``.

        Raises InputError for a site that is not in SITES and for a layer that the model does not have.
        """
        if site not in SITES:
            raise InputError(f"site={site!r} is unknown; allowed: {', '.join(SITES)}")
        if isinstance(layer, bool) or not isinstance(layer, int) or not 0 <= layer < self.n_layers:
            raise InputError(f"layer={layer!r} is not in {self.name}; allowed: 0 to {self.n_layers - 1}")
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
        hooks = [(name, _keep_in(found, name)) for name in hook_points]
        layers = [re.match(r"blocks\.(\d+)\.", name) for name in hook_points]
        stop = max(int(layer[1]) for layer in layers) + 1 if all(layers) else None
        self.bridge.run_with_hooks(
            tokens.to(self.device), fwd_hooks=hooks, stop_at_layer=stop, return_type="logits", use_cache=False
        )
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
        hooks = [(name, _replace_with(function)) for name, function in replace.items()]
        output = self.bridge.run_with_hooks(
            tokens.to(self.device), fwd_hooks=hooks, return_type="logits", use_cache=False
        )
        return output.float()

    @torch.no_grad()
    def loss(
        self, tokens: Int[Tensor, "batch pos"], replace: Mapping[str, Callable[[Tensor], Tensor]] | None = None
    ) -> Float[Tensor, "batch pos-1"]:
        """Cross-entropy in nats of each token but the first, given those before it; ``replace`` as in ``logits``."""
        logits = self.logits(tokens, replace)[:, :-1]
        targets = tokens[:, 1:].to(logits.device)
        return torch.nn.functional.cross_entropy(logits.transpose(1, 2), targets, reduction="none")

    def _check(self, tokens: Tensor, hook_points: Sequence[str]) -> None:
        if tokens.ndim != 2 or tokens.dtype != torch.int64:
            raise InputError(f"tokens must be int64 [batch, pos], not {tokens.dtype} {list(tokens.shape)}")
        if tokens.shape[1] > self.context:
            raise InputError(f"rows of {tokens.shape[1]} tokens are longer than the {self.context} of {self.name}")
        # TransformerLens ignores a hook on a name that it does not know.
        unknown = [name for name in hook_points if name not in self.bridge.hook_dict]
        if unknown:
            raise InputError(
                f"hook point {unknown[0]!r} is not in {self.name}; use blocks.N.hook_S "
                f"with N from 0 to {self.n_layers - 1} and S of {', '.join(SITES)}"
            )


def load_language_model(
    name_or_path: str | Path, device: str = "cpu", dtype: torch.dtype | str = torch.float32
) -> LanguageModel:
    """A bundled model (BUNDLED), a local Hugging Face folder, or a model of the hub, all by the same road.

    ``dtype`` is a torch dtype or its name: float32, float16, bfloat16. Raises InputError, before anything slow, for a
    name that is none of the three, for a folder with files missing and for a device that is not there.
    """
    device = check_device(device)
    dtype = check_dtype(dtype)
    name = str(name_or_path)
    source = BUNDLED.get(name, Path(name).expanduser())
    local = source.is_dir()
    if local:
        _check_folder(name, source)
    offline = local or not _on_hub(name)

    where = str(source) if local else name
    with _quiet(offline):
        from transformer_lens.model_bridge import TransformerBridge  # takes seconds

        try:
            bridge = TransformerBridge.boot_transformers(where, device=str(device), dtype=dtype)
        except Exception as error:
            raise InputError(f"model {name!r} does not load: {hub.one_line(error)}") from error
    bridge.eval()
    bridge.original_model.requires_grad_(False)
    return LanguageModel(name, bridge)


def check_device(device: str) -> torch.device:
    """``device`` as torch's; raises InputError where this machine does not have it."""
    try:
        parsed = torch.device(device)
    except (RuntimeError, TypeError):
        raise InputError(f"device={device!r} is unknown; allowed: cpu, cuda, cuda:N, mps") from None
    there = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if parsed.type not in there:
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


def _check_folder(name: str, folder: Path) -> None:
    for needed in (("config.json",), WEIGHT_FILES, TOKENIZER_FILES):
        if not any((folder / file).is_file() for file in needed):
            raise InputError(f"model {name!r}: {folder} holds no {' or '.join(needed)}")


def _on_hub(name: str) -> bool:
    """True where the hub has ``name``; False where only its cache on disk has it. Raises InputError otherwise."""
    reason = hub.why_not("model", name)
    if reason is None:
        return True
    import huggingface_hub

    with contextlib.suppress(ValueError):  # not a name that the hub allows
        if isinstance(huggingface_hub.try_to_load_from_cache(name, "config.json"), str):
            return False
    bundled = ", ".join(BUNDLED)
    raise InputError(f"model {name!r} is unknown: it is not bundled ({bundled}), not an existing folder, and {reason}")


@contextlib.contextmanager
def _quiet(offline: bool) -> Iterator[None]:
    """No progress bars of transformers; with ``offline``, no question to the hub about what lies on disk."""
    with warnings.catch_warnings():
        # tqdm says so once, in any notebook without ipywidgets, when the libraries below are imported.
        warnings.filterwarnings("ignore", message="IProgress not found")
        from huggingface_hub import constants
        from transformers.utils import logging

        bars, was_offline = logging.is_progress_bar_enabled(), constants.HF_HUB_OFFLINE
        logging.disable_progress_bar()
        constants.HF_HUB_OFFLINE = offline or was_offline
        try:
            yield
        finally:
            constants.HF_HUB_OFFLINE = was_offline
            if bars:
                logging.enable_progress_bar()


def _keep_in(found: dict[str, Tensor], name: str) -> Callable:
    def hook(activation: Tensor, hook) -> None:
        found[name] = activation

    return hook


def _replace_with(function: Callable[[Tensor], Tensor]) -> Callable:
    def hook(activation: Tensor, hook) -> Tensor:
        return function(activation).to(activation.dtype)

    return hook
