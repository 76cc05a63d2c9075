"""One door for all formats: ``read_sae`` recognises what lies in a folder, or says what it found there."""

from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Literal, get_args

from sae_utils.data.models import hub
from sae_utils.errors import InputError, one_line
from sae_utils.saes.formats import gemma_scope, mapping, saelens, sparsify
from sae_utils.saes.formats.dictionary_learning import read_dictionary_learning
from sae_utils.saes.sae import SAE
from sae_utils.saes.training.checkpoints import load_sae

Format = Literal["saelens", "sparsify", "dictionary_learning", "gemma_scope", "gemma_scope_2", "sae_utils", "mapping"]
READERS = {
    "saelens": saelens.read_saelens,
    "sparsify": sparsify.read_sparsify,
    "dictionary_learning": read_dictionary_learning,
    "gemma_scope": gemma_scope.read_gemma_scope,
    "gemma_scope_2": gemma_scope.read_gemma_scope_2,
    "sae_utils": load_sae,
    "mapping": mapping.read_mapped,
}
FILES = {saelens.WEIGHTS: "saelens", sparsify.WEIGHTS: "sparsify", "ae.pt": "dictionary_learning"}
FILES |= {"params.npz": "gemma_scope", gemma_scope.WEIGHTS: "gemma_scope_2"}
SUFFIXES = {".npz": "gemma_scope", ".pt": "dictionary_learning", ".safetensors": "sae_utils"}
KNOWN = (
    "saelens (cfg.json, sae_weights.safetensors), sparsify (cfg.json, sae.safetensors, or seed{N}/ with both), "
    "dictionary_learning (ae.pt), gemma_scope (params.npz), gemma_scope_2 (config.json, params.safetensors), "
    "sae_utils (a file .safetensors), any other with a mapping.yaml that names its tensors "
    "(sae_utils/saes/formats/mapping.py)"
)
WANTED = ("cfg.json", "config.json", "activation_scaler.json", "*.safetensors", "ae*.pt", "params.npz")
SHOWN = 6  # folders that are named where the one asked for has no SAE


def read_sae(path: str | Path, format: Format | None = None, hook_point: str | None = None) -> SAE:
    """The SAE at a path in any known format, on the CPU, in float32, for raw activations.

    ``path`` is a folder or a file of weights, here or, as ``owner/repository/folder``, on the Hugging Face hub.
    ``format`` is recognised by the files' names where it is None.
    ``hook_point`` replaces the one that the files name, or gives one where they name none. The result is a stack of
    one; folders ``seed{N}`` of sparsify come as one stack. Raises InputError, in one line and before any weights are
    loaded where that is possible, for what is missing, foreign, corrupt, or not representable by ``SAE``, and for a
    place in the model that has a name which is not known here.
    """
    if format is not None and format not in READERS:
        raise InputError(f"format={format!r} is unknown; allowed: {', '.join(get_args(Format))}")
    path = local(path)
    format = format or recognise(path)
    folder = path.parent if path.is_file() and format in ("saelens", "sparsify", "gemma_scope_2") else path
    sae = READERS[format](folder)
    # Files of SAELens and our own have TransformerLens's names, or those of a source of one's own.
    known = format in ("saelens", "sae_utils") or not sae.hook_point or sae.hook_point.startswith("blocks.")
    if hook_point is not None:
        sae.hook_point = hook_point
    elif not known:
        raise InputError(
            f"{path} was trained at {sae.hook_point!r}, which is no known hook point (known: layers.N, layers.N.mlp, "
            "layers.N.output, resid_pre_layer_N, resid_post_layer_N, mlp_out_layer_N); read_sae takes hook_point= "
            "where you know TransformerLens's name of it"
        )
    return sae


def local(path: str | Path) -> Path:
    """The path itself where it exists, else the folder that the hub has by that name. Raises InputError for neither."""
    if Path(path).exists():
        return Path(path).absolute()
    if Path(path).is_absolute() or str(path).startswith((".", "~")) or len(Path(path).parts) < 2:
        raise InputError(f"no SAE at {path}: there is no such file or folder")
    return download_sae(Path(path).as_posix())


def recognise(path: Path) -> Format:
    """The format of what lies at a path on this machine, by names alone; where there is a mapping, that is asked.

    Raises InputError, saying what was found.
    """
    if mapping.mapping_of(path):
        return "mapping"
    if path.is_file():
        found = FILES.get(path.name) or SUFFIXES.get(path.suffix)
        if found:
            return found
        raise InputError(f"{path} is not a file of weights of a known format; known: {KNOWN}")
    names = sorted(child.name for child in path.iterdir())
    formats = [format for name, format in FILES.items() if name in names]
    if not formats and sparsify.seed_folders(path):
        return "sparsify"
    if len(formats) == 1:
        return formats[0]
    if formats:
        raise InputError(f"{path} holds several formats ({', '.join(formats)}): say format= which one is meant")
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "") if names else "nothing"
    raise InputError(f"no SAE of a known format in {path}: found {shown}; known: {KNOWN}")


def download_sae(name: str) -> Path:
    """The local folder of ``owner/repository/folder``, with what ``read_sae`` needs of it.

    The list of files is asked for first. Raises InputError where the repository or the folder is not there, naming
    folders that are, and where the hub cannot be reached or asks for a token (HF_TOKEN, from the environment alone).
    """
    import huggingface_hub

    parts = PurePosixPath(name).parts
    repository, inside = "/".join(parts[:2]), "/".join(parts[2:])
    if reason := hub.why_not("model", repository):
        raise InputError(f"no SAE at {name}: no such file or folder here, and {repository} is {reason}")
    try:
        files = huggingface_hub.HfApi().list_repo_files(repository)
        wanted = [file for file in files if _wanted(file, inside)]
        if not wanted:
            raise InputError(f"{repository} has no SAE in {inside or 'its main folder'}; it has {_folders(files)}")
        local = huggingface_hub.snapshot_download(repository, allow_patterns=wanted)
    except InputError:
        raise
    except Exception as error:  # the client's own kinds differ by version
        raise InputError(f"{name} could not be downloaded: {one_line(error)}") from None
    return Path(local) / inside


def _wanted(file: str, inside: str) -> bool:
    """Whether ``file`` is ``inside`` or lies in that folder, or in a ``seed{N}`` of it, and has a name that we read."""
    path = PurePosixPath(file)
    folder = path.parent.parent if fnmatch(path.parent.name, "seed[0-9]*") else path.parent
    near = PurePosixPath(inside) in (path, path.parent, folder)
    return near and any(fnmatch(path.name, pattern) for pattern in WANTED)


def _folders(files: list[str]) -> str:
    """Some folders that hold files with names that we read."""
    folders = sorted({str(PurePosixPath(f).parent) for f in files if _wanted(f, str(PurePosixPath(f).parent))})
    return ", ".join(folders[:SHOWN]) + (f" and {len(folders) - SHOWN} more" if len(folders) > SHOWN else "") or "none"
