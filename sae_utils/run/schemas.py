"""The parameters of each notebook: one frozen dataclass each, which refuses what cannot be.

A new notebook adds a dataclass here and an entry in ``NOTEBOOKS``; a new name adds an entry in ``rules.RULES``. The
same name means the same thing in every notebook.
"""

from dataclasses import dataclass, fields

from sae_utils.data.errors import InputError
from sae_utils.run.rules import check_batches, check_corpus, check_device, check_dictionary, check_model, check_value


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """What every notebook takes. Raises InputError, in one line, for the first value that cannot be."""

    model: str
    corpus: str
    context: int
    device: str
    results_dir: str
    preset: str

    def __post_init__(self):
        for field in fields(self):
            check_value(field.name, field.type, getattr(self, field.name))
        check_corpus(self.corpus)
        check_model(self.model, self.context, max(getattr(self, "layers", [getattr(self, "layer", 0)])))
        check_dictionary(self)
        check_batches(self)
        check_device(self.device)


@dataclass(frozen=True, kw_only=True)
class LanguageModelParameters(Parameters):
    """Parameters of ``00_language_model``."""

    n_eval_rows: int
    n_ngram_tokens: int
    batch_size: int


@dataclass(frozen=True, kw_only=True)
class SeedDivergenceParameters(Parameters):
    """Parameters of ``01_seed_divergence``, whose fitted law needs five dictionaries (``membership.MIN_SEEDS``)."""

    layer: int
    site: str
    architecture: str
    n_latents: int
    k: int
    n_seeds: int
    n_tokens: int
    n_eval_tokens: int
    batch_size: int
    data_seed: int

    def __post_init__(self):
        super().__post_init__()
        if self.n_seeds < 5:
            raise InputError(f"parameter n_seeds = {self.n_seeds} must be 5 or more")


NOTEBOOKS: dict[str, type[Parameters]] = {
    "00_language_model": LanguageModelParameters,
    "01_seed_divergence": SeedDivergenceParameters,
}
