"""Cells: the dictionaries that an experiment trains, as data; and the one function that trains them.

A cell holds all that training depends on save the activations, and the first weights of one that is ``given``. So a
plan of cells can be printed and costed without loading a language model.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sae_utils.data.activations import ActivationSource
from sae_utils.errors import InputError
from sae_utils.memory import MemoryPlan, check_fits, dictionary_bytes, total_memory, training_plan
from sae_utils.saes.sae import SAE, SAEConfig
from sae_utils.saes.training.residuals import ResidualSource, hold
from sae_utils.saes.training.store import is_stored, train_or_load_history
from sae_utils.saes.training.trainer import TrainingConfig

Chain = tuple[tuple[str, int], ...]  # (cell, position in it) of the frozen members that come before a boosted one
PASS_MEMORY = 0.5  # share of a device's memory that the stacks of one pass take
STACK_MEMORY = 0.6  # the same of a stack alone: the rest is for a language model and its buffer, and for HEADROOM


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
        return training_plan(self.config, len(self.seeds), self.training.batch_size, device)

    def parts(self, device: str, total: float | None) -> list["Cell"]:
        """The stacks of its name that are trained: itself, or groups of its seeds where memory does not hold it.

        They are the fewest of about equal size that take ``STACK_MEMORY`` of the ``total`` bytes of a device, or else
        one for each seed. ``device`` is cpu or cuda. Not the free but all memory decides: equal machines agree.
        """
        n_seeds, n = len(self.seeds), 1
        if total is None or self.frozen or self.given:
            return [self]

        def largest(n: int) -> "Cell":
            return replace(self, seeds=self.seeds[: -(-n_seeds // n)])

        while n < n_seeds and largest(n).memory(device).total > STACK_MEMORY * total:
            n += 1
        starts = [-(-i * n_seeds // n) for i in range(n + 1)]
        return [replace(self, seeds=self.seeds[a:b]) for a, b in zip(starts, starts[1:], strict=False)]


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

    Each is read from ``folder`` or trained (``train_or_load_history``), equal ones once; what memory does not hold in
    parts (``Cell.parts``), whose last digits differ from those of the stack trained whole. ``begun`` has the first
    weights of cells whose weights are given. Raises InputError for a cell in which something is open, for one that
    comes after a cell which is not here, and for what memory does not hold in parts either.
    """
    found = dict(trained or {})
    missing = [cell for cell in cells if cell.name not in found]
    _check(missing, {*found, *(cell.name for cell in missing)}, begun or {})
    whole = {part: cell for cell in missing for part in _parts(cell, sources, folder, device)}
    residuals = _Residuals(found)
    for group in passes(whole, _kind(device), largest_pass(device)):
        source, hook_points = residuals.source(sources[group[0].reads], group)
        # What is held, or a part, is in the units of the whole source; a residual has units of its own.
        units = source if group[0].frozen else _units(group[0], sources)
        runs = list(_by_identity(group).values())
        new = [_new(same[0], units, hook_points[same[0].name], begun or {}).to(device) for same in runs]
        tokens = [[n for cell in same for n in cell.snapshots] for same in runs]
        histories = train_or_load_history(new, source, group[0].training, folder, tokens, progress)
        del new  # on the device a part is in the way of the next one
        for same in runs:
            _keep(histories.pop(0), same, whole, found)
    return found


def _parts(cell: Cell, sources: Mapping[Activations, ActivationSource], folder: Path, device: str) -> list[Cell]:
    """What is trained of a cell on this machine. One that was trained where memory is larger is not cut.

    Raises InputError where the device does not even hold the weights of all parts.
    """
    total = total_memory(device)
    parts = cell.parts(_kind(device), total)
    if len(parts) == 1:
        return parts
    c = cell.config
    size = dictionary_bytes(len(cell.seeds), c.d_in, c.n_latents, c.architecture)
    check_fits(MemoryPlan(dictionaries=size), total, str(device))
    return [cell] if is_whole(cell, sources, folder, device) else parts


def is_whole(cell: Cell, sources: Mapping[Activations, ActivationSource], folder: Path, device: str) -> bool:
    """Whether ``folder`` has the whole stack of a cell that is neither boosted nor given, with its snapshots."""
    try:
        new = _new(cell, _units(cell, sources), cell.hook_point, {})
    except InputError:  # not even the CPU's memory holds it
        return False
    return is_stored(new, sources[cell.reads], cell.training, folder, cell.snapshots, _kind(device))


def _kind(device: str) -> str:
    return str(device).partition(":")[0]


def _units(cell: Cell, sources: Mapping[Activations, ActivationSource]) -> ActivationSource:
    """Whose units the weights of a cell are in: the whole source's where it reads the first of it, or a part."""
    return sources.get(cell.reads.whole, sources[cell.reads])


def _keep(history: dict[int, SAE], same: Sequence[Cell], whole: Mapping[Cell, Cell], found: dict[str, SAE]) -> None:
    """Put what was trained for some equal cells, by tokens, among what is found by name.

    Parts are joined on the CPU; with the last one the stack goes to their device.
    """
    for n, sae in history.items():
        sae.hook_point = same[0].hook_point  # a boosted member's own was that of its residual
        for name in same[0].fixed:
            sae.get_parameter(name).requires_grad_(True)
        for cell in same:
            if n not in (*cell.snapshots, cell.training.n_tokens):
                continue
            name, seeds = cell.at(n), whole[cell].seeds
            if seeds == cell.seeds:
                found[name] = sae
                continue
            joined = found.get(name) or SAE(cell.config, seeds, sae.hook_point, sae.normalisation)
            start = seeds.index(cell.seeds[0])
            own = slice(start, start + len(cell.seeds))
            for key, tensor in sae.stacked().items():
                joined.stacked()[key][own].copy_(tensor)
            found[name] = joined.to(sae.W_dec.device) if own.stop == len(seeds) else joined


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
