"""The tables of SCALE.md: what the papers' presets take on 1, 8 and 64 GPUs, from their plans and a GPU's speed.

    python benchmarks/scale.py --write                    # the page anew
    python benchmarks/scale.py --measure cuda             # a speed, in the form of gpu.yaml
    python benchmarks/scale.py --throughput gpu.yaml      # the tables at that speed

The page's speed is h100.yaml, measured for a few seconds; nobody ran a whole preset.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from sae_utils.data.models.language_model import check_device
from sae_utils.errors import InputError
from sae_utils.files import write_text
from sae_utils.memory import HEADROOM, activation_bytes, dictionary_bytes, human
from sae_utils.paths import NOTEBOOKS, PRESETS
from sae_utils.run.costs.cost import Cost, Costs, Throughput, together
from sae_utils.run.costs.dry_run import Planned, hours
from sae_utils.run.costs.throughput import measure
from sae_utils.run.parameters.rules import ARCHITECTURES
from sae_utils.run.plans import Plan
from sae_utils.run.plans.model_facts import KNOWN, model_facts
from sae_utils.run.train import Piece, pieces_of, planned_of, seconds_of, shares_of
from sae_utils.saes import SAEConfig
from sae_utils.saes.training import TrainingConfig
from sae_utils.saes.training.grid import PASS_MEMORY, Activations, Cell, passes
from sae_utils.saes.training.training import APART

PAGE = Path(__file__).with_name("SCALE.md")
H100 = Throughput.read(Path(__file__).with_name("h100.yaml"))
GPU, GPUS = H100.memory, (1, 8, 64)  # bytes of one, how many
DETAILED = ("a-llama-3.1-8b", "b-gemma-2-2b")
NAMES = sorted(path.stem for path in PRESETS.glob("[abc]-*.yaml") if not path.stem.endswith("-small"))
DISK = 1e9  # bytes in a second that one reader or writer of a shared disk gets
FORWARD = 4e14  # operations of an H100 in a second in training MPT in bfloat16 (llm-foundry)
LLAMA = KNOWN["meta-llama/Llama-3.1-8B"]


def others_rate() -> float:
    """Operations of SAE training in a second on an H100: Galichin et al. say 30 hours, less their language model's."""
    config, training = SAEConfig(4096, 65_536, "relu", sparsity=5.0), TrainingConfig(819_200_000, 4096)
    cell = Cell("theirs", config, "", (0,), training, Activations(("blocks.19.hook_resid_post",), training.n_tokens))
    work = Costs(LLAMA, "bfloat16").of(Plan(cells=(cell,), context=1024)).operations()
    return work["training"] / (30 * 3600 - work["language model"] / FORWARD)


# Operations of an H100 in a second: without its tensor cores, as dense codes are trained, and in the search of TopK.
FLOAT32, BFLOAT16 = 6.7e13, 9.89e14
BANDWIDTH, ADAM = 3.35e12, 28  # bytes in a second; for each weight four numbers are read and three written

TEXT, STEP = 7e5, 1.5e-3  # tokens in a second; seconds of a step, however small


def rates(dense: float, topk: float) -> dict[str, float]:
    """By architecture."""
    return dict.fromkeys(ARCHITECTURES, dense) | {"topk": topk}


HALF, FULL = {"bfloat16": FORWARD, "float32": FLOAT32 / 2}, {"bfloat16": BFLOAT16, "float32": FLOAT32}
OTHERS = others_rate()
THEIRS = Throughput("H100", GPU, TEXT, STEP, HALF, rates(OTHERS, OTHERS))
LIMIT = Throughput("H100", GPU, 1e12, 1e-9, FULL, rates(FLOAT32, BFLOAT16) | {"batch_topk": BFLOAT16})
CPU = Throughput("CPU, two cores", GPU, TEXT, 2.6e-3, {"bfloat16": 7e10}, rates(5.5e10, 1.1e11))


def cost_of(planned: Planned, memory: float | None = None) -> Cost:
    """Of all notebooks, one after the other, on a GPU of so many bytes."""
    p = next(iter(planned.values()))[0]
    model = Costs(model_facts(p.model), p.dtype, p.device, memory)
    return together([model.of(plan) for _, plan in planned.values()])


def left_to_notebooks(planned: Planned) -> dict:
    """What no shard trains: meta-SAEs and what waits for results."""
    left = {}
    for notebook, (p, plan) in planned.items():
        there = {cell.name for cell in plan.searched.ready}
        cells = tuple(cell for cell in plan.cells if cell.name not in there)
        left[notebook] = p, replace(plan, activations=(), search=None, cells=cells)
    return left


def passes_of(share: Sequence[Piece], planned: Planned, memory: float) -> list[Piece]:
    """A share's passes over the activations, as ``train_share`` makes them: no more stacks at once than have room."""
    found = []
    for is_later in (False, True):
        for notebook, (_, plan) in planned.items():
            own = [piece for piece in share if piece.notebook == notebook]
            cells = [cell for piece in own for cell in piece.cells if bool(plan[cell.name].comes_after) == is_later]
            pilots = pilots_of(own) if is_later else []
            for some in (pilots, cells):
                found += [Piece(notebook, tuple(group)) for group in passes(some, "cuda", PASS_MEMORY * memory)]
    return found


def pilots_of(pieces: Iterable[Piece]) -> list[Cell]:
    """The pilots of the searches of pieces, each once."""
    return list(dict.fromkeys(pilot for piece in pieces if piece.search for pilot in piece.search.pilots()))


def stack_bytes(cell: Cell) -> int:
    """Of a stack's weights, in float32."""
    return dictionary_bytes(len(cell.seeds), cell.config.d_in, cell.config.n_latents, cell.config.architecture)


def checkpoint(cell: Cell) -> int:
    """Bytes of a stack and of Adam's two moments."""
    return 3 * stack_bytes(cell)


class Forecast:
    """Seconds of a preset on ``n`` GPUs at a speed: what is made once, the longest shard, what notebooks train.

    ``search`` are those of the longest shard's searches; one that several shards wait for counts in each.
    """

    def __init__(self, planned: Planned, at: Throughput, n: int):
        pieces = pieces_of(planned, at.memory)
        self.used = min(n, len(pieces))
        split = shares_of(pieces, self.used)
        shares = [passes_of(share, planned, at.memory) for share in split]
        each = [[seconds_of(planned, at, [one]) for one in share] for share in shares]
        self.model = sum(one.get("language model", 0.0) for share in each for one in share)
        spans = [sum(sum(one.values()) for one in share) for share in each]
        searches = [replace(piece, cells=()) for piece in split[spans.index(max(spans))]]
        self.search = sum(seconds_of(planned, at, searches).values())
        self.once, self.longest, self.n_passes = sum(seconds_of(planned, at).values()), max(spans), sum(map(len, each))
        self.left = sum(cost_of(left_to_notebooks(planned), at.memory).seconds(at).values())
        self.wall, self.all = (self.once + shards + self.left for shards in (self.longest, sum(spans)))
        sizes = [[sum(map(checkpoint, one.cells)) for one in share] for share in shares]
        self.largest, self.at_once = max(map(max, sizes)), sum(map(max, sizes))
        cells = [cell for share in shares for one in share for cell in one.cells]
        self.update = sum(stack_bytes(c) / 4 * ADAM * c.training.n_steps for c in cells) / BANDWIDTH
        written = sum(checkpoint(c) * (c.training.n_steps // c.training.checkpoint_every) for c in cells)
        self.written = min(written, DISK * self.all / (1 + APART))


def table(head: str, rows: Iterable[Sequence[object]]) -> str:
    """In Markdown; ``head`` names its columns between bars."""
    lines = [f"| {head} |", "|" + "---|" * (head.count("|") + 1)]
    return "\n".join([*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows)]) + "\n"


def long(seconds: float) -> str:
    """Hours, or years."""
    return hours(seconds) if seconds < 3e7 else f"{seconds / 3.156e7:.0f} years"


def limit(planned: Planned) -> float:
    """Seconds below which the presets on an H100 cannot be: products at the vendor's rate, Adam at the memory's."""
    least = Forecast(planned, LIMIT, 1)
    return least.all + least.update


def preset_row(name: str, planned: Planned, at: Throughput, on: dict[int, Forecast]) -> tuple:
    """Hours of one preset by the number of GPUs, and the memory of what needs most."""
    memory, most = cost_of(planned, at.memory).memory.total, on[GPUS[-1]]
    fits = "" if memory <= HEADROOM * at.memory else ", **too much**"
    return (
        name, len(pieces_of(planned, at.memory)), *(hours(on[n].wall) for n in GPUS), hours(most.once),
        hours(most.longest), hours(most.search), hours(limit(planned)), human(memory) + fits,
    )  # fmt: skip


def disk_row(name: str, planned: Planned, at: Throughput, most: Forecast) -> tuple:
    """Bytes of one preset, and what reading and writing them takes."""
    disk = cost_of(planned, at.memory).disk
    longest = replace(max(pieces_of(planned, at.memory), key=lambda piece: piece.operations), search=None)
    cell, model = longest.cells[0], seconds_of(planned, at, [longest]).get("language model", 0.0)
    kept = activation_bytes(cell.reads.n_tokens, cell.config.d_in)
    return (
        name, human(disk["token rows"]), human(kept), hours(kept / DISK), hours(model / len(longest.cells)),
        human(sum(disk.values())), human(most.largest), human(most.at_once), human(most.written),
        f"{most.written / DISK / most.all:.0%}",
    )  # fmt: skip


def tables(at: Throughput) -> dict[str, str]:
    """By their names on the page."""
    every = {name: planned_of(name, NOTEBOOKS) for name in NAMES}
    on = {name: {n: Forecast(planned, at, n) for n in GPUS} for name, planned in every.items()}
    detailed = [
        (name, n, f.used, *map(hours, (f.once, f.longest, f.left, f.wall, f.all)),
         f"{f.all / n / f.wall:.0%}", f.n_passes, hours(f.model)) for name in DETAILED for n, f in on[name].items()
    ]  # fmt: skip
    p, plan = every[DETAILED[0]]["01_seed_divergence"]
    some = {n: replace(plan, cells=tuple(replace(c, seeds=c.seeds[:n]) for c in plan.cells)) for n in range(1, 6)}
    named = {
        at.device: at,
        "others' measurements": THEIRS,
        "arithmetic limit of an H100": LIMIT,
        "two CPU cores here": CPU,
    }
    speeds = [
        (what, *(f"{rate:.2g}" for rate in (s.training["topk"], s.training["relu"], s.forward["bfloat16"])),
         *(long(limit(every[name]) if s is LIMIT else Forecast(every[name], s, 1).all) for name in DETAILED))
        for what, s in named.items()
    ]  # fmt: skip
    heads = {
        "speeds": f"speed | TopK | dense | language model | {' | '.join(DETAILED)}",
        "presets": "preset | stacks | hours on 1 GPU | on 8 | on 64 | of these, once | longest shard of 64"
        " | searches in it | limit, on 1 | memory",
        "detailed": "preset | GPUs | that work | once | longest shard | notebooks | hours | GPU hours | busy | passes"
        " | language model",
        "seeds": "seeds in the stack | memory",
        "disk": "preset | text | activations, if kept | to read once | to make once | disk | largest checkpoint"
        " | all at once | written | of the time",
    }
    rows = {
        "speeds": speeds,
        "presets": [preset_row(name, planned, at, on[name]) for name, planned in every.items()],
        "detailed": detailed,
        "seeds": [(n, human(cost_of({"01": (p, few)}).memory.total)) for n, few in some.items()],
        "disk": [disk_row(name, planned, at, on[name][GPUS[-1]]) for name, planned in every.items()],
    }
    return {name: table(head, rows[name]) for name, head in heads.items()}


def page(text: str, shown: dict[str, str]) -> str:
    """The page with its tables, each between a mark of its name and the next mark, as they are now."""
    for name, rows in shown.items():
        start = text.index(f"<!-- {name} -->")
        text = f"{text[:start]}<!-- {name} -->\n\n{rows}\n{text[text.index('<!-- end -->', start) :]}"
    return text


def measured(device: str) -> Throughput:
    """This machine's speed in all that the presets do: each architecture, and a language model of each dtype."""
    plans = [plan for name in NAMES for _, plan in planned_of(name, NOTEBOOKS).values()]
    cells = [cell for plan in plans for cell in (*plan.cells, *plan.pilots, *plan.meta_cells)]
    return measure(cells, {"bfloat16": LLAMA, "float32": KNOWN["gpt2"]}, device)


def main() -> int:
    """Command line: see the module's docstring. Exit code 2 for a speed that cannot be read or measured."""
    parser = argparse.ArgumentParser(description="What the papers' presets take on 1, 8 and 64 GPUs.")
    parser.add_argument("--write", action="store_true", help="write SCALE.md's tables anew")
    parser.add_argument("--throughput", help="a file with a machine's speed")
    parser.add_argument("--measure", metavar="DEVICE", help="print this machine's speed, and nothing else")
    options = parser.parse_args()
    if options.write and options.throughput:
        parser.error("--write is of the page's own speeds; --throughput prints")
    try:
        if options.measure:
            print(measured(str(check_device(options.measure))))
            return 0
        shown = tables(Throughput.read(Path(options.throughput)) if options.throughput else H100)
    except InputError as error:
        print(f"scale.py: {error}", file=sys.stderr)
        return 2
    if options.write:
        write_text(PAGE, page(PAGE.read_text(encoding="utf-8"), shown))
    else:
        print(*shown.values(), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
