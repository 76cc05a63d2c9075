"""The walk from a small SAE to a large one: insert what is novel, swap what is not, end exactly at the large SAE.

Paper B (arXiv 2502.04878). The dictionary on the way has some latents of each SAE and a decoder bias between theirs.
Let u_m be 1 for an inserted latent of the larger SAE, -1 for a removed latent of the smaller one, and w the share of
the way that the bias has gone from b0_dec to b1_dec. Then the error is that of the smaller SAE less sum_m u_m c_m,
with c_m = z_m d_m / scale, and c = (b1_dec - b0_dec) / scale for the bias, with u = w. So the MSE of *every* dictionary
on *every* walk is a quadratic form of u, whose coefficients come from one pass over the tokens (``insertion`` has the
case of insertion alone). L0 is the sum of the firing frequencies of the latents that are there.

The walk: novel latents one by one; then swap groups, each as a unit; then the removal of the latents that nothing
stands for; last, latents that never fire, which changes nothing. The decoder bias stays the smaller SAE's while latents
go in and moves to the larger SAE's in equal parts over the swaps (``bias``: or all of it at the first, or the last).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import sparse
from torch import Tensor

from sae_utils.analysis.stitching.insertion import code_matrix
from sae_utils.analysis.stitching.swap_groups import Relation
from sae_utils.errors import InputError
from sae_utils.saes.sae import SAE
from sae_utils.saes.stitched import Part, Stitched, check_one, check_pair

Phase = Literal["insert", "swap", "remove", "dead"]
Bias = Literal["with_swaps", "first", "last"]
NONE = np.array([], dtype=int)


@dataclass(frozen=True)
class PairError:
    """MSE (raw units, per token, summed over dimensions) and L0 of all that is stitched from two SAEs.

    The entries are: latents of the smaller SAE, latents of the larger, the decoder bias.
    """

    n_small: int
    mse: float  # of the smaller SAE
    linear: Float[np.ndarray, " m"]  # mean of <e, c_m>
    quadratic: Float[np.ndarray, "m m"]  # mean of <c_i, c_j>
    firing_frequency: Float[np.ndarray, " latents"]

    def change(self, u: Float[np.ndarray, " m"]) -> float:
        """MSE of the dictionary ``u`` less that of the smaller SAE."""
        return float(u @ self.quadratic @ u - 2 * u @ self.linear)


@dataclass(frozen=True)
class Step:
    """One step: latents of the larger SAE that come, of the smaller that go, and how far the bias has gone after it."""

    phase: Phase
    inserted: Int[np.ndarray, " n"]
    removed: Int[np.ndarray, " m"]
    bias: float = 0.0


@dataclass(frozen=True)
class Walk:
    """What every step of a walk leads to; entry 0 is the smaller SAE, before the first step."""

    mse: Float[np.ndarray, " steps"]
    l0: Float[np.ndarray, " steps"]
    n_latents: Int[np.ndarray, " steps"]
    phase: tuple[str, ...]  # of each step but entry 0


@torch.no_grad()
def pair_error(small: SAE, large: SAE, batches: Iterable[Float[Tensor, "batch d_in"]]) -> PairError:
    """One pass over raw activations, sums in float64. Raises InputError for SAEs that cannot be stitched."""
    check_one(small), check_one(large), check_pair(small, large)
    b0, b1 = (sae.b_dec[0].detach().cpu().double() for sae in (small, large))
    rows = torch.cat([small.W_dec[0].detach().cpu().double(), large.W_dec[0].detach().cpu().double(), (b1 - b0)[None]])
    rows, widths = rows.numpy(), (small.config.n_latents, large.config.n_latents)
    n_tokens, error_sum = 0, 0.0
    moment, products, fired = np.zeros(rows.shape), np.zeros((len(rows), len(rows))), np.zeros(len(rows) - 1)
    for x in batches:
        x = x.to(small.W_dec.device)
        codes = small.encode(x), large.encode(x)
        error = (x - small.decode(codes[0])[:, 0]).double().cpu().numpy()
        parts = [code_matrix(code, 0, n) for code, n in zip(codes, widths, strict=True)]
        z = sparse.hstack([*parts, np.ones((len(x), 1))], format="csr")
        moment += z.T @ error
        products += (z.T @ z).toarray()
        fired += np.bincount(z.indices, minlength=len(rows))[:-1]
        error_sum += float(np.square(error).sum())
        n_tokens += len(x)
    if not n_tokens:
        raise InputError("there are no activations to measure the stitching on")
    scale = float(small.scale.double())
    return PairError(
        widths[0],
        error_sum / n_tokens,
        (moment * rows).sum(1) / (n_tokens * scale),
        products * (rows @ rows.T) / (n_tokens * scale**2),
        fired / n_tokens,
    )


def walk_steps(
    relation: Relation, error: PairError, bias: Bias = "with_swaps", shuffle: np.random.Generator | None = None
) -> list[Step]:
    """The steps from the smaller SAE to the larger, each phase in the order of what a step alone would change.

    Insertions are judged at the smaller SAE, swaps and removals at the dictionary with all novel latents. With
    ``shuffle`` each phase is in random order instead. Raises InputError for an unknown ``bias``.
    """
    if bias not in get_args(Bias):
        raise InputError(f"bias={bias!r} is unknown; allowed: {', '.join(get_args(Bias))}")
    insert = [Step("insert", np.array([j]), NONE) for j in relation.novel]
    swap = [Step("swap", group.large, group.small) for group in relation.groups]
    remove = [Step("remove", NONE, np.array([i])) for i in relation.lost]
    at = np.zeros(len(error.linear))
    insert = _ordered(insert, error, at, shuffle)
    at[error.n_small + relation.novel] = 1
    swap, remove = _ordered(swap, error, at, shuffle), _ordered(remove, error, at, shuffle)
    end = [Step("dead", relation.dead_large, relation.dead_small)]
    moving = len(swap)
    if not moving:  # the bias has to move at some step: then at the last
        return insert + remove + [replace(end[0], bias=1.0)]
    share = {"with_swaps": lambda i: (i + 1) / moving, "first": lambda i: 1.0, "last": lambda i: float(i + 1 == moving)}
    swap = [replace(step, bias=share[bias](i)) for i, step in enumerate(swap)]
    return insert + swap + [replace(step, bias=1.0) for step in remove + end]


def direction(step: Step, error: PairError, bias_before: float = 0.0) -> Float[np.ndarray, " m"]:
    """What the step adds to u; ``bias_before`` is the share of the bias's way before it."""
    u = np.zeros(len(error.linear))
    u[error.n_small + step.inserted] = 1
    u[step.removed] = -1
    u[-1] = step.bias - bias_before
    return u


def walk(error: PairError, steps: Sequence[Step]) -> Walk:
    """MSE, L0 and number of latents before the first and after every step."""
    n, bias = error.n_small, 0.0
    gradient = -2 * error.linear  # of the quadratic form, where the walk is
    mse, l0, latents = [error.mse], [float(error.firing_frequency[:n].sum())], [n]
    for step in steps:
        v = direction(step, error, bias)
        moved = np.flatnonzero(v)
        push = error.quadratic[:, moved] @ v[moved]
        mse.append(mse[-1] + float(gradient @ v + push @ v))
        gradient += 2 * push
        bias = step.bias
        l0.append(l0[-1] + float(error.firing_frequency @ v[:-1]))
        latents.append(latents[-1] + len(step.inserted) - len(step.removed))
    return Walk(np.array(mse), np.array(l0), np.array(latents), tuple(step.phase for step in steps))


def dictionary_after(small: SAE, large: SAE, steps: Sequence[Step]) -> Stitched:
    """The dictionary that the steps lead to. After all of a walk it has the larger SAE's parameters, bit for bit."""
    check_one(small), check_one(large), check_pair(small, large)
    keep = torch.ones(small.config.n_latents, dtype=torch.bool, device=small.W_dec.device)
    take = torch.zeros(large.config.n_latents, dtype=torch.bool, device=small.W_dec.device)
    for step in steps:
        keep[torch.from_numpy(step.removed)] = False
        take[torch.from_numpy(step.inserted)] = True
    share = steps[-1].bias if steps else 0.0
    b_dec = torch.lerp(small.b_dec[0].detach(), large.b_dec[0].detach(), share)  # exact at 0 and at 1
    return Stitched([Part(small, keep), Part(large, take)], b_dec)


def _ordered(steps: list[Step], error: PairError, at: Float[np.ndarray, " m"], shuffle) -> list[Step]:
    if shuffle is not None:
        return [steps[i] for i in shuffle.permutation(len(steps))]
    gradient = 2 * (error.quadratic @ at - error.linear)
    changes = []
    for step in steps:
        v = direction(step, error)
        moved = np.flatnonzero(v)
        changes.append(float(gradient[moved] @ v[moved] + v[moved] @ error.quadratic[np.ix_(moved, moved)] @ v[moved]))
    return [steps[i] for i in np.argsort(changes, kind="stable")]
