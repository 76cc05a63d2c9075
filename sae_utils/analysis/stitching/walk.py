"""The walk from a small SAE to a large one: insert what is novel, swap what is not, end exactly at the large SAE.

Paper B (arXiv 2502.04878). The dictionary on the way has some latents of each SAE and a decoder bias between theirs.
Let u_m be 1 for an inserted latent of the larger SAE, -1 for a removed latent of the smaller one, and w the share of
the way that the bias has gone from b0_dec to b1_dec. Then the error is that of the smaller SAE less sum_m u_m c_m,
with c_m = z_m d_m / scale, and c = (b1_dec - b0_dec) / scale for the bias, with u = w. So the MSE of *every* dictionary
on *every* walk is a quadratic form of u, whose coefficients come from one pass over the tokens (``insertion`` has the
case of insertion alone). L0 is the sum of the firing frequencies of the latents that are there.

The walk: novel latents one by one; then swap groups, each as a unit; then the removal of the latents that nothing
stands for; last, latents that never fire, which changes nothing. The decoder bias stays the smaller SAE's while latents
go in and moves to the larger SAE's in equal parts over the swaps.

Whether the error falls at every step hangs on the order within a phase. In the paper's, as far as it is known to us,
novel latents go in by their cosine, the least first. *Greedy* takes at each turn the step that lowers the error most:
it is the first to be low, and climbs afterwards, for what is inserted counts twice with what is there already. *Gentle*
takes the step that lowers it least, and one that raises it only where none lowers it: a weak step would raise the error
later, so that this order climbs little. Where even the order that climbs least climbs far, the walk is not monotonic.
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

from sae_utils.analysis.matching.assignment.products import pair_cosines
from sae_utils.analysis.stitching.insertion import check_two
from sae_utils.analysis.stitching.swap_groups import KINDS, Relation, relate
from sae_utils.errors import InputError
from sae_utils.saes import SAE, Part, Stitched

Order = Literal["greedy", "gentle", "cosine", "random"]
PHASES = ("insert", "swap", "remove")  # and "dead", the last step; the last three together are the replacement
NONE = np.array([], dtype=int)
RISE = 1e-9  # a change of less than this share of the MSE is rounding
MOST_DENSE = 20_000  # entries of which every pair is held, in 3.2 GB (thrice while made); of more, those that co-fire


@dataclass(frozen=True)
class PairError:
    """MSE (raw units, per token, summed over dimensions) and L0 of all that is stitched from two SAEs.

    The entries are: latents of the smaller SAE, latents of the larger, the decoder bias.
    """

    n_small: int
    mse: float  # of the smaller SAE
    linear: Float[np.ndarray, " m"]  # mean of <e, c_m>
    quadratic: Float[np.ndarray, "m m"] | sparse.csr_matrix  # mean of <c_i, c_j>; sparse above MOST_DENSE
    firing_frequency: Float[np.ndarray, " latents"]

    def change(self, u: Float[np.ndarray, " m"]) -> float:
        """MSE of the dictionary ``u`` less that of the smaller SAE."""
        return float(u @ self.quadratic @ u - 2 * u @ self.linear)

    def push(self, v: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
        """The product of ``quadratic``, which is symmetric, and a vector that is 0 nearly everywhere."""
        moved = np.flatnonzero(v)
        if sparse.issparse(self.quadratic):  # in which columns are slow to find
            return v[moved] @ self.quadratic[moved]
        return self.quadratic[:, moved] @ v[moved]


@torch.no_grad()
def pair_error(small: SAE, large: SAE, batches: Iterable[Float[Tensor, "batch d_in"]]) -> PairError:
    """One pass over raw activations, sums in float64. Raises InputError for SAEs that cannot be stitched."""
    check_two(small, large)
    b0, b1 = (sae.b_dec[0].detach().cpu().double() for sae in (small, large))
    rows = torch.cat([small.W_dec[0].detach().cpu().double(), large.W_dec[0].detach().cpu().double(), (b1 - b0)[None]])
    rows, widths = rows.numpy(), (small.config.n_latents, large.config.n_latents)
    n_tokens, error_sum = 0, 0.0
    dense, shape = len(rows) <= MOST_DENSE, (len(rows), len(rows))
    moment, fired = np.zeros(rows.shape), np.zeros(len(rows) - 1)
    products = np.zeros(shape) if dense else sparse.csr_matrix(shape)
    for x in batches:
        x = x.to(small.W_dec.device)
        codes = small.encode(x), large.encode(x)
        error = (x - small.decode(codes[0])[:, 0]).double().cpu().numpy()
        parts = [code.matrix(0, n) for code, n in zip(codes, widths, strict=True)]
        z = sparse.hstack([*parts, np.ones((len(x), 1))], format="csr")
        moment += z.T @ error
        products += (z.T @ z).toarray() if dense else (z.T @ z).tocsr()
        fired += np.bincount(z.indices, minlength=len(rows))[:-1]
        error_sum += float(np.square(error).sum())
        n_tokens += len(x)
    if not n_tokens:
        raise InputError("there are no activations to measure the stitching on")
    scale = float(small.scale.double())
    if dense:
        products = products * (rows @ rows.T)
    else:
        at, of = products.tocoo(), torch.from_numpy(rows)
        products.data *= pair_cosines(of, of, at.row, at.col.astype(np.int64))
    return PairError(
        widths[0],
        error_sum / n_tokens,
        (moment * rows).sum(1) / (n_tokens * scale),
        products / (n_tokens * scale**2),
        fired / n_tokens,
    )


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


def walk_steps(relation: Relation, error: PairError, order: Order = "greedy") -> list[Step]:
    """The steps from the smaller SAE to the larger, ordered within each phase.

    Raises InputError for an unknown ``order``.
    """
    if order not in get_args(Order):
        raise InputError(f"order={order!r} is unknown; allowed: {', '.join(get_args(Order))}")
    insert = [Step("insert", np.array([j]), NONE) for j in relation.novel[np.argsort(relation.cosine[relation.novel])]]
    swap = [Step("swap", group.large, group.small) for group in relation.groups]
    swap.sort(key=lambda step: -relation.cosine[step.inserted].max())
    remove = [Step("remove", NONE, np.array([i])) for i in relation.lost]
    at, rng, phases = np.zeros(len(error.linear)), np.random.default_rng(0), []
    for steps in (insert, swap, remove):
        if order == "random":
            steps = [steps[i] for i in rng.permutation(len(steps))]
        if order in ("greedy", "gentle"):
            steps = _turn_by_turn(steps, error, at, gentle=order == "gentle")
        phases.append(steps)
    insert, swap, remove = phases
    dead = Step("dead", relation.dead_large, relation.dead_small, bias=1.0)
    if not swap:  # the bias has to move at some step: then at the last
        return [*insert, *remove, dead]
    swap = [replace(step, bias=(i + 1) / len(swap)) for i, step in enumerate(swap)]
    return [*insert, *swap, *(replace(step, bias=1.0) for step in remove), dead]


def _turn_by_turn(steps: list[Step], error: PairError, at: Float[np.ndarray, " m"], gentle: bool) -> list[Step]:
    """The steps in greedy or gentle order from the dictionary ``at``, which is moved to where they lead."""
    if not steps:
        return []
    directions = sparse.vstack([sparse.csr_matrix(step.direction(error)) for step in steps], format="csr")
    pushes = directions @ error.quadratic
    marginal = directions @ (2 * (error.quadratic @ at - error.linear)) + directions.multiply(pushes).sum(1).A1
    order = []
    for _ in steps:
        falling = gentle and marginal.min() < 0
        i = int(np.where(marginal < 0, marginal, -np.inf).argmax() if falling else marginal.argmin())
        order.append(i)
        marginal += 2 * (directions @ (pushes[i].toarray()[0] if sparse.issparse(pushes) else pushes[i]))
        marginal[i] = np.inf
    at += directions.sum(0).A1
    return [steps[i] for i in order]


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
        push = error.push(v)
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
    climb: dict[str, float]  # highest MSE above its lowest before, within "insert", "replace" and over "all"
    total_change: float


def summarise_walk(found: Walk) -> WalkSummary:
    """Counts and changes of one walk, by phase; latents that never fire are left out."""
    phase, relative = np.array(found.phase), found.mse / found.mse[0]
    rise, l0_change = np.diff(relative), np.diff(found.l0)
    of = {name: phase == name for name in PHASES}
    inserted = int(of["insert"].sum())
    parts = {"insert": relative[: inserted + 1], "replace": relative[inserted:], "all": relative}
    return WalkSummary(
        {name: int(mask.sum()) for name, mask in of.items()},
        {name: float((rise[mask] > RISE).mean()) if mask.any() else 0.0 for name, mask in of.items()},
        {name: float(rise[mask].sum()) for name, mask in of.items()},
        {name: float(l0_change[mask].sum()) for name, mask in of.items()},
        {name: float((part - np.minimum.accumulate(part)).max()) for name, part in parts.items()},
        float(relative[-1] - 1),
    )


def climb_over_fall(walks: Sequence[WalkSummary], part: str) -> float:
    """How far the error climbs on the links of a chain, as a share of how far it falls; NaN where it does not fall."""
    fall = -sum(walk.total_change for walk in walks)
    return sum(walk.climb[part] for walk in walks) / fall if fall > 0 else float("nan")


def swaps_alone(relation: Relation, error: PairError) -> dict[str, dict[str, float]]:
    """Of each kind of group: how many, and the mean change of MSE (share of it) and L0 when one is swapped alone."""
    found = {}
    for kind in KINDS:
        swaps = [Step("swap", g.large, g.small).direction(error) for g in relation.groups if g.kind == kind]
        mse = [error.change(v) / error.mse for v in swaps] or [0.0]
        l0 = [float(error.firing_frequency @ v[:-1]) for v in swaps] or [0.0]
        found[kind] = {"groups": len(swaps), "mse": float(np.mean(mse)), "l0": float(np.mean(l0))}
    return found


@dataclass(frozen=True)
class Link:
    """The walk from one SAE to the next wider one, and what it was made from."""

    relation: Relation
    error: PairError  # on the judging tokens
    steps: list[Step]
    walk: Walk  # on the judging tokens
    walk_when_chosen: Walk  # on the tokens that the order was chosen on

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
    chain: Sequence[SAE],
    alive: Sequence[Bool[np.ndarray, " n"]],
    choosing: Sequence[PairError],
    judging: Sequence[PairError],
    threshold: float,
    order: Order = "greedy",
) -> list[Link]:
    """The walk along SAEs from narrow to wide, stacks of one, whose steps are ordered by ``choosing``'s tokens.

    ``choosing`` and ``judging`` are ``pair_errors`` of the chain on two sets of tokens.
    """
    links = []
    for two, both_alive, chosen, judged in zip(pairwise(chain), pairwise(alive), choosing, judging, strict=True):
        relation = relate(*(sae.W_dec[0] for sae in two), threshold, *both_alive)
        steps = walk_steps(relation, chosen, order)
        links.append(Link(relation, judged, steps, walk_along(steps, judged), walk_along(steps, chosen)))
    return links
