"""sparsify (EleutherAI): ``cfg.json`` and ``sae.safetensors`` in a folder named for its module, or one per seed."""

import re
from pathlib import Path

from sae_utils.errors import InputError
from sae_utils.saes.formats.common import (
    OUR_NAMES,
    Plain,
    axes_of,
    by_our_names,
    check_size,
    hook_point_of,
    load_tensors,
    read_json,
    setting,
    stack_saes,
    whole,
    write_files,
)
from sae_utils.saes.sae import SAE

WEIGHTS = "sae.safetensors"
NAMES = OUR_NAMES | {"W_enc": "encoder.weight.T", "b_enc": "encoder.bias"}
SEED = re.compile(r"seed(\d+)")
# Folders have the names of modules; other names of a folder, which people give, say nothing.
MODULE = re.compile(
    r"(.*\.)?((layers?|h|blocks)\.\d+(\..*)?|embed_in|embed_tokens|embed_out|wte|wpe|(final_layer_)?norm|ln_f|lm_head)"
)


def seed_folders(folder: Path) -> list[Path]:
    """The folders ``seed{N}`` in ``folder`` that hold weights, by N."""
    found = [path.parent for path in folder.glob(f"seed*/{WEIGHTS}") if SEED.fullmatch(path.parent.name)]
    return sorted(found, key=lambda path: int(path.name[4:]))


def read_sparsify(folder: Path) -> SAE:
    """The SAE in a folder of sparsify, or the stack of those in its folders ``seed{N}``, on raw activations.

    The file's dtype is its own; weights come in float32. Raises InputError for transcoders, skip connections, signed
    latents and GroupMax, which ``SAE`` does not have.
    """
    if seeds := seed_folders(folder):
        return stack_saes([_read_one(path, folder.name) for path in seeds])
    return _read_one(folder, folder.parent.name if SEED.fullmatch(folder.name) else folder.name)


def _read_one(folder: Path, module: str) -> SAE:
    path = folder / "cfg.json"
    cfg = read_json(path)
    if cfg.get("activation", "topk") != "topk":
        raise InputError(f"activation={cfg['activation']!r} in {path} is not supported; allowed: 'topk'")
    for name in ("transcode", "skip_connection", "signed"):
        if cfg.get(name):
            raise InputError(f"{name}=true in {path} is not supported: it must be false")
    k = whole(cfg.get("k"), "k", path)
    plain = Plain("topk", **by_our_names(load_tensors(folder / WEIGHTS, axes_of(NAMES)), NAMES), k=k)
    check_size(cfg.get("d_in"), len(plain.b_dec), "d_in", path)
    check_size(cfg.get("num_latents") or None, len(plain.b_enc), "num_latents", path)
    named = SEED.fullmatch(folder.name)
    seed = int(named[1]) if named else cfg.get("seed", 0)
    place = hook_point_of(module) if MODULE.fullmatch(module) else ""
    return plain.as_sae(seed, setting(cfg, "hook_point", "", path) or place)


def write_sparsify(sae: SAE, folder: Path) -> None:
    """Write a topk SAE to ``folder``, or each dictionary of a stack to ``folder/seed{N}``, as sparsify 1.3 loads it.

    ``folder`` should have the name of the module (``layers.5.mlp``), which is where sparsify keeps it. Raises
    InputError for other architectures and for ensembles.
    """
    if not isinstance(sae, SAE) or sae.config.architecture != "topk":
        what = sae.config.architecture if isinstance(sae, SAE) else type(sae).__name__
        raise InputError(f"sparsify holds topk SAEs, not {what!r}")
    if len(set(sae.seeds)) < sae.n_dictionaries:
        raise InputError(f"seeds={list(sae.seeds)} must differ: sparsify keeps one folder per seed")
    folded = sae.fold_normalisation().cpu()
    for i, seed in enumerate(sae.seeds):
        _write_one(folded.dictionary(i), Path(folder) if sae.n_dictionaries == 1 else Path(folder) / f"seed{seed}")


def _write_one(sae: SAE, folder: Path) -> None:
    tensors = {"encoder.weight": sae.encoder, "encoder.bias": sae.b_enc, "W_dec": sae.W_dec, "b_dec": sae.b_dec}
    cfg = {
        "activation": "topk",
        "expansion_factor": max(1, sae.config.n_latents // sae.config.d_in),
        "normalize_decoder": sae.config.unit_norm_decoder,
        "num_latents": sae.config.n_latents,
        "k": sae.config.k,
        "multi_topk": False,
        "skip_connection": False,
        "transcode": False,
        "d_in": sae.config.d_in,
        "hook_point": sae.hook_point,  # these two are ours: sparsify drops what it does not know
        "seed": sae.seeds[0],
    }
    write_files(folder, WEIGHTS, {name: tensor[0] for name, tensor in tensors.items()}, cfg)
