"""What a plan costs: operations and bytes, and seconds at a throughput that is measured on a machine, or given.

Counted are the text, the language model's forward passes and the training of dictionaries and of meta-SAEs; evaluation
and analysis are not.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from itertools import chain
from pathlib import Path

import yaml
from pydantic import PositiveFloat, TypeAdapter, ValidationError

from sae_utils.errors import InputError
from sae_utils.memory import (
    HELD_GB,
    LARGEST_CACHE_GB,
    MemoryPlan,
    activation_bytes,
    buffer_rows,
    dictionary_bytes,
    item_bytes,
    optimiser_bytes,
    rows_bytes,
)
from sae_utils.run.plans import Plan
from sae_utils.run.plans.model_facts import ModelFacts
from sae_utils.saes.training.grid import PASS_MEMORY, Activations, Cell, passes

# Floating-point operations of training by token and encoder weight: 2 for a product; one product where gradients are
# sparse, else three (forward, two gradients) in encoder and decoder; Gated decodes once more with a frozen decoder:
# two products more (forward, gradient of the code).
PRODUCTS = {"topk": 2, "batch_topk": 2, "relu": 12, "jump_relu": 12, "gated": 16}
UPDATE = 20  # operations of a step on each weight: clipping, projection, Adam, norms


@dataclass(frozen=True)
class Throughput:
    """What a machine does in a second. Its YAML, as ``str`` gives it, can be given again."""

    device: str
    memory: PositiveFloat  # bytes in all
    tokens: PositiveFloat  # of text, tokenised
    step: PositiveFloat  # seconds of a training step, however small
    forward: dict[str, PositiveFloat]  # operations of a language model, by dtype
    training: dict[str, PositiveFloat]  # operations of training, by architecture

    @property
    def launches_ahead(self) -> bool:
        """Whether Python prepares a step while the one before it is computed: so on a GPU."""
        return not self.device.startswith("CPU")

    @classmethod
    def read(cls, path: Path) -> "Throughput":
        """From a YAML or JSON file. Raises InputError where it is not one of a throughput."""
        try:
            written = cls(**yaml.safe_load(Path(path).read_text(encoding="utf-8")))
            return TypeAdapter(cls).validate_python(asdict(written))  # YAML reads 1e6 as text
        except (OSError, yaml.YAMLError, TypeError, ValidationError) as error:
            names, why = ", ".join(one.name for one in fields(cls)), " ".join(str(error).split())
            raise InputError(f"throughput {path}: it must be a YAML or JSON map of {names} ({why})") from None

    def __str__(self) -> str:
        return yaml.safe_dump(asdict(self), default_flow_style=True, width=10**6, sort_keys=False).strip()


@dataclass(frozen=True)
class Work:
    """Operations that go at one rate. ``rate`` is an architecture or a dtype; of text, the operations are tokens."""

    what: str  # text, language model, training or meta-SAEs
    rate: str
    operations: float
    steps: int = 0

    def seconds(self, at: Throughput) -> float:
        """Raises InputError where the throughput has no such rate."""
        if self.what == "text":
            return self.operations / at.tokens
        name = "forward" if self.what == "language model" else "training"
        rates = getattr(at, name)
        if self.rate not in rates:
            raise InputError(f"the throughput has no rate {name}: {self.rate}; there are {', '.join(rates)}")
        computed, launched = self.operations / rates[self.rate], self.steps * at.step
        return max(computed, launched) if at.launches_ahead else computed + launched


@dataclass
class Cost:
    """What one notebook costs; what earlier notebooks of the preset trained or wrote costs nothing again."""

    work: list[Work] = field(default_factory=list)
    disk: Counter = field(default_factory=Counter)  # bytes by what they are for
    memory: MemoryPlan = MemoryPlan()  # of the stack that needs most
    cut: dict[str, int] = field(default_factory=dict)  # number of parts of each stack that is cut, by its name
    n_dictionaries: int = 0
    trained_tokens: int = 0  # activations that those see, together

    def operations(self) -> dict[str, float]:
        """By what they are for, without those of the text, which are no floating-point ones."""
        total = Counter()
        for work in self.work:
            total[work.what] += work.operations
        return {what: n for what, n in total.items() if what != "text"}

    def tokens(self) -> float:
        """Of text."""
        return sum(work.operations for work in self.work if work.what == "text")

    def seconds(self, at: Throughput) -> dict[str, float]:
        """By what they are for."""
        total = Counter()
        for work in self.work:
            total[work.what] += work.seconds(at)
        return dict(total)


def together(costs: Iterable[Cost]) -> Cost:
    """Of several notebooks; checkpoints come one after the other."""
    total = Cost()
    for one in costs:
        total.work += one.work
        checkpoint = max(total.disk["checkpoint"], one.disk["checkpoint"])
        total.disk += one.disk
        total.disk["checkpoint"] = checkpoint
        total.memory = max(total.memory, one.memory, key=lambda memory: memory.total)
        total.cut |= one.cut
        total.n_dictionaries += one.n_dictionaries
        total.trained_tokens += one.trained_tokens
    return total


def training_operations(cell: Cell, n_frozen: int = 0) -> float:
    """Operations to train a cell, each batch of which first passes ``n_frozen`` frozen dictionaries of its size."""
    weights = len(cell.seeds) * cell.config.n_latents * cell.config.d_in
    products = (PRODUCTS[cell.config.architecture] + 2 * n_frozen) * cell.training.batch_size
    return cell.training.n_steps * weights * (products + 2 * UPDATE)


class Costs:
    """Costs notebook after notebook of one preset, on one language model.

    ``memory`` is that of the device, in bytes: what it does not hold at once is trained in several passes. Without it
    all is.
    """

    def __init__(self, facts: ModelFacts, dtype: str, device: str = "cuda", memory: float | None = None):
        self.facts, self.dtype, self.device, self.memory = facts, dtype, device.partition(":")[0], memory
        self._there: set = set()  # texts, caches and trained cells

    def of(self, plan: Plan) -> Cost:
        """What the plan adds to those before it."""
        cost, context = Cost(), plan.context
        for split, n in (*plan.text, *((one.split, one.n_tokens) for one in plan.activations)):
            if self._claim((split, n, context)):
                cost.work.append(Work("text", "tokens", n))
                cost.disk["token rows"] += rows_bytes(n, self.facts.n_vocab)
        for one in plan.activations:
            if one == one.whole and self._is_cached(one) and self._claim(one):
                cost.disk["activations"] += activation_bytes(one.n_tokens, self._width(one))
                cost.work.append(self._forward(one.n_tokens, context, one))
        parts = [cell.parts(self.device, self.memory) for cell in plan.cells]
        cost.cut = {some[0].name: len(some) for some in parts if len(some) > 1}
        most = None if self.memory is None else PASS_MEMORY * self.memory
        for cells in (chain(*parts), plan.pilots):  # what waits for a pilot is no part of its pass
            for group in passes(cells, self.device, most):
                self._add_pass(cost, group, context)
        if plan.forward_tokens:
            cost.work.append(self._forward(plan.forward_tokens, context))
        for cell in plan.meta_cells:
            cost.work.append(
                Work("meta-SAEs", cell.config.architecture, training_operations(cell), cell.training.n_steps)
            )
        return cost

    def _claim(self, thing: object) -> bool:
        """Take a thing into account, once: whether it was not there before."""
        new = thing not in self._there
        self._there.add(thing)
        return new

    def _add_pass(self, cost: Cost, group: list[Cell], context: int) -> None:
        new = [cell for cell in group if self._claim(cell.identity)]
        if not new:
            return
        reads, n_frozen = new[0].reads, len(new[0].frozen)
        in_memory = self._fits(reads.held, self._width(reads))
        if not (in_memory or self._is_cached(reads)):
            cost.work.append(self._forward(new[0].training.n_tokens, context, reads))
        if n_frozen and self._fits(reads.held or reads.n_tokens, len(new) * self.facts.d_model):
            n_frozen = 1  # the residual before is kept
        checkpoint = 0
        for cell in new:
            operations = training_operations(cell, n_frozen)
            cost.work.append(
                Work("training", cell.config.architecture, operations, cell.training.n_steps * (1 + n_frozen))
            )
            size = len(cell.seeds), cell.config.d_in, cell.config.n_latents, cell.config.architecture
            cost.disk["dictionaries"] += (1 + len(cell.snapshots)) * dictionary_bytes(*size)
            checkpoint += dictionary_bytes(*size) + optimiser_bytes(*size)
            frozen = MemoryPlan(dictionaries=len(cell.frozen) * dictionary_bytes(*size))
            memory = self._beside(reads, in_memory, context) + cell.memory(self.device) + frozen
            cost.memory = max(cost.memory, memory, key=lambda plan: plan.total)
            cost.n_dictionaries += len(cell.seeds)
            cost.trained_tokens += len(cell.seeds) * cell.training.n_tokens
        cost.disk["checkpoint"] = max(cost.disk["checkpoint"], checkpoint)

    def _beside(self, reads: Activations, in_memory: bool, context: int) -> MemoryPlan:
        """The language model, and the shuffle buffers: two on CUDA, one filled while the other is read."""
        n_rows = -(-reads.n_tokens // context)
        buffered = context * min(n_rows, buffer_rows(n_rows, context))
        buffer = activation_bytes(buffered, self._width(reads), self.dtype) * (2 if self.device == "cuda" else 1)
        model = self.facts.n_parameters * item_bytes(self.dtype)
        return MemoryPlan(model=model, buffer=0 if in_memory or self._is_cached(reads) else buffer)

    def _fits(self, n_tokens: int, width: int) -> bool:
        """Whether so many activations are held in memory (``residuals.hold``)."""
        return 0 < 4e-9 * n_tokens * width <= HELD_GB

    def _is_cached(self, one: Activations) -> bool:
        return not one.streamed and activation_bytes(one.n_tokens, self._width(one)) <= 1e9 * LARGEST_CACHE_GB

    def _width(self, one: Activations) -> int:
        return len(one.hook_points) * self.facts.d_model

    def _forward(self, n_tokens: float, context: int, read: Activations | None = None) -> Work:
        """Up to the last layer that is read, or through the whole model and its logits."""
        facts, layers = self.facts, self.facts.n_layers
        if read:
            layers = 1 + max(int(re.match(r"blocks\.(\d+)\.", name)[1]) for name in read.hook_points)
        operations = layers * (2 * facts.block_parameters + 4 * context * (facts.d_attention or facts.d_model))
        operations += 0 if read else 2 * facts.n_vocab * facts.d_model
        return Work("language model", self.dtype, n_tokens * operations)
