"""Trains a share of what a preset's notebooks train: ``python -m sae_utils.run.train --preset laptop --shard 3/16``.

Shards run at once, on machines that share ``results/cache``, or one after the other; the notebooks then find their
dictionaries there. Who trains what follows from the plans alone, for shards that start at different times would see
different stores. What another shard is training is waited for only where something of this one's comes after it; what
a dead one was training is taken over and goes on from its checkpoint (``saes.training.locks``). A stack that one
device's memory does not hold is cut by seeds, and several shards train its parts: the memory of all machines must be
the same. A search is made by the shards whose stacks wait for it. Evaluation, meta-SAEs and what waits for results are
left to the notebooks.
"""

import argparse
import logging
import re
import sys
import textwrap
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

from sae_utils.data.models.language_model import load_language_model
from sae_utils.errors import InputError
from sae_utils.memory import total_memory
from sae_utils.paths import NOTEBOOKS, RESULTS
from sae_utils.run.costs.cost import Throughput, together, training_operations
from sae_utils.run.costs.dry_run import Planned, costs_of, hours, speed_of
from sae_utils.run.costs.throughput import device_at_hand
from sae_utils.run.notebooks import select
from sae_utils.run.parameters.checks import check_device
from sae_utils.run.parameters.presets import load_preset
from sae_utils.run.plans import Plan, Search, open_plan, plan_of
from sae_utils.run.plans.known_truth import world_source
from sae_utils.run.plans.model_facts import model_facts
from sae_utils.saes.training.grid import Cell, is_whole, largest_pass, passes, train_cells


@dataclass(frozen=True)
class Piece:
    """What one shard trains of a notebook: a stack or a part of one, or a boosted ensemble's later members.

    Those follow one another. ``search`` is what finds their coefficients first.
    """

    notebook: str
    cells: tuple[Cell, ...]
    search: Search | None = None

    @property
    def operations(self) -> float:
        """To train it, once its search is made."""
        return sum(training_operations(cell, len(cell.frozen)) for cell in self.cells)


def pieces_of(planned: Planned, memory: float | None = None) -> list[Piece]:
    """All that waits for no result but that of a search, once, with the snapshots that any notebook wants.

    Stacks are cut for a device of so many bytes, by default the one here. Where there is none each seed is a piece, so
    that there are no fewer than where there is one.
    """
    kept: dict[tuple, tuple[str, Cell]] = {}
    for notebook, (p, plan) in planned.items():
        kind = p.device.partition(":")[0]
        here = kind != "cuda" or device_at_hand(kind) == kind
        total = memory if memory is not None else total_memory(p.device) if here else 0.0
        for cell in plan.searched.ready:
            search = plan.search.only(plan[cell.name].needs) if plan[cell.name].open else None
            for part in cell.parts(kind, total):
                key = p.model, p.corpus, p.dtype, part.identity, search
                name, first = kept.get(key, (notebook, part))
                kept[key] = name, replace(first, snapshots=tuple(sorted({*first.snapshots, *part.snapshots})))
    ensembles: dict[tuple, list[Cell]] = {}
    for (*_, search), (notebook, cell) in kept.items():
        first = cell.frozen[1][0] if len(cell.frozen) > 1 else cell.name
        part = () if cell.frozen else cell.seeds
        ensembles.setdefault((notebook, search, first, part), []).append(cell)
    return [Piece(notebook, tuple(cells), search) for (notebook, search, *_), cells in ensembles.items()]


def operations_of(pieces: Iterable[Piece]) -> float:
    """To train pieces and to make their searches, each once."""
    searches = {piece.search for piece in pieces if piece.search}
    pilots = sum(training_operations(pilot) for search in searches for pilot in search.pilots())
    return pilots + sum(piece.operations for piece in pieces)


def shares_of(pieces: Iterable[Piece], n_shards: int) -> list[list[Piece]]:
    """The pieces of each shard: the longest first, each to the shard that then has least to do."""
    shares: list[list[Piece]] = [[] for _ in range(n_shards)]
    for piece in sorted(pieces, key=lambda piece: -operations_of([piece])):
        min(shares, key=lambda share: operations_of([*share, piece])).append(piece)
    return shares


def prepare(planned: Planned, folder: Path) -> None:
    """Makes what all shards read: rows of text and caches of activations.

    Without it the first shard that needs one of these makes it, and the others wait.
    """
    for notebook, (p, plan) in planned.items():
        start, kept = time.monotonic(), {one for one in plan.activations if one == one.whole and not one.streamed}
        if not plan.activations:
            continue
        open_plan(plan, _language_model(p.model, p.device, p.dtype), p.corpus, folder, kept)
        print(f"{notebook}: text and activations {time.monotonic() - start:.0f} s", flush=True)


def train_share(share: Sequence[Piece], planned: Planned, folder: Path) -> int:
    """Trains what ``folder`` lacks of a share, a line for each pass over activations; gives the number that failed.

    What comes after other stacks or a search is last: by then other shards may have trained those.
    """
    failed = 0
    for is_later in (False, True):
        for notebook in dict.fromkeys(piece.notebook for piece in share):
            plan = planned[notebook][1]
            cells = [cell for piece in share if piece.notebook == notebook for cell in piece.cells]
            cells = [cell for cell in cells if bool(plan[cell.name].comes_after) == is_later]
            try:
                failed += _train(cells, notebook, planned, folder) if cells else 0
            except InputError as error:
                print(f"{notebook}: {', '.join(cell.name for cell in cells)} FAILED: {error}", flush=True)
                failed += 1
    return failed


def _train(cells: list[Cell], notebook: str, planned: Planned, folder: Path) -> int:
    """Trains cells of one notebook, pass by pass: no more is in memory than a pass and what it comes after."""
    p, plan = planned[notebook]
    searches = {name for cell in cells if plan[cell.name].open for name in plan[cell.name].needs}
    reads = {cell.reads for cell in cells} | ({plan.search.reads, plan.search.held_out} if searches else set())
    worlds = {one for one in reads if one.split == "world"}
    sources = {}
    if reads - worlds:
        model = _language_model(p.model, p.device, p.dtype)
        sources = open_plan(plan, model, p.corpus, folder, reads - worlds)[1]
    if searches:
        plan = plan.tuned(plan.search.only(searches).run(sources, folder, p.device))
    cells = [replace(plan[cell.name], snapshots=cell.snapshots, seeds=cell.seeds) for cell in cells]
    groups = passes(cells, p.device.partition(":")[0], largest_pass(p.device))
    groups.sort(key=lambda group: (len(group[0].frozen), -Piece(notebook, tuple(group)).operations))
    failed = 0
    for group in groups:
        start, error = time.monotonic(), ""
        before = [plan[name] for name in dict.fromkeys(name for cell in group for name, _ in cell.frozen)]
        at = {one: world_source(p, one) for one in worlds & {group[0].reads}} or sources
        try:
            wanted = [cell for cell in group if not _is_in_whole(cell, plan[cell.name], at, folder, p.device)]
            train_cells([*before, *wanted], at, folder, p.device, progress=sys.stderr.isatty())
        except InputError as refusal:
            error, failed = f"  FAILED: {refusal}", failed + 1
        names = textwrap.shorten(", ".join(_said(cell, plan) for cell in group), 70, placeholder=" ...")
        print(f"{notebook}: {names} {time.monotonic() - start:.0f} s{error}", flush=True)
    return failed


def _is_in_whole(part: Cell, cell: Cell, sources, folder: Path, device: str) -> bool:
    """Whether a part of a cell is not wanted, for all of it was trained where memory is larger."""
    whole = replace(part, seeds=cell.seeds)
    return part != whole and is_whole(whole, sources, folder, device)


def _said(cell: Cell, plan: Plan) -> str:
    """The name of a cell, with its seeds where these are a part of the plan's."""
    part = f", seeds {cell.seeds[0]} to {cell.seeds[-1]}"
    return cell.name + (part if cell.seeds != plan[cell.name].seeds else "")


@cache
def _language_model(name: str, device: str, dtype: str):
    return load_language_model(name, device, dtype)


def left_over(planned: Planned) -> list[str]:
    """What no shard trains, a line a notebook."""
    lines = []
    for notebook, (_, plan) in planned.items():
        there = {cell.name for cell in plan.searched.ready}
        names = [cell.name for cell in plan.cells if cell.name not in there] + ["meta-SAEs"] * bool(plan.meta)
        lines += [f"left to notebook {notebook}: {', '.join(names)}"] if names else []
    return lines


def forecast(shares: Sequence[Sequence[Piece]], planned: Planned, at: Throughput) -> list[str]:
    """Hours of what is made once, of all shards, and of the language model where each shard runs it again."""
    for p, _ in planned.values():
        if not model_facts(p.model):
            raise InputError(f"--dry-run: the sizes of {p.model} are not known on this machine")
    each = [seconds_of(planned, at, share) for share in shares]
    spans = [sum(seconds.values()) for seconds in each]
    lines = [
        f"text and caches of activations, once: {hours(sum(seconds_of(planned, at).values()))}",
        f"{len(shares)} shards: {hours(sum(spans))} in all, {hours(min(spans))} to {hours(max(spans))} each",
    ]
    streamed = sum(seconds.get("language model", 0.0) for seconds in each)
    if streamed:
        alone = hours(seconds_of(planned, at, [piece for share in shares for piece in share])["language model"])
        lines.append(f"of these, the language model for streamed activations: {hours(streamed)}; in one shard {alone}")
    return lines


def seconds_of(planned: Planned, at: Throughput, pieces: Sequence[Piece] | None = None) -> dict[str, float]:
    """By what they are for: of pieces and their searches, or without any of what is made once.

    What each piece streams the language model makes anew.
    """
    own_plans = {}
    for notebook, (p, plan) in planned.items():
        own = [piece for piece in pieces or () if piece.notebook == notebook]
        searches = {name for piece in own if piece.search for name in piece.search.names}
        bare = replace(plan, cells=tuple(cell for piece in own for cell in piece.cells), meta=None, text=())
        bare = replace(bare, search=plan.search and plan.search.only(searches), forward_tokens=0)
        if pieces is not None:
            bare = replace(bare, activations=())
        own_plans[notebook] = p, bare
    return together(costs_of(own_plans, at.memory).values()).seconds(at)


def planned_of(name: str, notebooks: Path, only: str = "") -> dict[str, tuple[SimpleNamespace, Plan]]:
    """The parameters and the plan of each notebook of a preset, or of ``only`` some."""
    preset, planned = load_preset(name, notebooks), {}
    for path in select(notebooks, only):
        if path.stem in preset.overrides:
            p = SimpleNamespace(**preset.overrides[path.stem])
            facts = model_facts(p.model) or _language_model(p.model, p.device, p.dtype)
            planned[path.stem] = p, plan_of(path.stem, p, facts)
    return planned


def position_of(shard: str) -> tuple[int, int]:
    """``3/16`` as the position of the shard, from 0, and the number of shards. Raises InputError for anything else."""
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", shard)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise InputError(f"--shard {shard}: it must be such as 3/16, from 1/16 to 16/16")
    return int(match[1]) - 1, int(match[2])


def main(arguments: Sequence[str] | None = None, notebooks: Path = NOTEBOOKS, results: Path = RESULTS) -> int:
    """The command line; gives the exit code: 0 done, 1 something failed, 2 bad input."""
    parser = argparse.ArgumentParser(prog="python -m sae_utils.run.train", description=__doc__.partition(":")[0])
    parser.add_argument("--preset", default="laptop", help="presets/<PRESET>.yaml in the notebooks' folder")
    parser.add_argument("--shard", default="1/1", help="which share of how many, such as 3/16")
    parser.add_argument("--dry-run", action="store_true", help="say what would be trained, and what that would cost")
    parser.add_argument("--throughput", default="", help="with --dry-run: a machine's speed, as a dry run prints it")
    options = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s")
    logging.getLogger("sae_utils").setLevel(logging.INFO)
    try:
        position, n_shards = position_of(options.shard)
        planned = planned_of(options.preset, notebooks)
        at = speed_of(options.throughput, planned) if options.dry_run else None
        shares = shares_of(pieces_of(planned, at and at.memory), n_shards)
        share = shares[position]
        n_stacks = sum(len(piece.cells) for one in shares for piece in one)
        print(f"shard {options.shard}: {sum(len(piece.cells) for piece in share)} of {n_stacks} stacks", flush=True)
        if at:
            names = [f"{one.notebook}: {_said(cell, planned[one.notebook][1])}" for one in share for cell in one.cells]
            print("\n".join([*names, *left_over(planned), *forecast(shares, planned, at)]))
            return 0
        print("\n".join(left_over(planned)), flush=True)
        for device in {p.device for p, _ in planned.values()}:
            check_device(device)
        return 1 if train_share(share, planned, results / "cache") else 0
    except InputError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
