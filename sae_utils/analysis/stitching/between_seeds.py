"""Stitching between the dictionaries of one stack, which differ in their seed: every (base, donor) at once.

Which of a donor's latents are inserted, and in which order, is chosen on one half of the batches and judged on the
other. Insertion raises L0, so the rival is the base itself with a larger k (``orphan_insertion.with_k``).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from sae_utils.analysis.matching.overlap import Pairs, from_both_sides
from sae_utils.analysis.statistics import Interval
from sae_utils.analysis.stitching import orphan_insertion
from sae_utils.analysis.stitching.insertion import Insertion, insert
from sae_utils.analysis.stitching.novelty import over_ordered_pairs
from sae_utils.analysis.stitching.width_pairs import RANDOM, random_rows
from sae_utils.errors import InputError
from sae_utils.saes.metrics import evaluate
from sae_utils.saes.sae import SAE

Batches = Callable[[], Iterable[Float[Tensor, "batch d_in"]]]
Chosen = Mapping[tuple[int, int], Bool[np.ndarray, " n"]]  # latents of a donor, by (base, donor)
ABOVE_OWN_K = "best greedy set, above a larger k of its own at that L0"


@dataclass(frozen=True)
class LargerK:
    """The bases with more of their own latents active: change in MSE (percent) at the mean L0 that this adds."""

    l0: Float[np.ndarray, " m"] = field(default_factory=lambda: np.zeros(0))
    change: Float[np.ndarray, "S m"] = field(default_factory=lambda: np.zeros((0, 0)))

    @property
    def mean_change(self) -> Float[np.ndarray, " m"]:
        """Over bases."""
        return self.change.mean(0) if len(self.change) else np.zeros(0)

    def at(self, base: int, l0: float) -> float:
        """Change in MSE, a share, of one base with ``l0`` more active latents."""
        return float(np.interp(l0, self.l0, self.change[base]) / 100)


@dataclass(frozen=True)
class BetweenSeeds:
    """Intervals over ordered pairs of seeds, and the curves of Figure B7; empty where there is no such stack."""

    intervals: Mapping[str, Interval] = field(default_factory=dict)
    own: LargerK = LargerK()
    grid: Float[np.ndarray, " g"] = field(default_factory=lambda: np.zeros(0))  # added L0
    curves: Mapping[str, Float[np.ndarray, "S g"]] = field(default_factory=dict)  # change in MSE, percent, per base
    same_width: Mapping[tuple[int, int], float] = field(default_factory=dict)  # share of reconstruction latents


NOTHING = BetweenSeeds()


def between_seeds(stack: SAE, batches: Batches, spread: Float[Tensor, "d_in d_in"]) -> BetweenSeeds:
    """A TopK stack on raw activations; ``batches`` gives the same again, ``spread`` is the null's covariance.

    Raises InputError for other architectures.
    """
    both = from_both_sides(stack.encoder, stack.W_dec, evaluate(stack, batches()).alive.cpu())
    replaced = {RANDOM: random_rows(stack, spread)}
    halves = [insert(stack, stack, islice(batches(), h, None, 2), replaced, sets=True) for h in range(2)]
    own = larger_k(stack, lambda: islice(batches(), 1, None, 2))
    grid, groups = np.linspace(0, stack.config.k, 41), {"orphans": orphan_insertion.orphans(both)}
    groups["shared"] = orphan_insertion.shared(both)
    curves = {name: greedy_curves(halves, chosen, grid, stack.n_dictionaries) for name, chosen in groups.items()}
    values = pair_values(both, halves, groups, own)
    intervals = {name: over_ordered_pairs(by_pair) for name, by_pair in values.items()}
    return BetweenSeeds(intervals, own, grid, curves, values["reconstruction latents, by insertion"])


def larger_k(stack: SAE, batches: Batches) -> LargerK:
    """Each base with an eighth, a quarter, a half of its k more, and with twice its k.

    Raises InputError for architectures other than TopK.
    """
    k = stack.config.k
    if k is None:
        raise InputError(f"architecture={stack.config.architecture!r} has no k that could be larger; allowed: topk")
    extra = sorted({max(1, k // 8), max(1, k // 4), max(1, k // 2), k})
    base = evaluate(stack, batches())
    larger = [evaluate(orphan_insertion.with_k(stack, k + m), batches()) for m in extra]
    l0 = np.array([0, *((q.l0 - base.l0).mean().item() for q in larger)])
    change = [np.zeros(stack.n_dictionaries), *(100 * (q.mse / base.mse - 1).cpu().numpy() for q in larger)]
    return LargerK(l0, np.array(change).T)


def pair_values(
    both: Pairs, halves: Sequence[Insertion], groups: Mapping[str, Chosen], own: LargerK
) -> dict[str, dict[tuple[int, int], float]]:
    """What inserting latents of the donor does, in words, for each (base, donor)."""
    singly = {name: orphan_insertion.one_at_a_time(halves[1], chosen) for name, chosen in groups.items()}
    at_once = {name: orphan_insertion.together(*halves, chosen) for name, chosen in groups.items()}
    change, lowers = halves[1].change, [half.change < 0 for half in halves]
    counted = {m: both[m[::-1]].counted for m in both}
    near = {m: o.fraction(o.shared("max_decoder")) for m, o in ((m, both[m[::-1]]) for m in both)}
    best = at_once["orphans"]
    above = {m: best["greedy"][m] - own.at(m[0], best["greedy_l0"][m]) for m in both}
    return {
        "orphans among the latents": {m: g.sum() / counted[m].sum() for m, g in groups["orphans"].items()},
        "reconstruction latents, by insertion": {m: (change[m] >= 0)[counted[m]].mean() for m in both},
        "reconstruction latents, by a cosine above 0.7": near,
        "same sign on both halves of the tokens": {m: (lowers[0][m] == lowers[1][m])[counted[m]].mean() for m in both},
        "share that lowers MSE: orphans": singly["orphans"]["lowering"],
        "share that lowers MSE: shared": singly["shared"]["lowering"],
        "share that lowers MSE: random directions": singly["orphans"]["lowering_random"],
        "change in MSE: all orphans together": best["all"],
        "change in MSE: sum of each alone": best["sum"],
        "change in MSE: those that lower it alone, together": best["lowering"],
        "change in MSE: best greedy set of orphans": best["greedy"],
        "added L0 of that set": best["greedy_l0"],
        ABOVE_OWN_K: above,
        "change in MSE: best greedy set of shared latents": at_once["shared"]["greedy"],
    }


def greedy_curves(
    halves: Sequence[Insertion], chosen: Chosen, grid: Float[np.ndarray, " g"], n_bases: int
) -> Float[np.ndarray, "S g"]:
    """Change in MSE (percent) against added L0 as the latents go in, mean over donors; NaN once a pair has no more."""
    ways = {m: orphan_insertion.greedy(*halves, *m, mask) for m, mask in chosen.items()}
    on_grid = {m: np.interp(grid, [0, *w.l0], 100 * np.append(0, w.change), right=np.nan) for m, w in ways.items()}
    return np.array([np.mean([y for (s, _), y in on_grid.items() if s == b], axis=0) for b in range(n_bases)])
