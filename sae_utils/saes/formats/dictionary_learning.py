"""dictionary_learning: a pickled state dict, ``ae.pt`` or ``checkpoints/ae_{step}.pt``, beside ``config.json``."""

from pathlib import Path

from torch import Tensor

from sae_utils.errors import InputError
from sae_utils.saes.formats.common import (
    Plain,
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

LINEAR = {"encoder.weight": "fd", "decoder.weight": "df"}
PARAMETERS = {"W_enc": "df", "W_dec": "fd", "b_enc": "f", "b_dec": "d"}
# Each class by its tensors and their axes; which of TopK and BatchTopK it is, only config.json says.
CLASSES = {
    "AutoEncoder": {**LINEAR, "encoder.bias": "f", "bias": "d"},
    "AutoEncoderNew": {**LINEAR, "encoder.bias": "f", "decoder.bias": "d"},
    "GatedAutoEncoder": {**LINEAR, "decoder_bias": "d", "r_mag": "f", "gate_bias": "f", "mag_bias": "f"},
    "AutoEncoderTopK or BatchTopKSAE": {**LINEAR, "encoder.bias": "f", "b_dec": "d", "k": "", "threshold": ""},
    "AutoEncoderTopK": {**LINEAR, "encoder.bias": "f", "b_dec": "d", "k": ""},
    "JumpReluAutoEncoder": {**PARAMETERS, "threshold": "f"},
    "MatryoshkaBatchTopKSAE": {**PARAMETERS, "k": "", "threshold": "", "group_sizes": "g"},
}


def read_dictionary_learning(path: Path) -> SAE:
    """The dictionary in a ``.pt`` file, or in the ``ae.pt`` of a folder, a stack of one on raw activations.

    Latents come in the units of the library's ``encode``: not multiplied by decoder norms, which its versions before
    2025 did for gated and JumpReLU ones, to the same reconstructions. The pickle is opened with
    ``weights_only=True``: what holds anything but tensors is refused, and no code in it runs. Raises InputError for
    that and for tensors of no known class.
    """
    path = path / "ae.pt" if path.is_dir() else path
    state = _load(path)
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    kind = next((kind for kind, axes in CLASSES.items() if axes.keys() == shapes.keys()), None)
    if kind is None:
        raise InputError(
            f"{path} holds tensors of no known class of dictionary_learning: {', '.join(sorted(shapes))}; "
            "a mapping.yaml beside it can say what they are (sae_utils/saes/formats/mapping.py)"
        )
    sizes = check_shapes(shapes, CLASSES[kind], str(path))
    settings = next((c for c in (path.parent / "config.json", path.parent.parent / "config.json") if c.is_file()), None)
    trainer = setting(read_json(settings), "trainer", {}, settings) if settings else {}
    check_size(trainer.get("activation_dim"), sizes["d"], "activation_dim", settings)
    check_size(trainer.get("dict_size"), sizes["f"], "dict_size", settings)
    if kind == "AutoEncoderTopK or BatchTopKSAE":
        kind = trainer.get("dict_class")
        if kind not in ("AutoEncoderTopK", "BatchTopKSAE"):
            raise InputError(
                f"TopK or BatchTopK? {path} needs a config.json whose dict_class says which; found {kind!r}"
            )
    if kind == "AutoEncoderTopK" and trainer.get("dict_class") == "BatchTopKSAE":
        raise InputError(f"{path} lacks the threshold of a BatchTopKSAE, which {settings} says it is")
    seed = trainer.get("seed")
    hook_point = hook_point_of(setting(trainer, "submodule_name", "", settings))
    return _plain(kind, state, path).as_sae(seed if isinstance(seed, int) else 0, hook_point)


def _load(path: Path) -> dict[str, Tensor]:
    state = unpickled(path)
    if (
        not isinstance(state, dict)
        or not state
        or not all(isinstance(k, str) and is_plain(v) for k, v in state.items())
    ):
        raise InputError(f"{path} holds a {type(state).__name__}; expected a state dict of tensors")
    return state


def _plain(kind: str, state: dict[str, Tensor], path: Path) -> Plain:
    counts = {name: state.pop(name) for name in ("k", "group_sizes") if name in state}
    k = whole(counts["k"].item(), "k", path) if "k" in counts else None
    w = checked_weights(state, str(path))
    if kind in ("JumpReluAutoEncoder", "MatryoshkaBatchTopKSAE"):
        matrices = {name: w[name] for name in PARAMETERS}
    else:
        matrices = {"W_enc": w["encoder.weight"].T, "W_dec": w["decoder.weight"].T}
    match kind:
        case "JumpReluAutoEncoder":
            return Plain("jump_relu", **matrices, threshold=w["threshold"]).reading_x()
        case "GatedAutoEncoder":
            own = {"b_enc": w["gate_bias"], "b_dec": w["decoder_bias"], "r_mag": w["r_mag"], "b_mag": w["mag_bias"]}
            return Plain("gated", **matrices, **own)
        case "MatryoshkaBatchTopKSAE":
            return Plain("batch_topk", **matrices, k=k, threshold=w["threshold"].expand(len(w["b_enc"])))
    matrices["b_enc"] = w["encoder.bias"]
    match kind:
        case "AutoEncoder":
            return Plain("relu", **matrices, b_dec=w["bias"])
        case "AutoEncoderNew":
            return Plain("relu", **matrices, b_dec=w["decoder.bias"]).reading_x()
        case "AutoEncoderTopK":
            return Plain("topk", **matrices, b_dec=w["b_dec"], k=k)
        case "BatchTopKSAE":
            threshold = w["threshold"].expand(len(w["encoder.bias"]))
            return Plain("batch_topk", **matrices, b_dec=w["b_dec"], k=k, threshold=threshold)
