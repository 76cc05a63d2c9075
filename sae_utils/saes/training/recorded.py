"""A training step recorded once as a CUDA graph and replayed: for stacks so small that Python is most of a step.

On an H100 a step of 8 dictionaries of 512 latents keeps the GPU busy for 0.4 ms, in some hundred kernels; launching
them one by one takes 3 to 4 ms. A graph keeps the memory of its temporary tensors.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from sae_utils.memory import RECORDED
from sae_utils.saes.losses import LossTerms
from sae_utils.saes.sae import SAE, SAEConfig

EAGER = 3  # steps before the one that is recorded: what is made once is then there


def is_recordable(sae: SAE) -> bool:
    """Whether each step is the same work: no method's own, none that depends on what is dead or kept."""
    config = sae.config
    same = type(config) is SAEConfig and config.architecture != "batch_topk" and not config.auxk
    return same and sae.W_dec.is_cuda and sum(p.numel() for p in sae.parameters()) <= RECORDED


class Recorded:
    """``learn``, a function of a batch that reads and writes the same tensors each time, as a graph."""

    def __init__(self, learn: Callable[[Tensor], LossTerms], x: Tensor):
        self.x = x.clone()
        self.graph = torch.cuda.CUDAGraph()
        # Another thread may be filling the buffer of activations.
        stream = torch.cuda.Stream(x.device)
        with torch.cuda.device_of(x), torch.cuda.graph(self.graph, stream=stream, capture_error_mode="thread_local"):
            terms = learn(self.x)
        self.terms = replace(terms, loss=terms.loss.detach())

    def __call__(self, x: Tensor) -> LossTerms:
        """Run it on a batch of the same shape; the result is overwritten by the next call."""
        with torch.cuda.device_of(self.x):
            self.x.copy_(x)
            self.graph.replay()
        return self.terms
