"""One question to the Hugging Face hub before anything slow, because its loaders retry for half a minute."""


def why_not(kind: str, name: str) -> str | None:
    """None where the hub has the ``kind`` ("model" or "dataset") ``name``, else the reason why it cannot be had."""
    import huggingface_hub
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

    api = huggingface_hub.HfApi()
    ask = {"model": api.model_info, "dataset": api.dataset_info}[kind]
    try:
        ask(name, timeout=10)
    except (RepositoryNotFoundError, HFValidationError):
        return "not on the Hugging Face hub"
    except Exception as error:  # no network, a proxy, offline mode: the client's own kinds differ by version
        return f"the Hugging Face hub was not reached ({type(error).__name__})"
    return None


def one_line(error: Exception) -> str:
    """The error's kind and text in one line of at most 300 characters."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
