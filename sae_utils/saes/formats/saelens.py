"""SAELens: ``cfg.json`` and ``sae_weights.safetensors``, of version 6 and, with flat settings, of those before it."""

from dataclasses import replace
from pathlib import Path

import torch

from sae_utils.errors import InputError
from sae_utils.saes.formats.common import (
    OUR_NAMES,
    Plain,
    axes_of,
    by_our_names,
    check_size,
    hook_point_of,
    hooked_name,
    load_tensors,
    read_json,
    setting,
    whole,
    write_files,
)
from sae_utils.saes.sae import SAE

WEIGHTS = "sae_weights.safetensors"
VERSION = "6.54.12"  # of SAELens, whose settings we write; without one it takes them for those before version 6
OURS = {
    "standard": "relu",
    "gated": "gated",
    "topk": "topk",
    "jumprelu": "jump_relu",
    "batchtopk": "batch_topk",  # only before it was saved for inference: then it is a jumprelu
}
CENTRED = {"model_from_pretrained_kwargs": {"center_writing_weights": True}}
# What the list of SAEs that SAELens ships says of repositories on the hub, and their own cfg.json does not.
LISTED = {
    "jbloom/GPT2-Small-SAEs-Reformatted": CENTRED,
    "jbloom/GPT2-Small-Feature-Splitting-Experiment-Layer-8": CENTRED,
    "tommmcgrath/gpt2-small-mlp-out-saes": CENTRED,
    "JoshEngels/Mistral-7B-Residual-Stream-SAEs": {"normalize_activations": "constant_norm_rescale"},
}
NAMES = {  # of the tensors in a file by ours, for each architecture
    "relu": OUR_NAMES,
    "gated": OUR_NAMES | {"b_enc": "b_gate", "b_mag": "b_mag", "r_mag": "r_mag"},
    "topk": OUR_NAMES,
    "jump_relu": OUR_NAMES | {"threshold": "threshold"},
    "batch_topk": OUR_NAMES | {"threshold": "topk_threshold"},
}


def read_saelens(folder: Path) -> SAE:
    """The SAE in a folder of SAELens, a stack of one on raw activations.

    Handled: an encoder that does not subtract b_dec (``apply_b_dec_to_input``), top k chosen by value times
    decoder norm, BatchTopK saved as JumpReLU, centred residual streams (``center_writing_weights``), any dtype.
    Some SAEs on the hub were trained on centred streams and their files do not say so: they are known by the name of
    their repository, in the hub's cache or as a folder; a copy elsewhere needs the entry in its cfg.json.
    Raises InputError for other architectures and for inputs that are normalised token by token.
    """
    path = folder / "cfg.json"
    cfg, about = _read_settings(folder)
    architecture = _architecture(cfg, path)
    scale = _scale(cfg, about, folder)
    optional = {"scaling_factor": "f", "finetuning_scaling_factor": "f"}
    names = NAMES[architecture]
    axes = axes_of(names, threshold="" if architecture == "batch_topk" else "f")
    tensors = load_tensors(folder / WEIGHTS, axes, optional)
    for name in optional:
        if name in tensors and not torch.equal(tensors[name], torch.ones_like(tensors[name])):
            raise InputError(f"{folder / WEIGHTS} has a fine-tuned {name}, which this project cannot represent")
    plain = Plain(architecture, **by_our_names(tensors, names))
    check_size(cfg.get("d_in"), len(plain.b_dec), "d_in", path)
    check_size(cfg.get("d_sae"), len(plain.b_enc), "d_sae", path)
    plain = _with_k(plain, cfg, about, path)
    if not setting(cfg, "apply_b_dec_to_input", True, path):
        plain = plain.reading_x()
    if setting(cfg, "rescale_acts_by_decoder_norm", False, path):
        plain = plain.by_value_times_norm()
    hook_point = setting(about, "hook_name", "", path) or setting(about, "hook_point", "", path)
    seed = about.get("seed")
    # Of models that transformers runs, the name is a module's.
    sae = plain.as_sae(seed if isinstance(seed, int) else 0, hook_point_of(hook_point), scale)
    return centred(sae) if is_centred(folder) else sae


def is_centred(folder: Path) -> bool:
    """Whether the SAE in a folder of SAELens was trained on centred residual streams (``center_writing_weights``)."""
    about = _read_settings(folder)[1]
    path = folder / "cfg.json"
    model = setting(about, "model_from_pretrained_kwargs", {}, path)
    return setting(model, "center_writing_weights", False, path)


@torch.no_grad()
def centred(sae: SAE) -> SAE:
    """A copy that gives x the code which ``sae`` gives x less the mean over its dimensions; twice is as good as once.

    Only the encoder can take that up: reconstructions stay centred, so compare them with centred activations.
    """
    out = sae.copy()
    out.encoder.sub_(out.encoder.mean(-1, keepdim=True))
    # With P the projection, m the mean and s the scale, ((P x - m) s - b_dec) w is
    # ((x - m) s - b_dec) P w + (P m - m) s w + b_dec (P w - w), and P m - m is the mean of m, taken away, everywhere.
    shift = -sae.mean.mean() * sae.scale * sae.encoder.sum(-1)
    shift += torch.einsum("snd,sd->sn", out.encoder - sae.encoder, sae.b_dec)
    out.b_enc.add_(shift)
    if sae.config.architecture == "gated":
        out.b_mag.add_(shift * sae.r_mag.exp())
    return out


def _read_settings(folder: Path) -> tuple[dict, dict]:
    """``cfg.json`` with what ``LISTED`` says of its repository, and the same with its metadata beside them."""
    cfg = read_json(folder / "cfg.json")
    names = folder.absolute().parts  # not resolved: a file of the hub's cache is a link to a nameless one
    for repository, settings in LISTED.items():
        if {repository.rpartition("/")[2], f"models--{repository.replace('/', '--')}"} & set(names):
            cfg |= settings
    return cfg, {**cfg, **setting(cfg, "metadata", {}, folder / "cfg.json")}


def _architecture(cfg: dict, path: Path) -> str:
    name = setting(cfg, "architecture", "standard", path)
    activation = cfg.get("activation_fn_str", cfg.get("activation_fn", "relu"))
    if activation == "topk":  # before version 6 an activation, not an architecture
        name = "topk"
    elif activation not in ("relu", None):
        raise InputError(f"activation {activation!r} in {path} is not supported; allowed: relu, topk")
    if name not in OURS:
        raise InputError(f"architecture {name!r} in {path} is not supported; allowed: {', '.join(OURS)}")
    return OURS[name]


def _scale(cfg: dict, about: dict, folder: Path) -> float:
    """What x is multiplied by before the encoder; InputError for inputs that no constant scale gives."""
    for name in ("reshape_activations", "normalize_activations"):
        value = cfg.get(name)
        if value in (None, False, "none"):
            continue
        if name == "normalize_activations" and value in (True, "expected_average_only_in"):
            scaler = folder / "activation_scaler.json"
            factor = read_json(scaler).get("scaling_factor") if scaler.is_file() else None
            if isinstance(factor, int | float) and 0 < factor < float("inf"):
                return float(factor)
            raise InputError(f"{name}={value!r} in {folder / 'cfg.json'} needs a scaling_factor above 0 in {scaler}")
        raise InputError(f"{name}={value!r} in {folder / 'cfg.json'} is not supported; allowed: none")
    head = about.get("hook_head_index", about.get("hook_point_head_index"))
    if head is not None:
        raise InputError(f"hook_head_index={head} in {folder / 'cfg.json'}: SAEs on one head are not supported")
    return 1.0


def _with_k(plain: Plain, cfg: dict, about: dict, path: Path) -> Plain:
    """The dictionary with its k; a JumpReLU as which a BatchTopK was saved is that again."""
    if plain.architecture in ("topk", "batch_topk"):
        k = cfg.get("k", setting(cfg, "activation_fn_kwargs", {}, path).get("k"))
        return replace(plain, k=whole(k, "k", path))
    if plain.architecture == "jump_relu" and about.get("training_architecture") == "batchtopk":
        k = setting(about, "training_architecture_details", {}, path).get("k")
        constant = bool((plain.threshold == plain.threshold[0]).all())
        # Theirs may be a fraction, which ours cannot: it stays the JumpReLU as which it was saved.
        fraction = isinstance(k, float) and not k.is_integer()
        if k is not None and constant and not fraction:
            return replace(plain, architecture="batch_topk", k=whole(k, "k", path))
    return plain


def write_saelens(sae: SAE, folder: Path, model_name: str | None = None) -> None:
    """Write a stack of one as an SAE that SAELens 6 loads, on raw activations, in float32.

    BatchTopK becomes JumpReLU with one threshold, as SAELens itself saves it. Raises InputError for stacks and
    ensembles: SAELens has one dictionary per folder.
    """
    if not isinstance(sae, SAE) or sae.n_dictionaries != 1:
        what = f"a stack of {sae.n_dictionaries}" if isinstance(sae, SAE) else f"an {type(sae).__name__}"
        raise InputError(f"SAELens holds one SAE per folder, not {what}; take one with .dictionary(index)")
    plain = sae.fold_normalisation().cpu()
    architecture = sae.config.architecture
    saved_as = "jump_relu" if architecture == "batch_topk" else architecture
    values = {own: getattr(plain, own)[0] for own in NAMES[saved_as] if own != "threshold"}
    if architecture == "jump_relu":
        values["threshold"] = plain.log_threshold[0].exp()
    if architecture == "batch_topk":
        values["threshold"] = plain.threshold.expand(sae.config.n_latents)
    tensors = {NAMES[saved_as][own]: tensor for own, tensor in values.items()}
    name = next(theirs for theirs, own in OURS.items() if own == saved_as)
    write_files(Path(folder), WEIGHTS, tensors, _settings(sae, name, model_name))


def _settings(sae: SAE, architecture: str, model_name: str | None) -> dict:
    batch = sae.config.architecture == "batch_topk"
    metadata = {
        "sae_lens_version": VERSION,
        "model_name": model_name,
        "hook_name": hooked_name(sae.hook_point, model_name) or None,
        "hook_head_index": None,
        "seed": sae.seeds[0],
        "training_architecture": "batchtopk" if batch else architecture,
        "training_architecture_details": {"k": sae.config.k} if batch else {},
    }
    return {
        "architecture": architecture,
        "d_in": sae.config.d_in,
        "d_sae": sae.config.n_latents,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        **({"k": sae.config.k, "rescale_acts_by_decoder_norm": False} if architecture == "topk" else {}),
        "metadata": metadata,
    }
