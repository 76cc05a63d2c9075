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

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy import sparse
from torch import Tensor

from sae_utils.analysis.stitching.insertion import check_two
from sae_utils.analysis.stitching.swap_groups import KINDS, Relation, relate
from sae_utils.errors import InputError
from sae_utils.saes import SAE, Part, Stitched

Bias = Literal["with_swaps", "first", "last"]
PHASES = ("insert", "swap", "remove")  # and "dead", the last step
NONE = np.array([], dtype=int)
RISE = 1e-9  # a change of less than this share of the MSE is rounding


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


@torch.no_grad()
def pair_error(small: SAE, large: SAE, batches: Iterable[Float[Tensor, "batch d_in"]]) -> PairError:
    """One pass over raw activations, sums in float64. Raises InputError for SAEs that cannot be stitched."""
    check_two(small, large)
    b0, b1 = (sae.b_dec[0].detach().cpu().double() for sae in (small, large))
    rows = torch.cat([small.W_dec[0].detach().cpu().double(), large.W_dec[0].detach().cpu().double(), (b1 - b0)[None]])
    rows, widths = rows.numpy(), (small.config.n_latents, large.config.n_latents)
    n_tokens, error_sum = 0, 0.0
    moment, products, fired = np.zeros(rows.shape), np.zeros((len(rows), len(rows))), np.zeros(len(rows) - 1)
    for x in batches:
        x = x.to(small.W_dec.device)
        codes = small.encode(x), large.encode(x)
        error = (x - small.decode(codes[0])[:, 0]).double().cpu().numpy()
        parts = [code.matrix(0, n) for code, n in zip(codes, widths, strict=True)]
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


def insert_all_novel(error: PairError) -> float:
    """Change in MSE when all latents whose insertion alone lowers it are inserted together."""
    n, m = error.n_small, len(error.linear) - 1
    u = np.zeros(m + 1)
    u[n:m] = error.quadratic.diagonal()[n:m] < 2 * error.linear[n:m]
    return error.change(u)


@dataclass(frozen=True)
class Unshrunk:
    """Insertion into the smaller SAE with its latents' contributions enlarged by the factor that lowers MSE most."""

    factor: float  # above 1 where the SAE makes its activations too small, as a penalty on them does
    change: Float[np.ndarray, " n_large"]  # in MSE, when one latent is inserted alone


def without_shrinkage(error: PairError) -> Unshrunk:
    """What is left of insertion's gains once the smaller SAE's activations have the right size, all by one factor.

    An L1 penalty shrinks activations. Part of every reconstruction is then missing, and almost any latent that points
    the same way makes up for some of it, without having found anything new.
    """
    n, m = error.n_small, len(error.linear) - 1
    excess = error.linear[:n].sum() / error.quadratic[:n, :n].sum()
    linear = error.linear[n:m] - excess * error.quadratic[:n, n:m].sum(0)
    return Unshrunk(float(1 + excess), error.quadratic.diagonal()[n:m] - 2 * linear)


@dataclass(frozen=True)
class Step:
    """One step: latents of the larger SAE that come, of the smaller that go, and how far the bias has gone after it."""

    phase: str
    inserted: Int[np.ndarray, " n"]
    removed: Int[np.ndarray, " m"]
    bias: float = 0.0

    def direction(self, error: PairError, bias_before: float = 0.0) -> Float[np.ndarray, " m"]:
        """What the step adds to u; ``bias_before`` is the share of the bias's way before it."""
        u = np.zeros(len(error.linear))
        u[error.n_small + self.inserted] = 1
        u[self.removed] = -1
        u[-1] = self.bias - bias_before
        return u


def walk_steps(
    relation: Relation, error: PairError, bias: Bias = "with_swaps", shuffle: np.random.Generator | None = None
) -> list[Step]:
    """The steps from the smaller SAE to the larger, each phase in the order of what a step alone would change.

    Insertions are judged at the smaller SAE, swaps and removals at the dictionary with all novel latents. With
    ``shuffle`` each phase is in random order instead. Raises InputError for an unknown ``bias``.
    """
    if bias not in get_args(Bias):
        raise InputError(f"bias={bias!r} is unknown; allowed: {', '.join(get_args(Bias))}")
    at = np.zeros(len(error.linear))
    insert = _ordered([Step("insert", np.array([j]), NONE) for j in relation.novel], error, at, shuffle)
    at[error.n_small + relation.novel] = 1
    swap = _ordered([Step("swap", group.large, group.small) for group in relation.groups], error, at, shuffle)
    remove = _ordered([Step("remove", NONE, np.array([i])) for i in relation.lost], error, at, shuffle)
    dead = Step("dead", relation.dead_large, relation.dead_small, bias=1.0)
    if not swap:  # the bias has to move at some step: then at the last
        return [*insert, *remove, dead]
    number = np.arange(1, len(swap) + 1)
    share = {"with_swaps": number / len(swap), "first": number >= 1, "last": number == len(swap)}[bias]
    swap = [replace(step, bias=float(share[i])) for i, step in enumerate(swap)]
    return [*insert, *swap, *(replace(step, bias=1.0) for step in remove), dead]


def _ordered(steps: list[Step], error: PairError, at: Float[np.ndarray, " m"], shuffle) -> list[Step]:
    if shuffle is not None:
        return [steps[i] for i in shuffle.permutation(len(steps))]
    gradient = 2 * (error.quadratic @ at - error.linear)
    changes = []
    for step in steps:
        v = step.direction(error)
        moved = np.flatnonzero(v)
        changes.append(float(gradient[moved] @ v[moved] + v[moved] @ error.quadratic[np.ix_(moved, moved)] @ v[moved]))
    return [steps[i] for i in np.argsort(changes, kind="stable")]


@dataclass(frozen=True)
class Walk:
    """What every step of a walk leads to; entry 0 is the smaller SAE, before the first step."""

    mse: Float[np.ndarray, " steps"]
    l0: Float[np.ndarray, " steps"]
    n_latents: Int[np.ndarray, " steps"]
    phase: tuple[str, ...]  # of each step but entry 0


def walk_along(steps: Sequence[Step], error: PairError) -> Walk:
    """MSE, L0 and number of latents before the first and after every step."""
    n, bias = error.n_small, 0.0
    gradient = -2 * error.linear  # of the quadratic form, where the walk is
    mse, l0, latents = [error.mse], [float(error.firing_frequency[:n].sum())], [n]
    for step in steps:
        v = step.direction(error, bias)
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
    check_two(small, large)
    keep = torch.ones(small.config.n_latents, dtype=torch.bool, device=small.W_dec.device)
    take = torch.zeros(large.config.n_latents, dtype=torch.bool, device=small.W_dec.device)
    for step in steps:
        keep[torch.from_numpy(step.removed)] = False
        take[torch.from_numpy(step.inserted)] = True
    share = steps[-1].bias if steps else 0.0
    b_dec = torch.lerp(small.b_dec[0].detach(), large.b_dec[0].detach(), share)  # exact at 0 and at 1
    return Stitched([Part(small, keep), Part(large, take)], b_dec)


@dataclass(frozen=True)
class WalkSummary:
    """Changes are shares of the smaller SAE's MSE, but for L0; what has several entries has one for each phase."""

    steps: dict[str, int]  # how many
    rising: dict[str, float]  # share of the steps that raise MSE
    change: dict[str, float]  # of MSE
    l0_change: dict[str, float]
    rising_share: float  # of all steps that bring or take a latent that fires
    largest_climb: float  # of MSE above its lowest value before
    total_change: float


def summarise_walk(found: Walk) -> WalkSummary:
    """Counts and changes of one walk, by phase; latents that never fire are left out."""
    phase, relative = np.array(found.phase), found.mse / found.mse[0]
    rise, l0_change = np.diff(relative), np.diff(found.l0)
    of = {name: phase == name for name in PHASES}
    return WalkSummary(
        {name: int(mask.sum()) for name, mask in of.items()},
        {name: float((rise[mask] > RISE).mean()) if mask.any() else 0.0 for name, mask in of.items()},
        {name: float(rise[mask].sum()) for name, mask in of.items()},
        {name: float(l0_change[mask].sum()) for name, mask in of.items()},
        float((rise[phase != "dead"] > RISE).mean()),
        float((relative - np.minimum.accumulate(relative)).max()),
        float(relative[-1] - 1),
    )


def swaps_alone(relation: Relation, error: PairError) -> dict[str, dict[str, float]]:
    """Of each kind of group: how many, and the mean change of MSE (share of it) and L0 when one is swapped alone."""
    found = {}
    for kind in KINDS:
        swaps = [Step("swap", g.large, g.small).direction(error) for g in relation.groups if g.kind == kind]
        mse = [error.change(v) / error.mse for v in swaps] or [0.0]
        l0 = [float(error.firing_frequency @ v[:-1]) for v in swaps] or [0.0]
        found[kind] = {"groups": len(swaps), "mse": float(np.mean(mse)), "l0": float(np.mean(l0))}
    return found


def random_orders(relation: Relation, error: PairError, n_orders: int) -> list[WalkSummary]:
    """The same walk with the steps of each phase in random order."""
    rng = np.random.default_rng(0)
    return [summarise_walk(walk_along(walk_steps(relation, error, shuffle=rng), error)) for _ in range(n_orders)]


@dataclass(frozen=True)
class Link:
    """The walk from one SAE to the next wider one, and what it was made from."""

    relation: Relation
    error: PairError
    steps: list[Step]
    walk: Walk

    def marks(self) -> list[int]:
        """Numbers of steps at which to look closely: both ends, and the middle and end of inserting and of swapping."""
        phases = [step.phase for step in self.steps]
        inserted = phases.count("insert")
        swapped = inserted + phases.count("swap")
        return sorted({0, inserted // 2, inserted, (inserted + swapped) // 2, swapped, len(phases)})


def pair_errors(chain: Sequence[SAE], batches: Callable[[], Iterable[Float[Tensor, "batch d_in"]]]) -> list[PairError]:
    """One for each link of SAEs from narrow to wide, stacks of one; ``batches`` gives the same activations again."""
    return [pair_error(small, large, batches()) for small, large in pairwise(chain)]


def walk_chain(
    chain: Sequence[SAE], alive: Sequence[Bool[np.ndarray, " n"]], errors: Sequence[PairError], threshold: float
) -> list[Link]:
    """The walk along SAEs from narrow to wide, stacks of one, with their ``pair_errors``."""
    links = []
    for (small, large), (alive_small, alive_large), error in zip(pairwise(chain), pairwise(alive), errors, strict=True):
        relation = relate(small.W_dec[0], large.W_dec[0], threshold, alive_small, alive_large)
        steps = walk_steps(relation, error)
        links.append(Link(relation, error, steps, walk_along(steps, error)))
    return links
