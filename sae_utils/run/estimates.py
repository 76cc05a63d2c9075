"""Time, disk and memory of a notebook on a GPU, from what it trains: an estimate, for nothing was measured on one.

Time is work over the rate of a GPU that is assumed to reach ``UTILISATION`` of its vendor's numbers, plus what Python
costs, which was measured on a CPU. Counted are the text, the language model's forward passes and the training of
dictionaries; evaluation and analysis after training are not.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sae_utils import memory
from sae_utils.memory import (
    LARGEST_CACHE_GB,
    MemoryPlan,
    activation_bytes,
    buffer_rows,
    dictionary_bytes,
    item_bytes,
    optimiser_bytes,
    rows_bytes,
    training_plan,
)
from sae_utils.run.model_facts import ModelFacts
from sae_utils.run.workload import Activations, Pass, Stack, Work

FORWARD_TOKENS = memory.FORWARD_TOKENS["cuda"]
UTILISATION = 0.5  # of the vendor's peaks, both arithmetic and memory: assumed
# Measured 2026-11-21 on one core of an AMD EPYC (Zen 5) virtual machine, torch 2.13: seconds of Python of a forward
# pass through TransformerBridge by layer (2 and 12 layers of width 16) and of a training step (16 latents).
LAYER_SECONDS = 5e-3
STEP_SECONDS = 1.5e-3
TOKENISED = 7e5  # tokens in a second, two cores of the same kind (4,096-token BPE, one batch call)
# Values moved to and from GPU memory. Of each pre-activation: TopK writes it and selects in five readings; dense codes
# and their gradients are written and read by each step of the loss. Of each weight: gradient, clipping, projection,
# Adam and the new norm.
PRE_ACTIVATION_MOVES = {"topk": 6, "batch_topk": 6, "relu": 24, "jump_relu": 32, "gated": 40}
WEIGHT_MOVES = 20
# Floating-point operations by token and encoder weight: 2 for a product, three products (forward, two gradients) in
# encoder and decoder where the code is dense, one where gradients are sparse.
PRODUCTS = {"topk": 2, "batch_topk": 2, "relu": 12, "jump_relu": 12, "gated": 16}


@dataclass(frozen=True)
class Gpu:
    """A GPU as its vendor describes it: bytes, operations and bytes in a second, without sparsity."""

    name: str
    memory: float
    float32: float
    bfloat16: float
    bandwidth: float


# NVIDIA H100 datasheet, SXM. Products of dictionaries are float32 without tensor cores: torch leaves TF32 off.
H100 = Gpu("H100 SXM 80 GB", 80e9, 66.9e12, 989.4e12, 3.35e12)


@dataclass
class Estimate:
    """Of one notebook, beside those before it: what they trained or wrote is there already."""

    seconds: dict[str, float] = field(default_factory=dict)  # by what they are for
    disk: dict[str, float] = field(default_factory=dict)  # bytes by what they are for
    memory: MemoryPlan = MemoryPlan()  # of its largest pass
    tokens: int = 0  # of text

    def add(self, of: str, name: str, amount: float) -> None:
        """Add to ``seconds`` or ``disk``."""
        amounts = getattr(self, of)
        amounts[name] = amounts.get(name, 0) + amount


class Estimator:
    """Estimates notebook after notebook of one preset, on one model."""

    def __init__(self, facts: ModelFacts, dtype: str, gpu: Gpu = H100):
        self.facts, self.dtype, self.gpu = facts, dtype, gpu
        self._texts: set = set()
        self._caches: set[Activations] = set()
        self._trained: set = set()

    def estimate(self, work: Work, context: int) -> Estimate:
        """What ``work`` adds; ``context`` is the length of its rows."""
        found = Estimate()
        for split, n in (*work.text, *((a.split, a.n_tokens) for a in work.opened)):
            if (split, n, context) not in self._texts:
                self._texts.add((split, n, context))
                found.tokens += n
                found.add("seconds", "text", n / TOKENISED)
                found.add("disk", "token rows", rows_bytes(n, self.facts.n_vocab))
        for activations in work.opened:
            if self._is_cached(activations) and activations not in self._caches:
                self._caches.add(activations)
                found.add("disk", "activations", activation_bytes(activations.n_tokens, self._width(activations)))
                found.add(
                    "seconds", "language model", self._forward_seconds(activations.n_tokens, activations, context)
                )
        for one in work.passes:
            self._add_pass(found, one, context)
        found.add("seconds", "language model", self._forward_seconds(work.forward_tokens, None, context))
        for n, stack in work.meta:
            n_steps = stack.n_tokens // stack.batch_size
            found.add("seconds", "meta-SAEs", n * n_steps * self._step_seconds(stack, 0))
        return found

    def _add_pass(self, found: Estimate, one: Pass, context: int) -> None:
        missing = [stack for stack in one.stacks if (one.reads, stack) not in self._trained]
        self._trained |= {(one.reads, stack) for stack in missing}
        if not missing:
            return
        if not (one.held or self._is_cached(one.reads)):
            tokens = max(stack.n_tokens for stack in missing)
            found.add("seconds", "language model", self._forward_seconds(tokens, one.reads, context))
        for stack in missing:
            n_steps = stack.n_tokens // stack.batch_size
            frozen = min(stack.frozen, 1) if one.held else stack.frozen
            found.add("seconds", "training", n_steps * self._step_seconds(stack, frozen))
        d = self.facts.d_model
        sizes = [(s.n_dictionaries, d, s.n_latents, s.architecture) for s in missing]
        found.add("disk", "dictionaries", sum(dictionary_bytes(*size) for size in sizes))
        checkpoint = sum(dictionary_bytes(*size) + optimiser_bytes(*size) for size in sizes)
        found.disk["checkpoint"] = max(found.disk.get("checkpoint", 0), checkpoint)
        plan = self._memory(missing, one, context)
        found.memory = max(found.memory, plan, key=lambda memory: memory.total)

    def _memory(self, stacks: Sequence[Stack], one: Pass, context: int) -> MemoryPlan:
        d, item = self.facts.d_model, self.dtype
        n_rows = -(-one.reads.n_tokens // context)
        buffered = context * min(n_rows, buffer_rows(n_rows, context))
        # Two buffers: on CUDA the language model fills one while the other is read.
        buffers = 0 if one.held else 2 * activation_bytes(buffered, self._width(one.reads), item)
        plan = MemoryPlan(model=self.facts.n_parameters * item_bytes(item), buffer=buffers)
        for stack in stacks:
            size = stack.n_dictionaries, d, stack.n_latents
            plan += training_plan(*size, stack.batch_size, stack.architecture, stack.k)
            plan += MemoryPlan(dictionaries=stack.frozen * dictionary_bytes(*size, stack.architecture))
        return plan

    def _is_cached(self, activations: Activations) -> bool:
        size = activation_bytes(activations.n_tokens, self._width(activations))
        return not activations.streamed and size <= 1e9 * LARGEST_CACHE_GB

    def _width(self, activations: Activations) -> int:
        return len(activations.hooks) * self.facts.d_model

    def _forward_seconds(self, n_tokens: float, read: Activations | None, context: int) -> float:
        """Up to the last layer that is read, or through the whole model and its logits."""
        facts, layers = self.facts, self.facts.n_layers
        if read:
            layers = 1 + max(layer for _, layer in read.hooks)
        operations = layers * (2 * facts.block_parameters + 4 * context * (facts.d_attention or facts.d_model))
        operations += 0 if read else 2 * facts.n_vocab * facts.d_model
        rate = UTILISATION * (self.gpu.float32 if item_bytes(self.dtype) == 4 else self.gpu.bfloat16)
        return n_tokens * (operations / rate + layers * LAYER_SECONDS / FORWARD_TOKENS)

    def _step_seconds(self, stack: Stack, frozen: int) -> float:
        d, n = self.facts.d_model, stack.n_dictionaries * stack.n_latents
        pre_activations = stack.batch_size * n
        moved = PRE_ACTIVATION_MOVES[stack.architecture] * pre_activations + WEIGHT_MOVES * 2 * n * d
        if stack.architecture in ("topk", "batch_topk"):
            moved += 4 * stack.batch_size * stack.n_dictionaries * stack.k * d  # active rows: twice each way
        moved += frozen * PRE_ACTIVATION_MOVES["topk"] * pre_activations
        operations = (PRODUCTS[stack.architecture] + 2 * frozen) * pre_activations * d
        rates = UTILISATION * self.gpu.float32, UTILISATION * self.gpu.bandwidth
        return operations / rates[0] + 4 * moved / rates[1] + STEP_SECONDS * (1 + frozen)
