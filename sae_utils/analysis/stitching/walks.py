"""What a walk from a small SAE to a large one shows: where MSE rises, what each phase and each kind of swap changes."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from sae_utils.analysis.stitching.swap_groups import KINDS, Relation, relate
from sae_utils.analysis.stitching.walk import PairError, Step, Walk, direction, pair_error, walk, walk_steps
from sae_utils.saes.sae import SAE

PHASES = ("insert", "swap", "remove")
RISE = 1e-9  # a change of less than this share of the MSE is rounding


@dataclass(frozen=True)
class WalkSummary:
    """Changes are shares of the smaller SAE's MSE."""

    steps: dict[str, int]  # of each phase
    rising: dict[str, float]  # share of the steps of each phase that raise MSE
    change: dict[str, float]  # of MSE over each phase
    l0_change: dict[str, float]  # over each phase
    rising_share: float  # of all steps that bring or take a latent that fires
    largest_climb: float  # of MSE above its lowest value before
    total_change: float


def summarise_walk(found: Walk) -> WalkSummary:
    """Counts and changes of one walk, by phase; latents that never fire are left out."""
    phase, relative = np.array(found.phase), found.mse / found.mse[0]
    rise = np.diff(relative)
    of = {name: phase == name for name in PHASES}
    return WalkSummary(
        {name: int(mask.sum()) for name, mask in of.items()},
        {name: float((rise[mask] > RISE).mean()) if mask.any() else 0.0 for name, mask in of.items()},
        {name: float(rise[mask].sum()) for name, mask in of.items()},
        {name: float(np.diff(found.l0)[mask].sum()) for name, mask in of.items()},
        float((rise[phase != "dead"] > RISE).mean()),
        float((relative - np.minimum.accumulate(relative)).max()),
        float(relative[-1] - 1),
    )


def swaps_alone(relation: Relation, error: PairError) -> dict[str, dict[str, float]]:
    """Of each kind of group: how many, and the mean change of MSE (share of it) and L0 when one is swapped alone."""
    found = {}
    for kind in KINDS:
        swaps = [direction(Step("swap", g.large, g.small), error) for g in relation.groups if g.kind == kind]
        mse = [error.change(v) / error.mse for v in swaps]
        l0 = [float(error.firing_frequency @ v[:-1]) for v in swaps]
        found[kind] = {"groups": len(swaps)} | (
            {"mse": float(np.mean(mse)), "l0": float(np.mean(l0))} if swaps else {"mse": 0.0, "l0": 0.0}
        )
    return found


def random_orders(relation: Relation, error: PairError, n_orders: int, seed: int = 0) -> list[WalkSummary]:
    """The same walk with the steps of each phase in random order."""
    rng = np.random.default_rng(seed)
    return [summarise_walk(walk(error, walk_steps(relation, error, shuffle=rng))) for _ in range(n_orders)]


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
        links.append(Link(relation, error, steps, walk(error, steps)))
    return links


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
