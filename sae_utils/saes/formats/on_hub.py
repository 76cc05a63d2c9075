"""SAEs on the Hugging Face hub: the few files of one folder of a repository, and no more, on this machine."""

from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from sae_utils.data.models import hub
from sae_utils.errors import InputError

WANTED = ("cfg.json", "config.json", "activation_scaler.json", "*.safetensors", "ae*.pt", "params.npz")
SHOWN = 6  # folders that are named where the one asked for has no SAE


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
        raise InputError(f"{name} could not be downloaded: {hub.one_line(error)}") from None
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
