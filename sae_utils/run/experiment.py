"""What a notebook works on: its language model, its text, its activations, and the dictionaries that it trains."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int

from sae_utils.data.activations import ActivationSource
from sae_utils.data.models.language_model import LanguageModel, load_language_model
from sae_utils.paths import RESULTS
from sae_utils.run.plans import Plan, open_plan, plan_of
from sae_utils.saes.formats.published import Published
from sae_utils.saes.sae import SAE
from sae_utils.saes.training.grid import Activations, train_cells


@dataclass(frozen=True)
class Experiment:
    """The open model, text and activations of a notebook's plan."""

    p: object  # the notebook's parameters
    lm: LanguageModel
    plan: Plan
    rows: Mapping[str, Int[np.ndarray, "n_rows context"]]  # of tokens, by split: train, held_out
    sources: Mapping[Activations, ActivationSource]
    cache: Path

    @property
    def hook(self) -> str:
        """The name of the hook point that ``site`` and ``layer`` are in this model."""
        return self.lm.hook_point(self.p.site, self.p.layer)

    @property
    def held_out(self) -> ActivationSource:
        """Activations of whole files that no dictionary is trained on."""
        return self.sources[self.plan.held_out]

    def train(self) -> dict[str, SAE]:
        """The dictionaries of the plan's cells by name, from the store or trained: those that wait for no search."""
        return train_cells(self.plan.ready, self.sources, self.cache, self.p.device)


def open_experiment(notebook: str, p, given: Published | None = None) -> Experiment:
    """Loads the language model, reads the text and opens the activations; what is cached is read from there.

    ``given`` dictionaries are checked against the model's hook point first. Raises InputError where anything that ``p``
    names is not there or does not fit.
    """
    lm = load_language_model(p.model, p.device, p.dtype, max([p.layer, *getattr(p, "layers", ())]))
    if given:
        given.check_fits(lm.hook_point(p.site, p.layer), lm)
    cache = Path(p.results_dir or RESULTS) / "cache"
    plan = plan_of(notebook, p, lm)
    rows, sources = open_plan(plan, lm, p.corpus, cache)
    return Experiment(p, lm, plan, rows, sources, cache)
