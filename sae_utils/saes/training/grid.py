"""The cells of an experiment: dictionaries that differ in one thing each, trained in as few passes as data allow."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sae_utils.data.activations.source import ActivationSource
from sae_utils.errors import InputError
from sae_utils.saes.sae import SAE, SAEConfig
from sae_utils.saes.training.store import train_or_load_history
from sae_utils.saes.training.training import TrainingConfig


@dataclass(frozen=True)
class Cell:
    """A stack of dictionaries, one for each seed of the experiment, at a moment of its training."""

    config: SAEConfig
    hook_point: str
    n_tokens: int  # seen by then; fewer than the whole run's: a snapshot of that run

    def vary(self, hook_point: str | None = None, n_tokens: int | None = None, **config) -> "Cell":
        """The cell that differs in what is given: hook point, tokens, or fields of the configuration."""
        return Cell(replace(self.config, **config), hook_point or self.hook_point, n_tokens or self.n_tokens)


def train_cells(
    cells: Iterable[Cell],
    seeds: Sequence[int],
    sources: Sequence[ActivationSource],
    training: TrainingConfig,
    folder: Path,
    device: str = "cpu",
    progress: bool = True,
) -> dict[Cell, SAE]:
    """The stack of each cell, in the order given, equal ones once: read from ``folder`` or trained (``train_or_load``).

    Each cell reads the first of ``sources`` that has its hook point; those of one source are trained in one pass, and
    cells that differ in their tokens alone are snapshots of one run. Raises InputError where no source has a hook
    point.
    """
    cells = list(dict.fromkeys(cells))
    at = {cell.hook_point: _source_of(cell.hook_point, sources) for cell in cells}
    stacks: dict[Cell, SAE] = {}
    for source in dict.fromkeys(at.values()):
        mine = [cell for cell in cells if at[cell.hook_point] is source]
        runs = list(dict.fromkeys(replace(cell, n_tokens=training.n_tokens) for cell in mine))
        new = [_new(run, seeds, source).to(device) for run in runs]
        tokens = [[c.n_tokens for c in mine if c.vary(n_tokens=training.n_tokens) == run] for run in runs]
        histories = train_or_load_history(new, source, training, folder, tokens, progress)
        for run, history in zip(runs, histories, strict=True):
            stacks |= {replace(run, n_tokens=n): sae for n, sae in history.items()}
    return {cell: stacks[cell] for cell in cells}


def _source_of(hook_point: str, sources: Sequence[ActivationSource]) -> ActivationSource:
    found = next((source for source in sources if hook_point in source.hook_points), None)
    if found is None:
        raise InputError(f"hook point {hook_point!r} is in none of the sources of activations")
    return found


def _new(cell: Cell, seeds: Sequence[int], source: ActivationSource) -> SAE:
    return SAE.create(cell.config, seeds, cell.hook_point, source.normalisation[cell.hook_point])
