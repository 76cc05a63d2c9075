"""Cells: the dictionaries that an experiment trains, as data; and the one function that trains them.

A cell holds all that training depends on save the activations, and the first weights of one that is ``given``. So a
plan of cells can be printed and costed without loading a language model.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sae_utils.data.activations import ActivationSource
from sae_utils.errors import InputError
from sae_utils.memory import MemoryPlan, total_memory, training_plan
from sae_utils.saes.sae import SAE, SAEConfig
from sae_utils.saes.training.residuals import ResidualSource, hold
from sae_utils.saes.training.store import train_or_load_history
from sae_utils.saes.training.trainer import TrainingConfig

Chain = tuple[tuple[str, int], ...]  # (cell, position in it) of the frozen members that come before a boosted one
PASS_MEMORY = 0.5  # share of a device's memory that the stacks of one pass take


@dataclass(frozen=True)
class Activations:
    """Rows of text at some hook points of a language model."""

    hook_points: tuple[str, ...]
    n_tokens: int
    split: str = "train"
    streamed: bool = False  # never kept on disk
    held: int = 0  # only so many first tokens, in memory where that has room for them
    part: tuple[int, int, int, int] | None = None  # only some rows: what ``PartSource`` is given

    @property
    def whole(self) -> "Activations":
        """What these are a part of, or the first tokens of; else themselves."""
        return replace(self, held=0, part=None)


@dataclass(frozen=True)
class Cell:
    """A stack of dictionaries that differ in their seed alone. Cells of one plan have different names."""

    name: str
    config: SAEConfig
    hook_point: str
    seeds: tuple[int, ...]
    training: TrainingConfig
    reads: Activations
    snapshots: tuple[int, ...] = ()  # tokens after which the stack is looked at, before the end
    frozen: Chain = ()  # boosting: the members whose residual this one learns
    given: bool = False  # first weights come from results, not from the seeds
    fixed: tuple[str, ...] = ()  # parameters that keep their first weights
    needs: tuple[str, ...] = ()  # cells or searches whose results settle what is open
    open: tuple[str, ...] = ()  # fields of ``config`` that are upper estimates until then

    def settled(self, **config) -> "Cell":
        """The cell with the fields of its configuration that results have given."""
        return replace(self, config=replace(self.config, **config), needs=(), open=())

    def at(self, n_tokens: int) -> str:
        """The name of its snapshot after so many tokens; at the end its own."""
        return self.name if n_tokens == self.training.n_tokens else f"{self.name} after {n_tokens} tokens"

    @property
    def identity(self) -> "Cell":
        """What is equal for cells that one training serves; cells with something open are not known to be equal."""
        return replace(self, name=self.name if self.given or self.open else "", snapshots=(), needs=())

    @property
    def comes_after(self) -> tuple[str, ...]:
        """Names of the cells and searches that must be done before this one."""
        return tuple(dict.fromkeys([*self.needs, *(name for name, _ in self.frozen)]))

    def memory(self, device: str) -> MemoryPlan:
        """What training this stack needs beside its activations; ``device`` is cpu or cuda."""
        c = self.config
        shape = len(self.seeds), c.d_in, c.n_latents, self.training.batch_size
        return training_plan(*shape, c.architecture, c.k, c.auxk, device)


def passes(cells: Iterable[Cell], device: str = "cpu", most_bytes: float | None = None) -> list[list[Cell]]:
    """Cells that are trained in lockstep, each batch read once; a boosted ensemble's stages come one after the other.

    With ``most_bytes``, passes whose stacks would take more memory are split. Equal runs stay together.
    """
    same = _by_identity(cells)
    groups: dict[tuple, list[list[Cell]]] = {}
    for run in sorted(same, key=lambda run: len(run.frozen)):
        # Members of several ensembles of one form read their residuals as hook points of one source.
        key = run.reads, run.training, len(run.frozen), run.config if run.frozen else None
        pieces = groups.setdefault(key, [[]])
        together = sum((cell.memory(device) for cell in [*pieces[-1], run]), MemoryPlan())
        if pieces[-1] and most_bytes is not None and together.total > most_bytes:
            pieces.append([])
        pieces[-1].append(run)
    return [[cell for run in piece for cell in same[run]] for pieces in groups.values() for piece in pieces]


def largest_pass(device: str) -> float | None:
    """Bytes that the stacks of one pass take at most on a device; None where its memory is not known."""
    total = total_memory(device)
    return None if total is None else PASS_MEMORY * total


def _by_identity(cells: Iterable[Cell]) -> dict[Cell, list[Cell]]:
    """Cells that one training serves, by what it is."""
    same: dict[Cell, list[Cell]] = {}
    for cell in cells:
        same.setdefault(cell.identity, []).append(cell)
    return same


def train_cells(
    cells: Iterable[Cell],
    sources: Mapping[Activations, ActivationSource],
    folder: Path,
    device: str = "cpu",
    trained: Mapping[str, SAE] | None = None,
    begun: Mapping[str, SAE] | None = None,
    progress: bool = True,
) -> dict[str, SAE]:
    """The stacks of the cells and their snapshots, by name, with those ``trained`` before.

    Each is read from ``folder`` or trained (``train_or_load_history``), equal ones once. ``begun`` has the first
    weights of cells whose weights are given. Raises InputError for a cell in which something is open, and for one that
    comes after a cell which is not here.
    """
    found = dict(trained or {})
    missing = [cell for cell in cells if cell.name not in found]
    _check(missing, {*found, *(cell.name for cell in missing)}, begun or {})
    residuals = _Residuals(found)
    for group in passes(missing, str(device).partition(":")[0], largest_pass(device)):
        runs = list(_by_identity(group).values())
        reads = group[0].reads
        source, hook_points = residuals.source(sources[reads], group)
        # What is held, or a part, is in the units of the whole source; a residual has units of its own.
        units = source if group[0].frozen else sources.get(reads.whole, source)
        new = [_new(same[0], units, hook_points[same[0].name], begun or {}).to(device) for same in runs]
        tokens = [[n for cell in same for n in cell.snapshots] for same in runs]
        histories = train_or_load_history(new, source, group[0].training, folder, tokens, progress)
        for same, history in zip(runs, histories, strict=True):
            for n, sae in history.items():
                sae.hook_point = same[0].hook_point  # a boosted member's own was that of its residual
                for name in same[0].fixed:
                    sae.get_parameter(name).requires_grad_(True)
                found |= {cell.at(n): sae for cell in same if n in (*cell.snapshots, cell.training.n_tokens)}
    return found


def _check(cells: Sequence[Cell], known: set[str], begun: Mapping[str, SAE]) -> None:
    """Refuse cells that cannot be trained yet, before any is."""
    for cell in cells:
        if cell.open:
            raise InputError(f"cell {cell.name!r} waits for {', '.join(cell.needs)}: {', '.join(cell.open)} is open")
        unknown = [name for name, _ in cell.frozen if name not in known]
        if unknown:
            raise InputError(f"cell {cell.name!r} comes after {unknown[0]!r}, which is not among the cells")
        if cell.given and cell.name not in begun:
            raise InputError(f"cell {cell.name!r} has no first weights in begun")
        if "W_dec" in cell.fixed and not cell.config.unit_norm_decoder:
            raise InputError(f"cell {cell.name!r}: only a decoder with rows of length one can be fixed")


def _new(cell: Cell, units: ActivationSource, hook_point: str, begun: Mapping[str, SAE]) -> SAE:
    """The untrained stack of a cell, normalised as ``units`` says, with what is fixed in it frozen."""
    if cell.given:
        sae = begun[cell.name].copy()
        if (sae.config, sae.seeds) != (cell.config, cell.seeds):
            raise InputError(f"cell {cell.name!r} is {cell.config} of seeds {cell.seeds}, its weights are {sae.config}")
    else:
        sae = SAE.create(cell.config, cell.seeds, hook_point, units.normalisation[hook_point])
    for name in cell.fixed:
        sae.get_parameter(name).requires_grad_(False)
    return sae


class _Residuals:
    """The sources that boosted members learn from, each made from that of the stage before it."""

    def __init__(self, trained: Mapping[str, SAE]):
        self._trained = trained
        self._stage: object = None  # what the one source that is kept was made from
        self._of_stage: ActivationSource | None = None  # those of earlier stages would only take memory

    def source(self, base: ActivationSource, cells: Sequence[Cell]) -> tuple[ActivationSource, dict[str, str]]:
        """What the cells, all of one stage, read; and the hook point there of each, by name."""
        chains = list(dict.fromkeys(cell.frozen for cell in cells))
        if not chains[0]:
            return base, {cell.name: cell.hook_point for cell in cells}
        seeds = [self._first_seed(chain) for chain in chains]
        if len(set(seeds)) < len(seeds):
            raise InputError(f"seeds {seeds} of the first members of boosted ensembles must differ")
        return self._after(base, chains), {cell.name: self._hook_point(cell.frozen) for cell in cells}

    def _first_seed(self, chain: Chain) -> int:
        name, position = chain[0]
        return self._trained[name].seeds[position]

    def _hook_point(self, chain: Chain) -> str:
        """The name of the hook point of what this chain, of one dictionary or more, leaves."""
        return f"{self._trained[chain[0][0]].hook_point} less {len(chain)} of seed {self._first_seed(chain)}"

    def _after(self, base: ActivationSource, chains: list[Chain]) -> ActivationSource:
        """What the frozen dictionaries of each chain leave of ``base``."""
        if self._stage != (base, chains):
            one_less = [chain[:-1] for chain in chains]
            before = self._after(base, one_less) if one_less[0] else base
            frozen = {}
            for chain, shorter in zip(chains, one_less, strict=True):
                last = self._trained[chain[-1][0]].dictionary(chain[-1][1])
                frozen[self._hook_point(chain)] = last.copy(hook_point=self._hook_point(shorter)) if shorter else last
            self._stage, self._of_stage = (base, chains), hold(ResidualSource(before, frozen))
        return self._of_stage
