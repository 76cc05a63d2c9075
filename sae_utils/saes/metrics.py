"""How good a dictionary is on held-out activations: FVU, L0, dead latents, cross-entropy recovered.

A few tokens of huge norm can own the total variance: one in 1,000 of norm 500 makes explained variance .998 where the
others have .87. So it stands twice: of all tokens, and without the thousandth that lies farthest from the mean.
"""

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

TRIMMED = 1000  # of so many tokens, the one farthest from the mean is left out of what is trimmed
FARTHEST_TOKENS = 4096  # held while evaluating, so that 4 million tokens can be trimmed: 134 MB for 4,096 dimensions
LOGIT_TOKENS = 4096  # whose logits are held at once: 2 GB in float32 for a vocabulary of 128,256
ROUNDING = 1e-11  # variance below this share of the sum of squares is nothing but rounding


@dataclass(frozen=True)
class Evaluation:
    """Metrics of each of S dictionaries on the same tokens."""

    n_tokens: int
    mse: Float[Tensor, " S"]  # squared error per token, summed over dimensions, in raw units
    fvu: Float[Tensor, " S"]  # squared error over the total variance about the mean, both summed over dimensions
    l0: Float[Tensor, " S"]  # active latents per token
    firing_frequency: Float[Tensor, "S n_latents"]  # share of the tokens for which a latent is active
    fvu_trimmed: Float[Tensor, " S"]  # of all but the tokens farthest from the mean, about the mean of those left
    tokens_of_half_the_variance: int  # the fewest whose squared distances from the mean are half of all tokens'

    @property
    def explained_variance(self) -> Float[Tensor, " S"]:
        """1 - FVU. Some libraries average it over dimensions or over tokens instead."""
        return 1 - self.fvu

    @property
    def explained_variance_trimmed(self) -> Float[Tensor, " S"]:
        """1 - (sum over K of ||x - x_hat||^2) / (sum over K of ||x - m_K||^2), m_K the mean over the tokens K.

        K is all tokens but the ceil(n / 1000) farthest from the mean (at most ``FARTHEST_TOKENS``): tokens of huge norm
        own the sums of ``explained_variance``, but not these.
        """
        return 1 - self.fvu_trimmed

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

    Which tokens lie far is told by the mean that the dictionary was trained with, or where it has none (one that was
    read from another library's file) by that of the first batch. Each token's squared distance is kept, 8 bytes, and
    the activations of the farthest.

    Raises InputError where there are no activations, for such as are not finite or do not vary, and for
    reconstructions that are not finite.
    """
    n_tokens, shape = 0, sae.b_enc.shape
    device = sae.W_dec.device
    error = torch.zeros(shape[0], dtype=torch.float64, device=device)
    fired = torch.zeros(shape, dtype=torch.float64, device=device)
    total = torch.zeros(sae.config.d_in, dtype=torch.float64, device=device)
    squares = torch.zeros((), dtype=torch.float64, device=device)
    middle = sae.mean if sae.mean.any() else None
    distances, farthest = [], None
    for x in batches:
        x = x.to(device)
        code = sae.encode(x)
        token_errors = (sae.decode(code) - x[:, None]).double().square()
        error += token_errors.sum((0, 2))
        ones = (code.values > 0).double()
        fired.scatter_add_(1, code.indices.transpose(0, 1).flatten(1), ones.transpose(0, 1).flatten(1))
        # About the SAE's own mean, where the sums of squares lose no digits.
        centred = (x - sae.mean).double()
        total += centred.sum(0)
        squares += centred.square().sum()
        n_tokens += len(x)
        middle = x.mean(0) if middle is None else middle
        distances.append((x - middle).double().square().sum(-1))
        farthest = _farthest(farthest, distances[-1], centred, token_errors)
    if not n_tokens:
        raise InputError("there are no activations to evaluate on")
    if not squares.isfinite():
        raise InputError("an activation to evaluate on is not finite")
    if not error.isfinite().all():
        raise InputError("the reconstruction of an activation is not finite")
    variance = squares - total.square().sum() / n_tokens
    if not variance > ROUNDING * squares:
        raise InputError(
            f"the {n_tokens} activations to evaluate on do not vary: no share of their variance is defined"
        )
    left_out = n_trimmed(n_tokens)
    _, far, far_errors = (values[:left_out] for values in farthest)
    near_total = total - far.sum(0)
    near_variance = squares - far.square().sum() - near_total.square().sum() / (n_tokens - left_out)
    return Evaluation(
        n_tokens,
        error / n_tokens,
        error / variance,
        fired.sum(-1) / n_tokens,
        fired / n_tokens,
        # NaN where what is left does not vary, or drowns in the digits of what was taken away.
        (error - far_errors.sum(0)) / near_variance.where(near_variance > ROUNDING * squares, torch.nan),
        tokens_of_half(torch.cat(distances)),
    )


def n_trimmed(n_tokens: int) -> int:
    """How many of the tokens are left out of what is trimmed: a thousandth, rounded up."""
    return min(-(-n_tokens // TRIMMED), FARTHEST_TOKENS)


def trimmed(x: Float[Tensor, "n d_in"]) -> Float[Tensor, "m d_in"]:
    """The activations, in their order, without the ``n_trimmed`` that lie farthest from their mean."""
    near = squared_distances(x).argsort()[: len(x) - n_trimmed(len(x))]
    return x[near.sort().values]


def squared_distances(x: Float[Tensor, "n d_in"]) -> Float[Tensor, " n"]:
    """Of each token from the mean of all."""
    return (x - x.mean(0)).double().square().sum(-1)


def tokens_of_half(distances: Float[Tensor, " n"]) -> int:
    """The fewest tokens whose ``squared_distances`` sum to half of those of all."""
    sums = distances.sort(descending=True).values.cumsum(0)
    return int((sums < sums[-1] / 2).sum()) + 1


def _farthest(before, distances, *of_tokens):
    """The ``FARTHEST_TOKENS`` with the largest distances of those ``before`` and a batch, with what there is of each.

    Errors come by dimension, since only those of the few are ever summed by token.
    """
    if before is not None and len(before[0]) == FARTHEST_TOKENS:
        farther = distances > before[0][-1]
        distances, of_tokens = distances[farther], [values[farther] for values in of_tokens]
    centred, errors = of_tokens
    batch = (distances, centred, errors.sum(-1))
    both = batch if before is None else [torch.cat(pair) for pair in zip(before, batch, strict=True)]
    order = both[0].argsort(descending=True)[:FARTHEST_TOKENS]
    return [values[order] for values in both]


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
    """Put reconstructions back into the model: a result for each dictionary of all ``stacks`` in turn.

    Positions that SAEs are not trained on, the first of each row and end-of-text tokens, keep their activations, in the
    ablation too. Raises InputError for stacks of different hook points, for none, and where there is no text.
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
