"""What ``--dry-run`` prints: what would run, with which parameters, what it trains, and what that costs."""

import re
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

from sae_utils.memory import HEADROOM, human
from sae_utils.run.costs.cost import Cost, Costs, Throughput, together
from sae_utils.run.costs.throughput import device_at_hand, measure
from sae_utils.run.jobs import Job
from sae_utils.run.plans import Plan, plan_of
from sae_utils.run.plans.model_facts import model_facts
from sae_utils.saes.training.grid import Cell

Planned = Mapping[str, tuple[SimpleNamespace, Plan | None]]  # by notebook: its parameters and its plan
WRAP = textwrap.TextWrapper(116, subsequent_indent=8 * " ", break_long_words=False, break_on_hyphens=False)


def describe(jobs: Sequence[Job], fresh: bool, throughput: str = "") -> list[str]:
    """For each notebook its parameters, what it trains, and the time; then what all that run cost together.

    ``throughput`` is a file with the speed of the machine; without it that of this one is measured.
    """
    planned = planned_with({job.name: job.parameters for job in jobs})
    run = [job.name for job in jobs if planned[job.name][1] and (fresh or not job.is_done())]
    at = speed_of(throughput, planned) if run else None
    costs = costs_of(planned, at.memory if at else None)
    lines = []
    for position, job in enumerate(jobs, 1):
        p, plan = planned[job.name]
        state = "to run" if fresh or not job.is_done() else "unchanged"
        seconds = sum(costs[job.name].seconds(at).values()) if job.name in run else None
        values = " ".join(f"{key}={value}" for key, value in job.parameters.items())
        lines.append(f"[{position}/{len(jobs)}] {job.name}  {state}, {expected(job, seconds)}: {values}")
        if plan is None:
            lines.append(f"    not planned: the sizes of {p.model} are not known on this machine")
        lines += [f"    {line}" for line in cell_lines(plan)] if plan else []
    if run:
        lines += totals(together(costs[name] for name in run), at)
        lines += before([job for job in jobs if job.name in run])
        lines += notes({p.device for p, _ in planned.values()}, measured=not throughput)
    return [part for line in lines for part in WRAP.wrap(line)]


def planned_with(parameters: Mapping[str, Mapping[str, object]]) -> Planned:
    """The plan of each notebook with its parameters; none where the language model's sizes are not known."""
    planned = {}
    for notebook, values in parameters.items():
        p = SimpleNamespace(**values)
        facts = model_facts(p.model)
        planned[notebook] = p, plan_of(notebook, p, facts) if facts else None
    return planned


def costs_of(planned: Planned, memory: float | None = None) -> dict[str, Cost]:
    """The cost of each notebook, less what earlier ones have done, on a device of so many bytes (``Costs``)."""
    models: dict[tuple, Costs] = {}
    found = {}
    for name, (p, plan) in planned.items():
        if plan:
            key = p.model, p.dtype, p.device
            costs = models.setdefault(key, Costs(model_facts(p.model), p.dtype, p.device, memory))
            found[name] = costs.of(plan)
    return found


def speed_of(throughput: str, planned: Planned) -> Throughput:
    """What the file ``throughput`` says; without one what this machine does, measured in what these notebooks do."""
    if throughput:
        return Throughput.read(Path(throughput))
    known = [(p, plan) for p, plan in planned.values() if plan]
    cells = []
    for _, plan in known:
        cells += [*plan.cells, *plan.pilots, *plan.meta_cells]
    models = {p.dtype: model_facts(p.model) for p, _ in known}
    return measure(cells, models, device_at_hand(known[0][0].device))


def expected(job: Job, seconds: float | None) -> str:
    """The time that a notebook takes, in words, and how it is known."""
    if job.expected:
        return f"expected {job.expected:.0f} s"
    return "expected time unknown" if seconds is None else f"about {hours(seconds)} (estimate)"


def cell_lines(plan: Plan) -> list[str]:
    """What is trained, a line for each kind of cell: how many dictionaries of which width, on how much, after what."""
    kinds: dict[str, list[Cell]] = {}
    for cell in (*plan.cells, *plan.pilots, *plan.meta_cells):
        kinds.setdefault(_kind(cell.name), []).append(cell)
    lines = []
    for kind, cells in kinds.items():
        widths = Counter()
        for cell in cells:
            widths[cell.config.n_latents] += len(cell.seeds)
        sizes = ", ".join(f"{n} x {width:,}" for width, n in widths.items())
        most = "at most " if any("n_latents" in cell.open for cell in cells) else ""
        lengths = [cell.training.n_tokens for cell in cells]
        tokens = f"{min(lengths):,}" if min(lengths) == max(lengths) else f"{min(lengths):,} to {max(lengths):,}"
        line = f"{kind}: {most}{sizes} latents, {tokens} tokens"
        after = dict.fromkeys(_kind(name) for cell in cells for name in cell.comes_after if _kind(name) != kind)
        lines.append(f"{line}, after {', '.join(after)}" if after else line)
    return lines


def _kind(name: str) -> str:
    """A cell's name without the numbers at its end."""
    return re.sub(r" [\d.]+$", "", name)


def totals(cost: Cost, at: Throughput) -> list[str]:
    """Of all notebooks that run, and the throughput in the form in which it can be given."""
    seconds, operations = cost.seconds(at), cost.operations()
    fits = "" if cost.memory.total <= HEADROOM * at.memory else f"; more than {at.device} has, {human(at.memory)}"
    cut = ", ".join(f"{name} in {n} parts" for name, n in cost.cut.items())
    return [
        f"trains  {cost.n_dictionaries:,} dictionaries, {cost.trained_tokens:.3g} tokens seen by them together",
        f"time    {hours(sum(seconds.values()))}: {parts(seconds, hours)}",
        f"work    {sum(operations.values()):.3g} operations: {parts(operations, '{:.3g}'.format)}",
        f"text    {cost.tokens():.3g} tokens",
        f"disk    {human(sum(cost.disk.values()))}: {parts(cost.disk, human)}; the model's files come on top",
        f"memory  {cost.memory}{fits}",
        *([f"cut     by seeds, for the memory does not hold it at once: {cut}"] if cut else []),
        f"speed   {at}",
    ]


def before(jobs: Sequence[Job]) -> list[str]:
    """The time of whole notebooks, as they ran before, where that is known of one."""
    known = [job.expected for job in jobs if job.expected]
    whole = (
        f"whole   {hours(sum(known))}: {len(known)} of {len(jobs)} notebooks as they ran before, evaluation included"
    )
    return [whole] if known else []


def notes(devices: set[str], measured: bool) -> list[str]:
    """What is counted, and on which machine it was measured."""
    lines = ["Counted are text, language model and training; evaluation and analysis come on top."]
    missing = sorted(device for device in devices if device_at_hand(device) != device)
    if measured and missing:
        lines.append(f"There is no {missing[0]} here: the hours are those of this machine's CPU, not of a GPU.")
    if measured:
        lines.append("The speed was measured just now; --throughput FILE takes that of another machine.")
    return lines


def parts(amounts: dict[str, float], form) -> str:
    """The amounts above 0, largest first."""
    ordered = sorted(amounts.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {form(amount)}" for name, amount in ordered if amount)


def hours(seconds: float) -> str:
    """Seconds below two minutes, minutes below an hour, else hours with two digits that matter."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 36_000 else f"{seconds / 3600:.0f} h"
