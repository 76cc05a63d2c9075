"""Training stops at the first loss that is not finite: no later one would be finite, nor would the weights."""

from collections.abc import Mapping, Sequence
from math import isfinite

import torch
from torch import Tensor

from sae_utils.saes.losses import LossTerms
from sae_utils.saes.sae import SAE


class NotFinite(Exception):
    """A loss or a weight is not finite; the message says at which step, of which dictionaries, and why."""


class Watch:
    """Looks at the losses of one stack, and at its weights before they are kept."""

    def __init__(self, sae: SAE):
        self._sae = sae
        # Of each dictionary: loss, variance of the batch and step; the newest, or the first that are not finite.
        self._seen = torch.zeros(3, sae.n_dictionaries, device=sae.W_dec.device)

    @property
    def waits(self) -> bool:
        """Whether losses are looked at now and then: to look at each would make the CPU wait for the GPU."""
        return self._sae.W_dec.device.type != "cpu"

    @torch.no_grad()
    def loss(self, step: int, terms: LossTerms, look: bool) -> None:
        """Raise NotFinite for a loss that is not finite: at once or, where it ``waits``, when it is to ``look``."""
        loss = terms.loss.detach()
        if not self.waits and isfinite(float(loss.sum())):
            return
        now = torch.stack([loss, terms.variance.expand_as(loss), torch.full_like(loss, step)])
        self._seen = torch.where(self._seen[0].isfinite(), now, self._seen)
        if look or not self.waits:
            self._look()

    def _look(self) -> None:
        seen = self._seen.cpu()
        bad = ~seen[0].isfinite()
        if not bad.any():
            return
        bad &= seen[2] == seen[2, bad].min()
        loss, variance, step = seen[:, bad][:, 0].tolist()
        if not isfinite(variance):
            why = "the batch has an activation that is not finite or is too large for float32"
        elif variance == 0:
            why = "the activations of the batch do not vary"
        else:
            why = "its weights are too large or not finite; a smaller learning rate may help"
        seeds = [seed for seed, is_bad in zip(self._sae.seeds, bad.tolist(), strict=True) if is_bad]
        raise NotFinite(f"at step {int(step) + 1}: the loss of {self._called(seeds)} is {loss}: {why}")

    def weights(self, done: int, state: Mapping[str, Tensor]) -> None:
        """Raise NotFinite where a loss was not finite, or a tensor of ``state``, after ``done`` steps, is not."""
        self._look()
        for name, tensor in state.items():
            if tensor.is_floating_point() and not tensor.isfinite().all():
                what = f"{name} of {self._called(self._sae.seeds)} is not finite after it"
                raise NotFinite(f"at step {done}: {what}; a smaller learning rate may help")

    def _called(self, seeds: Sequence[int]) -> str:
        config = self._sae.config
        which = f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
        return f"{which} ({config.architecture}, {config.n_latents} latents, at {self._sae.hook_point!r})"
