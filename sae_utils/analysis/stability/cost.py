"""How fast a method trains on this machine, apart from all others: cells are trained in lockstep, which hides it."""

from time import perf_counter

import torch
from jaxtyping import Float
from torch import Tensor

from sae_utils.saes import SAE
from sae_utils.saes.training import TrainingConfig
from sae_utils.saes.training.trainer import StackTrainer

FIRST, STEPS = 2, 6  # steps that are not timed, since caches fill, and that are


def tokens_per_second(stack: SAE, x: Float[Tensor, "batch d_in"], config: TrainingConfig) -> float:
    """Tokens that a copy of the stack learns from in a second, all its dictionaries at once: the fastest of STEPS.

    No step is recorded as a CUDA graph, for those of most methods cannot be.
    """
    trainer = StackTrainer(stack.copy(), config, record=False)
    seconds = []
    for step in range(1, 1 + FIRST + STEPS):  # at step 0 some methods ask for what they begin with
        start = perf_counter()
        trainer.step(step, x)
        if x.is_cuda:
            torch.cuda.synchronize()
        seconds.append(perf_counter() - start)
    return len(x) / min(seconds[FIRST:])
