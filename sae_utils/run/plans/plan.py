"""What one notebook reads and trains, as data: it trains from it, ``--dry-run`` prints and costs it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Int

from sae_utils.analysis.meta.meta_sae import MetaTraining
from sae_utils.analysis.meta.study import Sizes
from sae_utils.data.activations import ActivationSource, ActivationStream, open_source
from sae_utils.data.models.language_model import LanguageModel
from sae_utils.data.text import token_rows
from sae_utils.saes import SAEConfig
from sae_utils.saes.training import TrainingConfig, Tuned, tune_sparsity
from sae_utils.saes.training.grid import Activations, Cell
from sae_utils.saes.training.residuals import PartSource, hold
from sae_utils.saes.training.sparsity import STAGES


@dataclass(frozen=True)
class Search:
    """Pilots that bring configurations, whose ``sparsity`` is a first guess, to an L0 (``tune_sparsity``)."""

    configs: tuple[SAEConfig, ...]
    target_l0: float
    hook_point: str
    training: TrainingConfig
    reads: Activations
    held_out: Activations
    n_eval_tokens: int

    @property
    def names(self) -> set[str]:
        """What the cells that wait for it call the search of each configuration."""
        return {search_name(config) for config in self.configs}

    def only(self, names: Collection[str]) -> "Search":
        """The search of some of the configurations, which finds for each what the whole one finds."""
        return replace(self, configs=tuple(one for one in self.configs if search_name(one) in names))

    def run(self, sources: Mapping[Activations, ActivationSource], folder: Path, device: str) -> list[Tuned]:
        """Train the pilots; each is read from ``folder`` where it is there."""
        return tune_sparsity(
            self.configs, self.target_l0, sources[self.reads], sources[self.held_out], self.hook_point, self.training,
            n_eval_tokens=self.n_eval_tokens, device=device, folder=folder,
        )  # fmt: skip

    def pilots(self) -> list[Cell]:
        """The pilots that there usually are: two of each length, though a search may take more or fewer."""
        return [
            Cell(search_name(config), replace(config, sparsity=factor * config.sparsity), self.hook_point, (0,),
                 replace(self.training, n_tokens=max(round(stage.share * self.training.n_tokens),
                                                     self.training.batch_size)), self.reads)
            for config in self.configs
            for stage in STAGES
            for factor in STAGES[0].factors
        ]  # fmt: skip


def search_name(config: SAEConfig) -> str:
    """The name by which cells wait for the search of this architecture's coefficient at this width."""
    return f"{config.architecture} {config.n_latents} pilots"


@dataclass(frozen=True)
class Meta:
    """Meta-SAEs, whose data are decoder rows of dictionaries; ``cells`` say how many there are of each size."""

    training: MetaTraining
    sizes: Sizes
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Plan:
    """All that one notebook reads and trains. ``forward_tokens`` pass through the whole language model beside that."""

    activations: tuple[Activations, ...] = ()
    cells: tuple[Cell, ...] = ()
    search: Search | None = None
    meta: Meta | None = None
    text: tuple[tuple[str, int], ...] = ()  # (split, tokens) beside those of the activations
    forward_tokens: int = 0
    context: int = 0  # tokens in a row, which ``plan_of`` fills in

    def __getitem__(self, name: str) -> Cell:
        return next(cell for cell in self.cells if cell.name == name)

    @property
    def source(self) -> Activations:
        """What dictionaries are trained on."""
        return next(a for a in self.activations if a.split == "train")

    @property
    def held_out(self) -> Activations:
        """What they are evaluated on."""
        return next(a for a in self.activations if a.split == "held_out")

    @property
    def ready(self) -> list[Cell]:
        """The cells that wait for no result."""
        open_ones = {cell.name for cell in self.cells if cell.open or cell.given}
        return [cell for cell in self.cells if not open_ones & {cell.name, *(name for name, _ in cell.frozen)}]

    @property
    def searched(self) -> "Plan":
        """The plan as if its search had found the first guesses: what then waits for no result is what it waits for."""
        return self.settled(dict.fromkeys(self.search.names, {}) if self.search else {})

    @property
    def pilots(self) -> list[Cell]:
        """The pilot cells of the search; none where there is no search."""
        return self.search.pilots() if self.search else []

    @property
    def meta_cells(self) -> tuple[Cell, ...]:
        """How many meta-SAEs there are of each size."""
        return self.meta.cells if self.meta else ()

    def settled(self, values: Mapping[str, Mapping[str, object]]) -> "Plan":
        """The plan once results have settled fields of configurations; by the name of a cell, or of what it needs."""

        def settle(cell: Cell) -> Cell:
            found = [values[name] for name in (cell.name, *cell.needs) if name in values]
            return cell.settled(**found[0]) if found else cell

        return replace(self, cells=tuple(settle(cell) for cell in self.cells))

    def tuned(self, found: Sequence[Tuned]) -> "Plan":
        """The plan with the coefficients that its search found."""
        return self.settled({search_name(one.config): {"sparsity": one.config.sparsity} for one in found})


def open_plan(
    plan: Plan, model: LanguageModel, corpus: str, cache: Path, only: Collection[Activations] | None = None
) -> tuple[dict[str, Int[np.ndarray, "n_rows context"]], dict[Activations, ActivationSource]]:
    """The token rows of each split, and the sources of the activations that the plan reads, or of ``only`` some."""
    tokens: dict[str, int] = {}
    for one in plan.activations:
        tokens[one.split] = max(one.n_tokens, tokens.get(one.split, 0))
    rows = {
        split: token_rows(corpus, model.tokenizer, split, -(-n // plan.context), plan.context, cache)
        for split, n in sorted(tokens.items(), key=lambda one: one[1])  # too little text shows before much is read
    }
    sources: dict[Activations, ActivationSource] = {}
    needed = plan.activations if only is None else {*only, *(one.whole for one in only)}
    for one in plan.activations:
        if one not in needed:
            continue
        if one.held:
            sources[one] = hold(sources[one.whole], one.held)
        elif one.part:
            sources[one] = PartSource(sources[one.whole], *one.part)
        elif one.streamed:
            sources[one] = ActivationStream(model, rows[one.split], one.hook_points)
        else:
            sources[one] = open_source(model, rows[one.split], one.hook_points, cache)
    return rows, sources
