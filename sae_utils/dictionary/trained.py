"""Dictionaries that were trained before are read, not trained again: a store on disk, addressed by what they are.

Notebooks share dictionaries (the members of a bag are the seeds of another notebook), and training is most of their
time. A stack's name is a hash of all that its weights depend on: its settings and seeds, the training's, the
activations, and the code that trains.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path

import torch

from sae_utils.data.activations import ActivationSource
from sae_utils.data.paths import PACKAGE
from sae_utils.dictionary.checkpoints import load_sae, save_sae
from sae_utils.dictionary.sae import SAE
from sae_utils.dictionary.training import TrainingConfig, frozen, train

# The code that weights depend on, given the activations.
CODE = (
    *("data/activations.py", "data/order.py"),
    *(f"dictionary/{name}.py" for name in ("kernels", "losses", "optimisation", "sae", "training")),
)


def train_or_load(
    stacks: Sequence[SAE], source: ActivationSource, config: TrainingConfig, folder: Path, progress: bool = True
) -> list[SAE]:
    """The trained form of each of the new ``stacks``; those that ``folder`` does not hold are trained, in one pass.

    The stacks that are trained are those passed in; each is on the device it was on. A killed call goes on where it
    was. Raises InputError as ``train`` does, and for a damaged file in ``folder``.
    """
    paths = [folder / f"dictionaries-{stack_key(sae, source, config)}.safetensors" for sae in stacks]
    missing = {path: sae for path, sae in zip(paths, stacks, strict=True) if not path.exists()}
    if missing:
        names = hashlib.sha256(" ".join(path.name for path in missing).encode()).hexdigest()[:16]
        checkpoint = folder / f"training-{names}.safetensors"
        train(list(missing.values()), source, config, checkpoint, progress)
        for path, sae in missing.items():
            save_sae(sae, path)
        checkpoint.unlink(missing_ok=True)
    return [
        missing[path] if path in missing else load_sae(path, sae.W_dec.device)
        for path, sae in zip(paths, stacks, strict=True)
    ]


def stack_key(sae: SAE, source: ActivationSource, config: TrainingConfig) -> str:
    """A hash of what the trained weights of the new stack ``sae`` depend on.

    Its settings, seeds, hook point, first weights and which of them are frozen, the training's settings, the
    activations and the code.
    """
    about = {
        "config": asdict(sae.config),
        "hook_point": sae.hook_point,
        "seeds": sae.seeds,
        "frozen": frozen(sae),
        "device": sae.W_dec.device.type,
        "training": asdict(config),
        "source": source.content,
        "code": code_digest(),
    }
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name, tensor in sorted(sae.state_dict().items()):
        key.update(name.encode() + tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return key.hexdigest()[:32]


@cache
def code_digest() -> str:
    """sha256 over the files of ``CODE``, as they are when first asked for."""
    total = hashlib.sha256()
    for name in CODE:
        total.update(name.encode() + (PACKAGE / name).read_bytes())
    return total.hexdigest()
