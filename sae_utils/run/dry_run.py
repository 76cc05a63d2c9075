"""What ``--dry-run`` prints: what would run, with which parameters, and what it would need. Loads nothing."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sae_utils.memory import HEADROOM, MemoryPlan, human
from sae_utils.run.estimates import H100, UTILISATION, Estimate, Estimator
from sae_utils.run.model_facts import model_facts
from sae_utils.run.notebooks import default_parameters
from sae_utils.run.workload import work

if TYPE_CHECKING:
    from sae_utils.run.batch import Job

BASIS = (
    f"Estimated, not measured: one {H100.name}, of which {UTILISATION:.0%} of the vendor's float32 and bfloat16 rates "
    "and memory bandwidth are assumed; operations and bytes counted; Python's part measured on a CPU. Counted are "
    "text, language model and training; evaluation and analysis come on top."
)

WRAP = textwrap.TextWrapper(116, subsequent_indent=8 * " ", break_long_words=False, break_on_hyphens=False)


def describe(jobs: Sequence["Job"], fresh: bool) -> list[str]:
    """A line for each notebook, and, for those on a GPU, what all of them need."""
    estimates = estimates_of(jobs)
    lines = []
    for position, job in enumerate(jobs, 1):
        state = "unchanged" if not fresh and job.is_done() else "to run"
        values = " ".join(f"{key}={value}" for key, value in job.parameters.items())
        lines.append(f"[{position}/{len(jobs)}] {job.name}  {state}, {expected(job, estimates)}: {values}")
    lines += totals(list(estimates.values())) if estimates else []
    return [part for line in lines for part in WRAP.wrap(line)]


def estimates_of(jobs: Sequence["Job"]) -> dict[str, Estimate]:
    """By notebook, in order; empty for presets on the CPU, whose times are measured, and for models not known here."""
    values = {job.name: default_parameters(job.notebook) | job.parameters for job in jobs}
    found: dict[str, Estimate] = {}
    estimators: dict[tuple, Estimator] = {}
    for name, p in values.items():
        facts = model_facts(p["model"])
        if p["device"] == "cpu" or facts is None:
            return {}
        estimator = estimators.setdefault((p["model"], p["dtype"]), Estimator(facts, p["dtype"]))
        context = p["context"] or facts.context
        found[name] = estimator.estimate(work(name, p, facts.n_layers, context, facts.d_model), context)
    return found


def expected(job: "Job", estimates: dict[str, Estimate]) -> str:
    """The time that a notebook takes, in words, and how it is known."""
    if job.expected:
        return f"expected {job.expected:.0f} s"
    if job.name in estimates:
        return f"about {hours(sum(estimates[job.name].seconds.values()))} (estimate)"
    return "expected time unknown"


def totals(estimates: Sequence[Estimate]) -> list[str]:
    """Hours, tokens, disk and GPU memory of all notebooks together."""
    seconds, disk = (summed([getattr(e, name) for e in estimates]) for name in ("seconds", "disk"))
    disk["checkpoint"] = max((e.disk.get("checkpoint", 0) for e in estimates), default=0)
    memory = max((e.memory for e in estimates), key=lambda plan: plan.total, default=MemoryPlan())
    fits = "" if memory.total <= HEADROOM * H100.memory else f"; too much for one {H100.name}"
    return [
        f"time    {hours(sum(seconds.values()))}: {parts(seconds, hours)}",
        f"text    {sum(e.tokens for e in estimates) / 1e9:.3g} billion tokens",
        f"disk    {human(sum(disk.values()))}: {parts(disk, human)}; the model's files come on top",
        f"GPU     {memory}{fits}",
        BASIS,
    ]


def summed(maps: Sequence[dict[str, float]]) -> dict[str, float]:
    """Amounts of the same name together."""
    return {name: sum(one.get(name, 0) for one in maps) for name in dict.fromkeys(name for one in maps for name in one)}


def parts(amounts: dict[str, float], form) -> str:
    """The amounts above 0, largest first."""
    ordered = sorted(amounts.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {form(amount)}" for name, amount in ordered if amount)


def hours(seconds: float) -> str:
    """Minutes below an hour, else hours with two digits that matter."""
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 36_000 else f"{seconds / 3600:.0f} h"
