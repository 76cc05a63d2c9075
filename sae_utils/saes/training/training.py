"""Train stacks of SAEs in lockstep: each batch is read once and every stack takes one step on it."""

import json
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from sae_utils.data.activations import check_whole
from sae_utils.errors import InputError
from sae_utils.saes.sae import SAE
from sae_utils.saes.training.checkpoints import below, read_tensors, write_tensors
from sae_utils.saes.training.finite import NotFinite
from sae_utils.saes.training.trainer import StackTrainer, TrainingConfig, TrainingLog

# Seconds that a checkpoint may take as often as asked for; longer ones wait until so many times as long has passed.
# Five dictionaries of 32,768 latents write 2.3 GB, which every 1,000 steps of some 10 ms may be half of a run.
SOON, APART = 1.0, 10


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
    With ``checkpoint`` (a file), the state is saved there every ``checkpoint_every`` steps, or less often where that
    takes seconds (``SOON``); the same call after a kill goes on from it and ends in the same weights, bit for bit on
    one machine. Raises InputError for stacks that do not fit the source, for impossible ``snapshots``, for a checkpoint
    of another run, and, before such weights are kept, where a loss or a weight is not finite.
    """
    device = _check(stacks, source, config)
    shown_after = snapshots.steps(config) if snapshots else {}
    trainers = [StackTrainer(sae, config) for sae in stacks]
    fingerprint = _fingerprint(stacks, source, config)
    first = saved = _restore(checkpoint, trainers, fingerprint) if checkpoint else 0
    took = ended = 0.0  # the last checkpoint's writing
    bar = tqdm(total=config.n_tokens, initial=first * config.batch_size, unit="tok", unit_scale=True,
               disable=not progress, mininterval=1.0, desc="SAEs")  # fmt: skip
    # Closed however the run ends: a source may be computing ahead.
    with closing(source.batches(config.batch_size, config.data_seed, first_batch=first, device=device)) as batches, bar:
        for step in range(first, config.n_steps):
            batch = next(batches)
            done = step + 1
            is_due = done % config.checkpoint_every == 0 and (took < SOON or time.monotonic() - ended > APART * took)
            is_saved = checkpoint and (is_due or done == config.n_steps)
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
                saved, began = done, time.monotonic()
                tensors = {
                    f"{i}.{name}": t for i, trainer in enumerate(trainers) for name, t in trainer.state().items()
                }
                write_tensors(checkpoint, "training", tensors, {"fingerprint": fingerprint, "step": done})
                ended = time.monotonic()
                took = ended - began
    return [trainer.log() for trainer in trainers]


def _summary(trainers: Sequence[StackTrainer]) -> str:
    """Means over all dictionaries of the last logged batch, for the progress bar."""
    loss, fvu, l0, dead = torch.cat([trainer.rows[-1] for trainer in trainers], dim=1).mean(1).tolist()
    return f"loss {loss:.4f}, EV {1 - fvu:.3f}, L0 {l0:.1f}, dead {dead:.1%}"
