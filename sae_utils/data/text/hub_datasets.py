"""Data sets of the Hugging Face hub by name and configuration, at one revision from the first text to the last."""

from typing import TYPE_CHECKING

from sae_utils.data.models import hub
from sae_utils.errors import InputError

if TYPE_CHECKING:
    from datasets import DatasetBuilder, IterableDataset

CONVERTED = "refs/convert/parquet"  # the hub's own copy of data sets whose main branch is a loading script


def stream(corpus: str, source: dict) -> tuple["IterableDataset", dict]:
    """The training split of ``corpus``, which is "name" or "name:configuration", and where it comes from.

    ``source``: that of an earlier call, to read the same revision again; or empty. Raises InputError for an unknown
    name or configuration and for a data set that one may not read.
    """
    import datasets

    name, _, configuration = corpus.partition(":")
    if not source and (reason := hub.why_not("dataset", name)):  # once reading has begun, it is a lost connection: wait
        raise InputError(f"corpus={corpus!r} is not installed-python, not an existing file, and {reason}")
    revision, converted = source.get("revision"), source.get("converted", False)
    if not converted:
        try:
            builder = datasets.load_dataset_builder(name, configuration or None, revision=revision)
        except RuntimeError as error:
            if "scripts are no longer supported" not in str(error):
                raise
            revision, converted = CONVERTED, True
        except datasets.exceptions.DatasetNotFoundError as error:
            if "is a gated dataset" not in str(error):  # a private one cannot be told from one that is not there
                raise
            raise InputError(f"corpus={corpus!r}: {hub.gated('dataset', name)}") from error
        except ValueError as error:  # of the configuration, or of what is in it
            names = datasets.get_dataset_config_names(name, revision=revision)
            if configuration in names or (not configuration and len(names) == 1):
                raise
            raise _unknown(corpus, names) from error
    if converted:
        builder = _converted(corpus, revision)
    return builder.as_streaming_dataset(split="train"), {"revision": builder.hash, "converted": converted}


def _converted(corpus: str, revision: str) -> "DatasetBuilder":
    """From the branch that has a folder of Parquet files for each configuration."""
    import datasets
    import huggingface_hub
    from huggingface_hub.errors import RevisionNotFoundError

    name, _, configuration = corpus.partition(":")
    try:
        tree = huggingface_hub.HfApi().list_repo_tree(name, repo_type="dataset", revision=revision)
        names = [entry.path for entry in tree if isinstance(entry, huggingface_hub.hf_api.RepoFolder)]
    except RevisionNotFoundError:
        raise InputError(f"corpus={corpus!r} is a loading script, and the hub has no Parquet copy of it") from None
    folder = names[0] if not configuration and len(names) == 1 else configuration
    if folder not in names:
        raise _unknown(corpus, names)
    return datasets.load_dataset_builder(name, data_dir=folder, revision=revision)


def _unknown(corpus: str, names: list[str]) -> InputError:
    name, _, configuration = corpus.partition(":")
    told = f"has no configuration {configuration!r}" if configuration else "needs a configuration"
    return InputError(f"corpus={corpus!r}: the dataset {told}; write {name}:<one of {', '.join(names)}>")
