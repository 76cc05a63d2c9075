"""Train stacks of SAEs in lockstep: each batch is read once and every stack takes one step on it."""

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from tqdm import tqdm

from sae_utils.data.activations import check_number, check_whole
from sae_utils.errors import InputError
from sae_utils.saes.losses import LossTerms
from sae_utils.saes.methods.method import after_step, method_loss
from sae_utils.saes.sae import LEAST, MOST, SAE
from sae_utils.saes.training import optimisation
from sae_utils.saes.training.checkpoints import below, read_tensors, write_tensors
from sae_utils.saes.training.finite import NotFinite, Watch


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
    bfloat16: bool = False  # CUDA: the encoder's product in bfloat16; weights and sums stay float32
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
    """A stack with its optimiser and its counters. Parameters that require no gradient stay as they are."""

    def __init__(self, sae: SAE, config: TrainingConfig):
        self.sae, self.config = sae, config
        self.lr = config.lr or optimisation.learning_rate(sae.config.n_latents, config.base_lr)
        device = sae.W_dec.device
        self.learned = {name: p for name, p in sae.named_parameters() if p.requires_grad}
        self.optimizer = torch.optim.Adam(self.learned.values(), lr=self.lr, betas=config.betas, fused=True)
        self.since_fired = torch.zeros(sae.b_enc.shape, dtype=torch.int64, device=device)
        self.rows: list[Tensor] = []  # of the log: [4, S] each
        self.watch = Watch(sae)

    @property
    def dead(self) -> Bool[Tensor, "S n_latents"]:
        """Latents that have not fired for ``dead_after`` tokens."""
        return self.since_fired >= self.config.dead_after

    def step(self, step: int, x: Float[Tensor, "batch d_in"]) -> None:
        """Step number ``step``, from 0, on a raw batch. Raises NotFinite as ``Watch.loss`` does."""
        sae, config = self.sae, self.config
        with torch.autocast("cuda", torch.bfloat16, enabled=config.bfloat16 and x.is_cuda):
            terms = method_loss(sae, sae.normalise(x), self.dead, step)
        self.watch.loss(step, terms, self._is_logged(step))
        terms.loss.sum().backward()
        unit_norm = sae.config.unit_norm_decoder and sae.W_dec.requires_grad
        if unit_norm:
            optimisation.remove_parallel_gradient(sae.W_dec.grad, sae.W_dec)
        optimisation.clip_per_dictionary([p.grad for p in self.learned.values()], config.clip)
        factor = optimisation.schedule(step, config.n_steps, config.warmup, config.decay)
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * factor
        self.optimizer.step()
        self.optimizer.zero_grad()
        if unit_norm:
            optimisation.normalise_rows(sae.W_dec)
        after_step(sae)
        self._count(step, len(x), terms)

    @torch.no_grad()
    def _count(self, step: int, n_tokens: int, terms: LossTerms) -> None:
        self.since_fired += n_tokens
        self.since_fired[terms.fired] = 0
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


def frozen(sae: SAE) -> list[str]:
    """Names of the parameters that training leaves as they are: those that require no gradient."""
    return [name for name, p in sae.named_parameters() if not p.requires_grad]


def _fingerprint(stacks: Sequence[SAE], source, config: TrainingConfig) -> dict:
    """What must be equal for a checkpoint to be this run's, as JSON gives it back."""
    about = [
        {"config": asdict(s.config), "seeds": list(s.seeds), "hook_point": s.hook_point, "frozen": frozen(s)}
        for s in stacks
    ]
    return {"training": asdict(config), "stacks": about, "n_in_pass": source.n_tokens}


def _same_units(tensors: dict[str, Tensor], trainers: Sequence[StackTrainer]) -> bool:
    """Whether the checkpoint's weights are for activations of this mean and scale.

    Close, not equal: another number of threads may round the mean of a live stream differently.
    """
    pairs = [
        (tensors[f"{i}.sae.{name}"], trainer.sae.get_buffer(name).cpu())
        for i, trainer in enumerate(trainers)
        for name in ("mean", "scale")
    ]
    return all(torch.allclose(a, b, rtol=1e-3, atol=1e-5) for a, b in pairs)


def _restore(path: Path, trainers: Sequence[StackTrainer], fingerprint: dict) -> int:
    """Put the trainers in the checkpoint's state; the number of steps done, 0 without a checkpoint."""
    if not path.exists():
        return 0
    tensors, about = read_tensors(path, "training")
    if about["fingerprint"] != json.loads(json.dumps(fingerprint)) or not _same_units(tensors, trainers):
        raise InputError(
            f"checkpoint {path} is of a run with other settings or data: give this run another path, or delete it"
        )
    for i, trainer in enumerate(trainers):
        trainer.restore(below(tensors, f"{i}."))
    return about["step"]


def _check(stacks: Sequence[SAE], source, config: TrainingConfig) -> str:
    """The device that all stacks are on; raises InputError for what cannot be trained."""
    if not stacks:
        raise InputError("stacks=[] must hold at least one SAE")
    devices = {str(sae.W_dec.device) for sae in stacks}
    if len(devices) > 1:
        raise InputError(f"stacks are on several devices ({', '.join(sorted(devices))}); put all on one")
    for i, sae in enumerate(stacks):
        if not any(p.requires_grad for p in sae.parameters()):
            raise InputError(f"stacks[{i}] has no parameter that requires a gradient: there is nothing to train")
        if sae.hook_point not in source.d_in:
            raise InputError(
                f"hook point {sae.hook_point!r} is not among the activations: {', '.join(source.hook_points)}"
            )
        width = source.d_in[sae.hook_point]
        if width != sae.config.d_in:
            raise InputError(f"d_in={sae.config.d_in}, but activations at {sae.hook_point!r} have {width} dimensions")
    if config.bfloat16 and devices == {"cpu"}:
        raise InputError("bfloat16=True is for CUDA; the stacks are on the CPU")
    return devices.pop()


@dataclass(frozen=True)
class Snapshots:
    """When training stops to show every stack, as it is then, to ``keep``; the end of the run is not among them.

    ``keep(index of the stack, tokens, stack)`` must copy what it wants (``save_sae`` does): the stack goes on
    learning. It is called before a checkpoint of the same step is written; a run that goes on after a kill may call it
    again, with the same weights to the bit, but never leaves one out. Learning rates are those of the whole run: a
    snapshot is an unfinished dictionary, not a finished one of a shorter run.
    """

    tokens: tuple[int, ...]  # each is reached with the first batch that completes so many
    keep: Callable[[int, int, SAE], None]

    def steps(self, config: TrainingConfig) -> dict[int, int]:
        """Tokens asked for, by the number of steps after which they are seen. Raises InputError for impossible ones."""
        for n in self.tokens:
            check_whole("snapshot tokens", n, 1)
        steps = {-(-n // config.batch_size): n for n in self.tokens}
        if any(step >= config.n_steps for step in steps):
            raise InputError(
                f"snapshots at {list(self.tokens)} tokens must lie before the end, {config.n_tokens} tokens"
            )
        if len(steps) < len(self.tokens):
            raise InputError(f"snapshots at {list(self.tokens)} tokens: two fall in one batch of {config.batch_size}")
        return steps


def train(
    stacks: Sequence[SAE],
    source,
    config: TrainingConfig,
    checkpoint: Path | None = None,
    progress: bool = True,
    snapshots: Snapshots | None = None,
) -> list[TrainingLog]:
    """Train every stack, in place, on the same batches; returns a log per stack.

    ``source`` is an activation source (data.activations); each stack reads its own ``hook_point`` from it.
    With ``checkpoint`` (a file), the state is saved there every ``checkpoint_every`` steps; the same call after a
    kill goes on from it and ends in the same weights, bit for bit on one machine. Raises InputError for stacks that
    do not fit the source, for impossible ``snapshots``, for a checkpoint of another run, and, before such weights are
    kept, where a loss or a weight is not finite.
    """
    device = _check(stacks, source, config)
    shown_after = snapshots.steps(config) if snapshots else {}
    trainers = [StackTrainer(sae, config) for sae in stacks]
    fingerprint = _fingerprint(stacks, source, config)
    first = saved = _restore(checkpoint, trainers, fingerprint) if checkpoint else 0
    bar = tqdm(total=config.n_tokens, initial=first * config.batch_size, unit="tok", unit_scale=True,
               disable=not progress, mininterval=1.0, desc="SAEs")  # fmt: skip
    # Closed however the run ends: a source may be computing ahead.
    with closing(source.batches(config.batch_size, config.data_seed, first_batch=first, device=device)) as batches, bar:
        for step in range(first, config.n_steps):
            batch = next(batches)
            done = step + 1
            is_saved = checkpoint and (done % config.checkpoint_every == 0 or done == config.n_steps)
            try:
                for trainer in trainers:
                    trainer.step(step, batch[trainer.sae.hook_point])
                    if is_saved or done in shown_after or done == config.n_steps:
                        trainer.watch.weights(done, trainer.state())
            except NotFinite as error:
                last = f"the last good checkpoint is {checkpoint}, of step {saved}" if saved else "no checkpoint before"
                raise InputError(f"training stopped {error}; {last}") from None
            bar.update(config.batch_size)
            if progress and done % config.log_every == 0:
                bar.set_postfix_str(_summary(trainers), refresh=False)
            if done in shown_after:
                for i, sae in enumerate(stacks):
                    snapshots.keep(i, shown_after[done], sae)
            if is_saved:
                saved = done
                tensors = {
                    f"{i}.{name}": t for i, trainer in enumerate(trainers) for name, t in trainer.state().items()
                }
                write_tensors(checkpoint, "training", tensors, {"fingerprint": fingerprint, "step": done})
    return [trainer.log() for trainer in trainers]


def _summary(trainers: Sequence[StackTrainer]) -> str:
    """Means over all dictionaries of the last logged batch, for the progress bar."""
    loss, fvu, l0, dead = torch.cat([trainer.rows[-1] for trainer in trainers], dim=1).mean(1).tolist()
    return f"loss {loss:.4f}, EV {1 - fvu:.3f}, L0 {l0:.1f}, dead {dead:.1%}"
