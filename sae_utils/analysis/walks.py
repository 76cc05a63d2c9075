"""What a walk from a small SAE to a large one shows: where MSE rises, what each phase and each kind of swap changes."""

from dataclasses import dataclass

import numpy as np

from sae_utils.analysis.interpolation import PairError, Step, Walk, direction, walk, walk_steps
from sae_utils.analysis.swap_groups import KINDS, Relation

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
