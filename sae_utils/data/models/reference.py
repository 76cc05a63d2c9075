"""transformers' own model: whether all of it was loaded, and what it gives before TransformerLens wraps its modules.

TransformerLens computes norms and attention itself, for some families otherwise than transformers does. So both run
once on a short row when a model loads, and what differs by more than rounding is refused. A short row does not show
what begins later: windows of attention that are longer than it, frequencies that depend on the length.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_utils.data.models.names import SITES
from sae_utils.errors import InputError, one_line

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

ROW = 16  # tokens
# The largest difference that may be rounding, as a share of the norm of what transformers gives for a token, and in
# which share of the tokens. A rounded router may send one token to another expert, so some may differ at 16 bits.
# Measured on tiny models of 60 families: right ones at most 4e-6, 0.005 and 0.034; wrong ones 0.2 to 2.
TOLERANCE = {torch.float32: (1e-3, 1.0), torch.float16: (0.03, 0.75), torch.bfloat16: (0.1, 0.75)}
SHOWN = 4  # names of tensors in a message


@dataclass(frozen=True)
class Reference:
    """What transformers' model gives for ``tokens``; by module, what it was given and what it gave."""

    tokens: Int[Tensor, "1 pos"]
    logits: Float[Tensor, "1 pos vocab"]
    given: Mapping[torch.nn.Module, Tensor]
    gave: Mapping[torch.nn.Module, Tensor]


class Loader:
    """Loads for ``TransformerBridge.boot_transformers``, in place of a class of transformers, and keeps what it had.

    ``tensors``: the weights by transformers' names, a tied one once, before TransformerLens adds copies of some.
    """

    tensors: dict[str, Tensor]
    reference: Reference

    def __init__(self, name: str, device: torch.device):
        self.name, self.device = name, device

    def from_pretrained(self, where: str, **options) -> torch.nn.Module:
        """Transformers' model. Raises InputError where tensors are missing, and where it gives no finite logits."""
        from transformers import AutoModelForCausalLM

        options |= {"output_loading_info": True, "ignore_mismatched_sizes": True}
        model, told = AutoModelForCausalLM.from_pretrained(where, **options)
        check_complete(self.name, told)
        by_identity = {}
        for name, tensor in model.to(self.device).state_dict(keep_vars=True).items():
            by_identity.setdefault(id(tensor), (name, tensor))
        self.tensors = dict(by_identity.values())
        self.reference = run(self.name, model)
        return model


def check_complete(name: str, told: Mapping[str, Iterable]) -> None:
    """Raises InputError where a checkpoint lacks tensors of its model, or has them in another shape.

    ``told`` is transformers' loading info: tied weights and buffers that the config gives are not missing in it.
    """
    for tensor, stored, needed in sorted(told["mismatched_keys"]):
        raise InputError(f"model {name!r}: {tensor} is {list(stored)} in its weights and {list(needed)} by its config")
    if missing := told["missing_keys"]:
        unknown = told["unexpected_keys"]
        beside = f", and hold {_some(unknown)}, which the model does not have" if unknown else ""
        raise InputError(f"model {name!r}: its weights lack {_some(missing)}{beside}")


def _some(tensors: Iterable[str]) -> str:
    first, rest = sorted(tensors)[:SHOWN], len(set(tensors)) - SHOWN
    return ", ".join(first) + (f" and {rest} more" if rest > 0 else "")


@torch.no_grad()
def run(name: str, model: torch.nn.Module) -> Reference:
    """A forward pass over different tokens from the whole vocabulary. Raises InputError as ``from_pretrained``."""
    config = model.config.get_text_config()
    n = min(ROW, getattr(config, "max_position_embeddings", None) or ROW)
    tokens = torch.linspace(0, config.vocab_size - 1, n).long()[None].to(model.device)
    given, gave = {}, {}

    def keep(module: torch.nn.Module, inputs: tuple, named: dict, output: object) -> None:
        x = inputs[0] if inputs else named.get("hidden_states")
        y = output[0] if isinstance(output, tuple | list) else output
        for kept, tensor in ((given, x), (gave, y)):
            if isinstance(tensor, Tensor):
                kept[module] = tensor.clone()  # some modules add to it in place later

    with torch.nn.modules.module.register_module_forward_hook(keep, with_kwargs=True):
        logits = model(tokens, use_cache=False).logits
    if not logits.isfinite().all():
        raise InputError(f"model {name!r}: its logits are not finite in {_short(model.dtype)}")
    return Reference(tokens, logits, given, gave)


@torch.no_grad()
def check_same(name: str, bridge: "TransformerBridge", reference: Reference) -> None:
    """Raises InputError where the bridge does not run, or gives other logits or activations at a site of a layer."""
    family, dtype = bridge.cfg.architecture, reference.logits.dtype
    expected, found = _at_sites(bridge, reference), {}

    def keep(point: torch.nn.Module, inputs: tuple, x: Tensor) -> None:
        if point in expected:
            found[point] = x

    try:
        with torch.nn.modules.module.register_module_forward_hook(keep):
            logits = bridge(reference.tokens, return_type="logits", use_cache=False)
    except Exception as error:
        said = f"TransformerLens loads {family} and fails in its first forward pass"
        raise InputError(f"model {name!r}: {said}: {one_line(error)}") from error
    tolerance, tokens = TOLERANCE[dtype]
    pairs = [(point.name, x, expected[point]) for point, x in found.items()]
    for what, x, own in [*pairs, ("logits", logits, reference.logits)]:
        share = difference(x, own, tokens)
        if not share <= tolerance:  # nan, too
            raise InputError(
                f"model {name!r}: TransformerLens computes {family} otherwise than transformers does: {what} differ by "
                f"{share:.2g} of their norm; rounding in {_short(dtype)} may be {tolerance}"
            )


def _at_sites(bridge: "TransformerBridge", reference: Reference) -> dict[torch.nn.Module, Float[Tensor, "1 pos d"]]:
    """What transformers gives at the sites of each layer, by their hook points in the bridge."""
    places = {}
    for component in bridge.modules():
        module = getattr(component, "original_component", None)
        for point, kept in (("hook_in", reference.given), ("hook_out", reference.gave)):
            if module in kept and hasattr(component, point):
                places[getattr(component, point)] = kept[module]
    names = [f"blocks.{layer}.hook_{site}" for layer in range(bridge.cfg.n_layers) for site in SITES]
    points = bridge.hook_dict  # made anew at each look
    return {points[name]: places[points[name]] for name in names if points.get(name) in places}


def difference(found: Float[Tensor, "1 pos d"], expected: Float[Tensor, "1 pos d"], tokens: float) -> float:
    """Norm of the difference as a share of that of ``expected``, at most, in the given share of the ``tokens``.

    What is next to nothing beside the other tokens (an MLP that is off) counts as a hundredth of their mean.
    """
    found, expected = found.float(), expected.float()
    norms = expected.norm(dim=-1)
    shares = (found - expected).norm(dim=-1) / norms.clamp(min=max(0.01 * norms.mean().item(), 1e-30))
    return shares.flatten().quantile(tokens).item()


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
