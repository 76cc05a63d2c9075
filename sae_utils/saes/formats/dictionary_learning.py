"""dictionary_learning: a pickled state dict, ``ae.pt`` or ``checkpoints/ae_{step}.pt``, beside ``config.json``."""

from pathlib import Path

from torch import Tensor

from sae_utils.errors import InputError
from sae_utils.saes.formats.common import (
    OUR_NAMES,
    Plain,
    axes_of,
    by_our_names,
    check_shapes,
    check_size,
    checked_weights,
    hook_point_of,
    is_plain,
    read_json,
    setting,
    unpickled,
    whole,
)
from sae_utils.saes.sae import SAE

LINEAR = {"W_enc": "encoder.weight.T", "W_dec": "decoder.weight.T", "b_enc": "encoder.bias"}
GATED = {"b_enc": "gate_bias", "b_dec": "decoder_bias", "r_mag": "r_mag", "b_mag": "mag_bias"}
CHOSEN = {"k": "k", "threshold": "threshold"}
COUNTS = {"k": "", "group_sizes": "g"}  # axes of tensors that are no weights
CLASSES = {  # by name: architecture, and the names of the tensors by ours
    "AutoEncoder": ("relu", LINEAR | {"b_dec": "bias"}),
    "AutoEncoderNew": ("relu", LINEAR | {"b_dec": "decoder.bias"}),
    "GatedAutoEncoder": ("gated", LINEAR | GATED),
    "AutoEncoderTopK": ("topk", LINEAR | {"b_dec": "b_dec", "k": "k"}),
    "BatchTopKSAE": ("batch_topk", LINEAR | {"b_dec": "b_dec"} | CHOSEN),
    "JumpReluAutoEncoder": ("jump_relu", OUR_NAMES | {"threshold": "threshold"}),
    "MatryoshkaBatchTopKSAE": ("batch_topk", OUR_NAMES | CHOSEN | {"group_sizes": "group_sizes"}),
}
READING_X = ("AutoEncoderNew", "JumpReluAutoEncoder")  # whose encoder does not subtract b_dec


def read_dictionary_learning(path: Path) -> SAE:
    """The dictionary in a ``.pt`` file, or in the ``ae.pt`` of a folder, a stack of one on raw activations.

    Latents come in the units of the library's ``encode``: not multiplied by decoder norms, which its versions before
    2025 did for gated and JumpReLU ones, to the same reconstructions. Raises InputError as ``unpickled`` does, and for
    tensors of no known class.
    """
    path = path / "ae.pt" if path.is_dir() else path
    state = _state(path)
    kinds = [kind for kind, (_, names) in CLASSES.items() if axes_of(names, **COUNTS).keys() == state.keys()]
    if not kinds:
        raise InputError(
            f"{path} holds tensors of no known class of dictionary_learning: {', '.join(sorted(state))}; "
            "a mapping.yaml beside it can say what they are (sae_utils/saes/formats/mapping.py)"
        )
    kind = kinds[0]
    architecture, names = CLASSES[kind]
    axes = axes_of(names, threshold="f" if architecture == "jump_relu" else "", **COUNTS)
    sizes = check_shapes({name: tuple(tensor.shape) for name, tensor in state.items()}, axes, str(path))
    settings = next((c for c in (path.parent / "config.json", path.parent.parent / "config.json") if c.is_file()), None)
    trainer = setting(read_json(settings), "trainer", {}, settings) if settings else {}
    check_size(trainer.get("activation_dim"), sizes["d"], "activation_dim", settings)
    check_size(trainer.get("dict_size"), sizes["f"], "dict_size", settings)
    said = trainer.get("dict_class")
    if kind == "AutoEncoderTopK" and said == "BatchTopKSAE":
        raise InputError(f"{path} lacks the threshold of a BatchTopKSAE, which {settings} says it is")
    if kind == "BatchTopKSAE":  # newer TopK ones have the same tensors
        if said not in ("AutoEncoderTopK", "BatchTopKSAE"):
            raise InputError(
                f"TopK or BatchTopK? {path} needs a config.json whose dict_class says which; found {said!r}"
            )
        architecture, names = CLASSES[said]
    k = whole(state["k"].item(), "k", path) if "k" in state else None
    weights = checked_weights({name: tensor for name, tensor in state.items() if name not in COUNTS}, str(path))
    ours = {own: name for own, name in names.items() if own not in COUNTS}
    plain = Plain(architecture, k=k, **by_our_names(weights, ours))
    plain = plain.reading_x() if kind in READING_X else plain
    seed = trainer.get("seed")
    hook_point = hook_point_of(setting(trainer, "submodule_name", "", settings))
    return plain.as_sae(seed if isinstance(seed, int) else 0, hook_point)


def _state(path: Path) -> dict[str, Tensor]:
    state = unpickled(path)
    named = isinstance(state, dict) and all(isinstance(name, str) and is_plain(t) for name, t in state.items())
    if not (named and state):
        raise InputError(f"{path} holds a {type(state).__name__}; expected a state dict of tensors")
    return state
