"""How good a dictionary is on held-out activations: FVU, L0, dead latents, cross-entropy recovered."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_utils.data.activations import kept_positions
from sae_utils.data.models.language_model import LanguageModel
from sae_utils.errors import InputError
from sae_utils.saes.base import Dictionary

LOGIT_TOKENS = 4096  # whose logits are held at once: 2 GB in float32 for a vocabulary of 128,256


@dataclass(frozen=True)
class Evaluation:
    """Metrics of each of S dictionaries on the same tokens."""

    n_tokens: int
    mse: Float[Tensor, " S"]  # squared error per token, summed over dimensions, in raw units
    fvu: Float[Tensor, " S"]  # squared error over the total variance about the mean, both summed over dimensions
    l0: Float[Tensor, " S"]  # active latents per token
    firing_frequency: Float[Tensor, "S n_latents"]  # share of the tokens for which a latent is active

    @property
    def explained_variance(self) -> Float[Tensor, " S"]:
        """1 - FVU. Some libraries average it over dimensions or over tokens instead."""
        return 1 - self.fvu

    @property
    def alive(self) -> Tensor:
        """Latents [S, n_latents] that fired at least once."""
        return self.firing_frequency > 0

    @property
    def dead_fraction(self) -> Float[Tensor, " S"]:
        """Share of the latents that never fired on these tokens."""
        return 1 - self.alive.double().mean(-1)


@torch.no_grad()
def evaluate(sae: Dictionary, batches: Iterable[Float[Tensor, "batch d_in"]]) -> Evaluation:
    """Metrics of every dictionary on raw activations, in one pass, with sums in float64.

    Raises InputError where there are no activations.
    """
    n_tokens, shape = 0, sae.b_enc.shape
    device = sae.W_dec.device
    error = torch.zeros(shape[0], dtype=torch.float64, device=device)
    fired = torch.zeros(shape, dtype=torch.float64, device=device)
    total = torch.zeros(sae.config.d_in, dtype=torch.float64, device=device)
    squares = torch.zeros((), dtype=torch.float64, device=device)
    for x in batches:
        x = x.to(device)
        code = sae.encode(x)
        error += (sae.decode(code) - x[:, None]).double().square().sum((0, 2))
        ones = (code.values > 0).double()
        fired.scatter_add_(1, code.indices.transpose(0, 1).flatten(1), ones.transpose(0, 1).flatten(1))
        # About the SAE's own mean, where the sums of squares lose no digits.
        centred = (x - sae.mean).double()
        total += centred.sum(0)
        squares += centred.square().sum()
        n_tokens += len(x)
    if not n_tokens:
        raise InputError("there are no activations to evaluate on")
    variance = squares - total.square().sum() / n_tokens
    return Evaluation(n_tokens, error / n_tokens, error / variance, fired.sum(-1) / n_tokens, fired / n_tokens)


@dataclass(frozen=True)
class CrossEntropy:
    """Next-token cross-entropy, nats per token, on the same text with a hook point in three states."""

    clean: float  # untouched
    replaced: float  # the reconstruction in the activation's place
    ablated: float  # zeros in its place

    @property
    def recovered(self) -> float:
        """(ablated - replaced) / (ablated - clean): 1 where nothing is lost, 0 where zeros do as well.

        Not a number where zeros cost nothing.
        """
        cost = self.ablated - self.clean
        return (self.ablated - self.replaced) / cost if cost else float("nan")


@torch.no_grad()
def cross_entropy_recovered(
    model: LanguageModel,
    stacks: Sequence[Dictionary],
    rows: Int[np.ndarray, "n_rows context"],
    batch_tokens: int = LOGIT_TOKENS,
) -> list[CrossEntropy]:
    """Put reconstructions back into the model, at the positions that SAEs are trained on: one result per dictionary.

    The dictionaries of all ``stacks`` in turn. The first position of each row and end-of-text tokens keep their
    activations, in the ablation too. What needs no dictionary is computed once for all.

    Raises InputError for stacks of different hook points, for none, and where there is no text.
    """
    hook_points = sorted({sae.hook_point for sae in stacks})
    if len(hook_points) != 1:
        raise InputError(f"dictionaries of one hook point are needed, not of {', '.join(hook_points) or 'none'}")
    if not len(rows):
        raise InputError("there are no rows of text to put the reconstruction into")

    def zero(activation, keep):
        return activation.masked_fill(keep, 0.0)

    states = [partial(_reconstruct, sae.dictionary(s)) for sae in stacks for s in range(sae.n_dictionaries)]
    states = [None, zero, *states]
    sums, n = [0.0] * len(states), 0
    size = max(1, batch_tokens // rows.shape[1])
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        tokens = torch.from_numpy(part.astype(np.int64)).to(model.device)
        keep = torch.from_numpy(kept_positions(part, model.tokenizer.eos_token_id))[..., None].to(model.device)
        for i, state in enumerate(states):
            replace = state and {hook_points[0]: partial(state, keep=keep)}
            sums[i] += model.loss(tokens, replace).double().sum().item()
        n += tokens.shape[0] * (tokens.shape[1] - 1)
    clean, ablated, *replaced = (value / n for value in sums)
    return [CrossEntropy(clean, of_one, ablated) for of_one in replaced]


def _reconstruct(one: Dictionary, activation, keep):
    x_hat = one(activation.flatten(0, 1).float())[:, 0].to(activation.dtype)
    return torch.where(keep, x_hat.view_as(activation), activation)
