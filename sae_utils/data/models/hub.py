"""Questions to the Hugging Face hub before anything slow, because its loaders retry for half a minute."""

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path

from sae_utils.errors import InputError, one_line


def why_not(kind: str, name: str, revision: str | None = None) -> str | None:
    """None where the hub has the ``kind`` ("model" or "dataset") ``name``, else the reason why it cannot be had."""
    import huggingface_hub
    from huggingface_hub import errors

    try:
        huggingface_hub.HfApi().repo_info(name, revision=revision, repo_type=kind, timeout=10)
    except errors.GatedRepoError:  # a kind of RepositoryNotFoundError
        return gated(kind, name)
    except errors.RevisionNotFoundError:
        return f"the Hugging Face hub has no revision {revision!r} of it"
    except (errors.RepositoryNotFoundError, errors.HFValidationError):
        return "not on the Hugging Face hub (a private one needs HF_TOKEN in the environment)"
    except Exception as error:  # no network, a proxy, offline mode: the client's own kinds differ by version
        if getattr(getattr(error, "response", None), "status_code", None) == 401:
            return "the Hugging Face hub refuses the token here (error 401): check HF_TOKEN in the environment"
        return f"the Hugging Face hub was not reached ({type(error).__name__})"
    return None


def gated(kind: str, name: str) -> str:
    """What to do about a repository that wants its terms accepted."""
    import huggingface_hub

    page = f"https://huggingface.co/{'datasets/' if kind == 'dataset' else ''}{name}"
    token = "the token here has no access to it" if huggingface_hub.get_token() else "there is no token here"
    return f"it is gated, and {token}: accept its terms at {page} and set HF_TOKEN in the environment"


def model_config(name: str, repository: str, revision: str | None) -> Path:
    """The config.json of a model that the hub has, on this machine. Raises InputError where it may not be read.

    The token is that of ``HF_TOKEN``, or the one that huggingface_hub has kept.
    """
    import huggingface_hub
    from huggingface_hub.errors import GatedRepoError, RemoteEntryNotFoundError

    try:
        return Path(huggingface_hub.hf_hub_download(repository, "config.json", revision=revision))
    except GatedRepoError:
        raise InputError(f"model {name!r}: {gated('model', repository)}") from None
    except RemoteEntryNotFoundError:
        raise InputError(f"model {name!r}: {repository} has no config.json, so it is not for transformers") from None
    except Exception as error:  # the network went away after why_not
        raise InputError(f"model {name!r} does not load: {one_line(error)}") from None


@contextlib.contextmanager
def quiet(offline: bool) -> Iterator[None]:
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
