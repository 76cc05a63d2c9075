"""One stack in training: its settings, its optimiser, and the step that a batch is."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_utils.data.activations import check_number, check_whole
from sae_utils.errors import InputError
from sae_utils.saes.losses import LossTerms
from sae_utils.saes.methods.method import after_step, method_loss
from sae_utils.saes.sae import LEAST, MOST, SAE
from sae_utils.saes.training import optimisation
from sae_utils.saes.training.checkpoints import below
from sae_utils.saes.training.finite import Watch
from sae_utils.saes.training.recorded import EAGER, Recorded, is_recordable


@dataclass(frozen=True)
class TrainingConfig:
    """How long and how fast to train. Raises InputError for impossible values."""

    n_tokens: int  # activations seen by every dictionary
    batch_size: int = 2048
    data_seed: int = 0  # order of the batches, the same for every dictionary
    base_lr: float = 2e-4  # learning rate of 2^14 latents; others by `optimisation.learning_rate`
    lr: float | None = None  # one for every width, in place of base_lr
    warmup: float = 0.05  # share of the steps over which the learning rate rises from 0
    decay: float = 0.95  # share of the steps, at the end, over which it falls to 0
    betas: tuple[float, float] = (0.9, 0.999)  # Adam's
    clip: float = 1.0  # largest norm of a dictionary's gradient
    dead_after: int = 1_000_000  # a latent is dead when it has not fired for so many tokens
    bfloat16: bool = False  # CUDA: products of dense codes in bfloat16; TopK searches in it by itself
    log_every: int = 50  # steps
    checkpoint_every: int = 1000  # steps

    def __post_init__(self):
        for name in ("n_tokens", "dead_after", "log_every", "checkpoint_every"):
            check_whole(name, getattr(self, name), 1)
        check_whole("batch_size", self.batch_size, 2)  # the loss is divided by the variance of the batch
        check_whole("data_seed", self.data_seed, 0)
        check_number("dead_after", self.dead_after, 1, 2**62)
        if self.n_tokens < self.batch_size:
            raise InputError(f"n_tokens={self.n_tokens} is less than one batch of {self.batch_size}")
        for name in ("warmup", "decay"):
            check_number(name, getattr(self, name), 0, 1)
        for name in ("base_lr", "lr", "clip"):
            if name != "lr" or self.lr is not None:
                check_number(name, getattr(self, name), LEAST, MOST)
        if not isinstance(self.betas, tuple | list) or len(self.betas) != 2:
            raise InputError(f"betas={self.betas!r} must be two numbers, Adam's")
        for i, beta in enumerate(self.betas):
            check_number(f"betas[{i}]", beta, 0, 0.999999)
        if not isinstance(self.bfloat16, bool):
            raise InputError(f"bfloat16={self.bfloat16!r} must be True or False")

    @property
    def n_steps(self) -> int:
        """Batches of the whole run."""
        return self.n_tokens // self.batch_size


@dataclass(frozen=True)
class TrainingLog:
    """Training curves of one stack, a row every ``log_every`` steps (batch values, not held-out ones)."""

    tokens: Int[Tensor, " rows"]
    loss: Float[Tensor, "rows S"]
    fvu: Float[Tensor, "rows S"]
    l0: Float[Tensor, "rows S"]
    dead_fraction: Float[Tensor, "rows S"]


class StackTrainer:
    """A stack with its optimiser and its counters. Parameters that require no gradient stay as they are.

    On CUDA a step is recorded as a graph after ``EAGER`` of them, if ``record`` and ``is_recordable`` say so.
    """

    def __init__(self, sae: SAE, config: TrainingConfig, record: bool = True):
        self.sae, self.config = sae, config
        self.lr = config.lr or optimisation.learning_rate(sae.config.n_latents, config.base_lr)
        device = sae.W_dec.device
        self.learned = {name: p for name, p in sae.named_parameters() if p.requires_grad}
        self.recordable, self.recorded, self.n_taken = record and is_recordable(sae), None, 0
        # A graph reads the learning rate where it was when the graph was recorded.
        lr = torch.tensor(self.lr, device=device) if self.recordable else self.lr
        self.optimizer = torch.optim.Adam(
            self.learned.values(), lr=lr, betas=config.betas, fused=True, capturable=self.recordable
        )
        self.since_fired = torch.zeros(sae.b_enc.shape, dtype=torch.int64, device=device)
        self.rows: list[Tensor] = []  # of the log: [4, S] each
        self.watch = Watch(sae)

    @property
    def dead(self) -> Bool[Tensor, "S n_latents"]:
        """Latents that have not fired for ``dead_after`` tokens."""
        return self.since_fired >= self.config.dead_after

    def step(self, step: int, x: Float[Tensor, "batch d_in"]) -> None:
        """Step number ``step``, from 0, on a raw batch. Raises NotFinite as ``Watch.loss`` does."""
        factor = optimisation.schedule(step, self.config.n_steps, self.config.warmup, self.config.decay)
        for group in self.optimizer.param_groups:
            group["lr"] = group["lr"].fill_(self.lr * factor) if self.recordable else self.lr * factor
        if self.recordable and self.n_taken == EAGER:
            self.recorded = Recorded(lambda batch: self._update(self._loss(step, batch)), x)
        self.n_taken += 1
        if self.recorded and x.shape == self.recorded.x.shape:
            terms = self.recorded(x)
            self.watch.loss(step, terms, self._is_logged(step))
        else:
            terms = self._loss(step, x)
            self.watch.loss(step, terms, self._is_logged(step))
            self._update(terms)
        self._count(step, len(x), terms)

    def _loss(self, step: int, x: Float[Tensor, "batch d_in"]) -> LossTerms:
        is_dense = "topk" not in self.sae.config.architecture
        with torch.autocast("cuda", torch.bfloat16, enabled=self.config.bfloat16 and is_dense and x.is_cuda):
            return method_loss(self.sae, self.sae.normalise(x), self.dead, step)

    def _update(self, terms: LossTerms) -> LossTerms:
        """What a batch teaches, from its loss to rows of length one."""
        sae = self.sae
        terms.loss.sum().backward()
        unit_norm = sae.config.unit_norm_decoder and sae.W_dec.requires_grad
        if unit_norm:
            optimisation.remove_parallel_gradient(sae.W_dec.grad, sae.W_dec)
        optimisation.clip_per_dictionary([p.grad for p in self.learned.values()], self.config.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if unit_norm:
            optimisation.normalise_rows(sae.W_dec)
        after_step(sae)
        return terms

    @torch.no_grad()
    def _count(self, step: int, n_tokens: int, terms: LossTerms) -> None:
        self.since_fired += n_tokens
        self.since_fired.masked_fill_(terms.fired, 0)
        if terms.smallest_kept is not None:
            # A mean over the last hundred batches or so: the weights of early batches are not those of now.
            weight = max(0.01, 1 / (step + 1))
            self.sae.threshold.lerp_(terms.smallest_kept.clamp_min(0).to(self.sae.threshold.dtype), weight)
        if self._is_logged(step):
            dead = self.dead.float().mean(-1)
            self.rows.append(torch.stack([terms.loss.detach(), terms.fvu, terms.l0, dead]).float().cpu())

    def _is_logged(self, step: int) -> bool:
        return (step + 1) % self.config.log_every == 0 or step + 1 == self.config.n_steps

    def state(self) -> dict[str, Tensor]:
        """All that a later step depends on."""
        state = {f"sae.{name}": t for name, t in self.sae.state_dict().items()}
        state["since_fired"] = self.since_fired
        state["rows"] = torch.stack(self.rows) if self.rows else torch.zeros(0, 4, self.sae.n_dictionaries)
        for name, p in self.learned.items():
            state |= {f"adam.{name}.{key}": t for key, t in self.optimizer.state[p].items()}
        return state

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from what ``state`` gave."""
        device = self.since_fired.device
        self.sae.load_state_dict(below(state, "sae."))
        self.since_fired = state["since_fired"].to(device)
        self.rows = list(state["rows"])
        for name, p in self.learned.items():
            self.optimizer.state[p] = {key: t.to(device) for key, t in below(state, f"adam.{name}.").items()}

    def log(self) -> TrainingLog:
        """The training curves so far."""
        every, last = self.config.log_every, self.config.n_steps
        steps = [*range(every, last + 1, every)] + ([last] if last % every else [])
        return TrainingLog(torch.tensor(steps) * self.config.batch_size, *torch.stack(self.rows).unbind(1))
