"""Dictionaries that were trained before are read, not trained again: a store on disk, addressed by what they are.

Notebooks share dictionaries (the members of a bag are the seeds of another notebook), and training is most of their
time. A stack's name is a hash of all that its weights depend on: its settings and seeds, the training's, the
activations, and the code that trains. Of several processes that want a stack, one trains it and the others wait.
"""

import inspect
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from itertools import chain
from pathlib import Path

from sae_utils.data.activations import ActivationSource
from sae_utils.files import sha256_of
from sae_utils.memory import MemoryPlan, check_fits, free_memory, human, training_plan
from sae_utils.paths import PACKAGE
from sae_utils.saes.methods.method import Method
from sae_utils.saes.sae import SAE
from sae_utils.saes.training.checkpoints import load_sae, raw_bytes, save_sae
from sae_utils.saes.training.locks import claimed
from sae_utils.saes.training.trainer import TrainingConfig
from sae_utils.saes.training.training import Snapshots, frozen, train

# The code that weights depend on, given the activations.
CODE = (
    *(f"data/activations/{name}.py" for name in ("source", "order", "shuffle_buffer")),
    *(f"saes/{name}.py" for name in ("bags", "base", "kernels", "losses", "methods/method", "sae", "triton_kernels")),
    *(f"saes/training/{name}.py" for name in ("optimisation", "trainer", "training")),
)

# Digests of sources that on a CPU train all that they both can train to the same bits: the newer ones, each with the
# one that names what is trained. A line is of no use, and can go, when the sources have changed again.
SAME = {
    "5aa4ab65708d43b9e4cb5646deb8e963082ae537041d561c89d1c070800ed05d":
        "7d293d074d6d43e8abcaa669d5e7725af5ba8403e1d69cbfc1fd3c70f079712e",
}  # fmt: skip

WAIT = 1.0  # seconds between two looks at what another process trains

log = logging.getLogger(__name__)


def train_or_load(
    stacks: Sequence[SAE], source: ActivationSource, config: TrainingConfig, folder: Path, progress: bool = True
) -> list[SAE]:
    """The trained form of each of the new ``stacks``; those that ``folder`` does not hold are trained, in one pass.

    The stacks that are trained are those passed in; each is on the device it was on. A killed call goes on where it
    was. Raises InputError as ``train`` does, for what memory does not hold, and for a damaged file in ``folder``.
    """
    histories = train_or_load_history(stacks, source, config, folder, [()] * len(stacks), progress)
    return [history[config.n_tokens] for history in histories]


def train_or_load_history(
    stacks: Sequence[SAE],
    source: ActivationSource,
    config: TrainingConfig,
    folder: Path,
    tokens: Sequence[Sequence[int]],
    progress: bool = True,
) -> list[dict[int, SAE]]:
    """As ``train_or_load``, but each stack as it was after each of its ``tokens`` too, by tokens, the end last.

    A stack that lacks any of these in ``folder`` is trained again from the start. The snapshots are those of the one
    run, whose learning rate falls towards its end only (see ``Snapshots``).
    """
    paths = [_files(stack_key(sae, source, config), config, folder, n) for sae, n in zip(stacks, tokens, strict=True)]
    trained, waits = set(), False
    while missing := _missing(paths):
        ends = [paths[i][config.n_tokens] for i in missing]
        with claimed([end.with_name(f".{end.stem}.lock") for end in ends]) as free:
            mine = [i for i in _missing(paths) if i in {missing[position] for position in free}]
            if mine:
                _train_missing([stacks[i] for i in mine], [paths[i] for i in mine], source, config, folder, progress)
        trained |= set(mine)
        if not free:
            if not waits:
                log.info("another process is training %s: waiting for it", ends[0].name)
            waits = True
            time.sleep(WAIT)
    histories = []
    for i, (sae, files) in enumerate(zip(stacks, paths, strict=True)):
        history = {n: load_sae(file, sae.W_dec.device) for n, file in files.items() if n != config.n_tokens}
        end = sae if i in trained else load_sae(files[config.n_tokens], sae.W_dec.device)
        histories.append(history | {config.n_tokens: end})
    return histories


def is_stored(
    sae: SAE, source: ActivationSource, config: TrainingConfig, folder: Path, tokens: Sequence[int], device: str
) -> bool:
    """Whether ``folder`` has what training the new stack ``sae`` gives on a kind of device, and after ``tokens``."""
    return not _missing([_files(stack_key(sae, source, config, device), config, folder, tokens)])


def _files(key: str, config: TrainingConfig, folder: Path, tokens: Sequence[int]) -> dict[int, Path]:
    """The files of a stack, by tokens, the end last."""
    between = {n: folder / f"dictionaries-{key}-{n}.safetensors" for n in sorted(set(tokens))}
    return between | {config.n_tokens: folder / f"dictionaries-{key}.safetensors"}


def _missing(paths: Sequence[Mapping[int, Path]]) -> list[int]:
    """The stacks of which not every file is there."""
    return [i for i, files in enumerate(paths) if not all(file.exists() for file in files.values())]


def _train_missing(stacks, paths, source, config: TrainingConfig, folder: Path, progress: bool) -> None:
    """Train ``stacks`` in one pass and write each to its files, ``paths`` by tokens."""

    def keep(i: int, tokens: int, sae: SAE) -> None:
        if tokens in paths[i]:
            save_sae(sae, paths[i][tokens])

    between = sorted(set(chain(*paths)) - {config.n_tokens})
    files = " ".join(file.name for by_tokens in paths for file in by_tokens.values())
    checkpoint = folder / f"training-{sha256_of([files])[:16]}.safetensors"
    check_memory(stacks, source, config)
    train(stacks, source, config, checkpoint, progress, Snapshots(tuple(between), keep))
    for i, sae in enumerate(stacks):
        keep(i, config.n_tokens, sae)
    checkpoint.unlink(missing_ok=True)


def plan_training(stacks: Sequence[SAE], source: ActivationSource, config: TrainingConfig) -> MemoryPlan:
    """Memory that training ``stacks`` together needs on their device, with what ``source`` needs there."""
    device = stacks[0].W_dec.device
    plans = (training_plan(sae.config, sae.n_dictionaries, config.batch_size, device.type) for sae in stacks)
    return sum(plans, source.memory(device))


def check_memory(stacks: Sequence[SAE], source: ActivationSource, config: TrainingConfig) -> None:
    """Log the plan in one line; raises InputError where it cannot fit beside what is on the device already."""
    plan, device = plan_training(stacks, source, config), stacks[0].W_dec.device
    free = free_memory(device)
    log.info("training needs %s; %s has %s free", plan, device, "an unknown amount" if free is None else human(free))
    if free is not None:
        check_fits(plan, free, str(device), present=plan.dictionaries + plan.model)


def stack_key(sae: SAE, source: ActivationSource, config: TrainingConfig, device: str = "") -> str:
    """A hash of what the trained weights of the new stack ``sae`` depend on.

    Its settings, seeds, hook point, first weights and which of them are frozen, the training's settings, the
    activations and the code, that of its method among it; and the kind of device, its own unless one is given.
    """
    device = device or sae.W_dec.device.type
    about = {
        "config": asdict(sae.config),
        "hook_point": sae.hook_point,
        "seeds": sae.seeds,
        "frozen": frozen(sae),
        "device": device,
        "training": asdict(config),
        "source": source.content_at(sae.hook_point),
        "code": code_digest(device),
    }
    if isinstance(sae.config, Method):
        about["method"] = sha256_of([Path(inspect.getfile(type(sae.config))).read_bytes()])
    weights = [part for name, t in sorted(sae.state_dict().items()) for part in (name, raw_bytes(t))]
    return sha256_of([json.dumps(about, sort_keys=True), *weights])[:32]


@cache
def code_digest(device: str = "cpu") -> str:
    """sha256 over the files of ``CODE``, as they are when first asked for, or what ``SAME`` has in its place."""
    digest = sha256_of(part for name in CODE for part in (name, (PACKAGE / name).read_bytes()))
    return SAME.get(digest, digest) if device == "cpu" else digest
