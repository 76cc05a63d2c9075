"""What parameters share: checks of one value, the types of those that several notebooks take, and what all take."""

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from sae_utils.data import mixture
from sae_utils.data.models import names as model_names
from sae_utils.data.models.names import SITES
from sae_utils.errors import InputError
from sae_utils.paths import RESULTS

FIXED_K = ("topk", "batch_topk")
ARCHITECTURES = (*FIXED_K, "relu", "gated", "jump_relu")
TEXT_FILES = (".txt", ".jsonl", ".parquet")
TABLES = (".csv", ".jsonl")
CORPORA = (
    "installed-python, a Hugging Face dataset (name or name:configuration), a .txt, .jsonl or .parquet file, "
    f"or several with weights ({mixture.EXAMPLE})"
)


def matching(pattern: str, allowed: str) -> AfterValidator:
    """Text that the whole pattern matches; ``allowed`` says in words which that is."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise InputError(f"must be {allowed}")
        return text

    return AfterValidator(check)


def increasing(least: int) -> AfterValidator:
    """A list of at least so many items, from small to large."""

    def check(items: list) -> list:
        if len(items) < least or items != sorted(items):
            raise InputError(f"must be {least} or more, from small to large")
        return items

    return AfterValidator(check)


def each_once(items: list) -> list:
    """Refuses a list that holds an item twice."""
    twice = [item for i, item in enumerate(items) if item in items[:i]]
    if twice:
        raise InputError(f"holds {twice[0]!r} twice")
    return items


def local_path(name: str) -> Path:
    """Where a model or a corpus of this name would be on this machine, with ``~`` for one's home folder."""
    return Path(os.path.expanduser(name))  # Path.expanduser raises for a user who is not there


def check_corpus(corpus: str) -> str:
    """Refuses wrong weights, a text file that is not there, a folder, another file, and what no dataset is named."""
    for source in mixture.sources(corpus):
        path, told = local_path(source), "" if source == corpus else f"has the source {source!r}, which "
        is_name = re.fullmatch(r"[\w.-]+(/[\w.-]+)?(:[\w.-]+)?", source)
        if "://" not in source and path.suffix.lower() in TEXT_FILES:
            if not os.path.isfile(path):  # unlike Path's, it raises for no name
                raise InputError(f"{told}is a file that is not there")
        elif os.path.exists(path) or not is_name:
            raise InputError(f"{told}must be {CORPORA}")
    return corpus


def check_dataset(dataset: str) -> str:
    """Refuses a table that does not exist, and a folder or another kind of file."""
    path = local_path(dataset)
    if path.suffix.lower() in TABLES:
        if not os.path.isfile(path):
            raise InputError("is a file that is not there")
    elif dataset and os.path.exists(path):
        raise InputError("must be a Hugging Face dataset, or a .csv or .jsonl file")
    return dataset


def check_results_dir(folder: str) -> str:
    """The folder with ``~`` for one's home; refuses one that is a file, or that can neither be made nor written in."""
    path = local_path(folder) if folder else RESULTS
    there = next(one for one in (path.absolute(), *path.absolute().parents) if os.path.lexists(one))
    if path.parts[:1] and path.parts[0].startswith("~"):
        raise InputError("is in the home folder of a user who is not there")
    if not there.is_dir():
        raise InputError(f"must be a folder, and {there} is a file")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"must be a folder that can be written in, and {there} cannot")
    return str(path) if folder else ""


def check_context(context: int) -> int:
    """Refuses a row of one token, of which nothing is left: its first position is not read."""
    if context == 1:
        raise InputError("must be 0 (the model's own), or 2 or more")
    return context


def check_fixed_k(architecture: str) -> str:
    """Refuses an architecture whose number of active latents a sparsity coefficient sets."""
    if architecture not in FIXED_K:
        raise InputError(
            f"needs a sparsity coefficient, which this notebook does not take; allowed here: {', '.join(FIXED_K)}"
        )
    return architecture


LAST = ("base_lr", "device", "dtype", "results_dir", "preset")  # in a parameters cell
# Pairs of parameters: no value of the first may be above any of the second.
AT_MOST = (
    ("k", "n_latents"),
    ("k", "widths"),
    ("k", "topk_widths"),
    ("k", "member_latents"),
    ("k", "n_smaller"),
    ("ks", "n_latents"),
    ("ks", "widths"),
    ("meta_k", "n_meta"),
    ("batch_size", "n_tokens"),
    ("member_batch_size", "member_tokens"),
    ("member_tokens", "n_tokens"),
)

DICTIONARIES = ("n_seeds", "n_world_seeds", "n_members", "n_ensembles")  # how many there are
MOST_DICTIONARIES = 256  # a plan has an entry for each


def value(default: object, help: str, **limits: float) -> Any:
    """A parameter: its tiny value, the comment beside it in the notebook's cell, and limits of an ``int`` alone.

    Of two limits of a kind, here and in the type, pydantic would keep the type's.
    """
    return Field(default, description=help, **limits)


Item = TypeVar("Item")
ListOf = Annotated[list[Item], Field(min_length=1), AfterValidator(each_once)]
Natural = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Context = Annotated[Natural, AfterValidator(check_context)]
TwoOrMore = Annotated[int, Field(ge=2)]
TwentyOrMore = Annotated[int, Field(ge=20)]
Site = Annotated[Literal[*SITES], Field(description="where in the block: mlp_out, resid_pre, resid_post")]

Saes = Annotated[
    list[Annotated[str, matching(r"\S.*", "a folder, a file, or owner/repository/folder on the hub")]],
    AfterValidator(each_once),
    Field(description="SAEs to read instead of training: folders, files, or owner/repository/folder; empty: train"),
]
Architecture = Annotated[
    Literal[*ARCHITECTURES],
    AfterValidator(check_fixed_k),
    Field(description="of the SAEs: topk, batch_topk"),
]
Widths = Annotated[ListOf[Count], increasing(2)]
Latents = Annotated[Count, Field(description="latents in each dictionary")]
K = Annotated[Count, Field(description="latents that are active on a token")]
Tokens = Annotated[Count, Field(description="tokens that each dictionary is trained on")]
SourceTokens = Annotated[Natural, Field(description="tokens of activations that are read from; 0 is n_tokens")]
EvalTokens = Annotated[Count, Field(description="held-out tokens for evaluation")]
BatchSize = Annotated[TwoOrMore, Field(description="tokens in a training step")]  # one has no variance to explain
Dataset = Annotated[str, AfterValidator(check_dataset)]
DataSeed = Annotated[
    int,
    Field(ge=0, le=2**32 - 1, description="order of the training tokens, the same for every dictionary"),
]
OneRate = Annotated[
    bool,
    Field(description="all at the learning rate of a member, as in paper C; else each at that of its own width"),
]


class Parameters(BaseModel):
    """What every notebook takes. A value is never converted: True is no int and "512" is none; an int is a float."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)

    model: Annotated[str, matching(r"\S.*", "a bundled model's name, a folder, or a Hugging Face name")] = value(
        "pycode-2m", "language model: a bundled name, a local folder, or a Hugging Face name"
    )
    corpus: Annotated[str, AfterValidator(check_corpus)] = value(
        "installed-python", "text: installed-python, a Hugging Face dataset, or a .txt, .jsonl, .parquet file"
    )
    context: Context = value(0, "tokens in a row of text; 0 is the model's own, at most 2048")
    device: Annotated[str, matching(r"cpu|cuda(:\d+)?", "cpu, cuda or cuda:<number>")] = value(
        "cpu", "cpu, cuda, or cuda:<number>"
    )
    dtype: Literal["float32", "bfloat16", "float16"] = value(
        "float32", "of the language model: float32, bfloat16, float16"
    )
    results_dir: Annotated[str, AfterValidator(check_results_dir)] = value(
        "", "where results go; empty is the repository's results/"
    )
    preset: Annotated[str, matching(r"[A-Za-z0-9][\w.-]*", "letters, digits, '-', '_' and '.'")] = value(
        "tiny", "name under which the results are kept"
    )

    @model_validator(mode="after")
    def _model_has_them(self) -> Self:
        """Checks layers and context against the config.json of a model on this machine; others are at loading."""
        deepest = max([getattr(self, "layer", 0), *getattr(self, "layers", ())])
        try:
            place = model_names.find(self.model)
            file = model_names.config_file(place)
            if not place.is_hooked and file is not None:
                if not file.is_file():
                    raise InputError(f"model = {self.model!r}: the folder has no config.json")
                config = model_names.read_config(self.model, file)
                model_names.check_layer(self.model, config, deepest)
                model_names.check_context(self.model, config, self.context)
        except InputError as error:
            raise InputError(f"parameter {error}") from None
        return self

    def _require(self, holds: bool, name: str, allowed: str) -> None:
        if not holds:
            raise InputError(f"parameter {name} = {getattr(self, name)!r} must be {allowed}")


class LayerParameters(Parameters):
    """What every notebook with dictionaries takes: where they are in the model, and their learning rate."""

    layer: Natural = value(3, "transformer block whose activations are read, from 0")
    site: Site = "mlp_out"
    base_lr: Annotated[float, Field(ge=1e-9, le=1.0)] = value(
        1.6e-3, "learning rate at 16,384 latents; n latents take it sqrt(16,384 / n) times"
    )

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        """Checks sizes that go with one another, where the notebook has both."""
        for name, other in AT_MOST:
            if hasattr(self, name) and hasattr(self, other):
                most = getattr(self, other)
                self._require(np.max(getattr(self, name)) <= np.min(most), name, f"at most {other} = {most}")
        for name in DICTIONARIES:
            self._require(getattr(self, name, 0) <= MOST_DICTIONARIES, name, f"at most {MOST_DICTIONARIES}")
        if hasattr(self, "n_eval_tokens"):
            # Twice, for the first position of each row and the ends of texts are left out.
            least = 2 * self.batch_size
            self._require(self.n_eval_tokens >= least, "n_eval_tokens", f"2 * batch_size = {least} or more")
        return self
