"""Stitching between seeds: is what one dictionary alone has found news to another, or only another basis?

No paper shows it. Latents of a donor are inserted into a base of the same width and architecture that differs from it
in its seed, for every (base, donor) of a stack. Orphans of the donor are latents that it does not share with the base
(strict definition of paper A, encoders in the metric of the data). All of them at once overshoot whatever they are; a
few of the best may lower the base's error.

Which latents go in, and in which order, is chosen on one half of the batches and judged on the other: the best of many
would look good on the tokens that it was chosen on. Inserted latents raise L0, so the fair rival is the base itself
with more active latents (``larger_k``).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, permutations

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from sae_utils.analysis.matching.metric import in_metric
from sae_utils.analysis.matching.overlap import Pairs, from_both_sides
from sae_utils.analysis.statistics import Interval, over_ordered_pairs
from sae_utils.analysis.stitching.insertion import Insertion, insert
from sae_utils.analysis.stitching.novelty import Association, associate
from sae_utils.analysis.stitching.width_pairs import RANDOM, WidthPair, random_rows
from sae_utils.errors import InputError
from sae_utils.saes import SAE, evaluate

Batches = Callable[[], Iterable[Float[Tensor, "batch d_in"]]]
Values = dict[tuple[int, int], float]  # by (base, donor)
Chosen = Mapping[tuple[int, int], Bool[np.ndarray, " n"]]  # latents of the donor, by (base, donor)
ABOVE_OWN_K = "best greedy set, above a larger k of its own at that L0"


@dataclass(frozen=True)
class LargerK:
    """The bases with more of their own latents active: change in MSE (percent) at the mean L0 that this adds."""

    l0: Float[np.ndarray, " m"]
    change: Float[np.ndarray, "S m"]

    def at(self, base: int, l0: float) -> float:
        """Change in MSE, a share, of one base with ``l0`` more active latents."""
        return float(np.interp(l0, self.l0, self.change[base]) / 100)


@dataclass(frozen=True)
class BetweenSeeds:
    """Intervals over ordered pairs of seeds, and the curves of Figure B7."""

    intervals: Mapping[str, Interval]
    own: LargerK
    grid: Float[np.ndarray, " g"]  # added L0
    curves: Mapping[str, Float[np.ndarray, "S g"]]  # change in MSE, percent, per base


NOTHING = BetweenSeeds({}, LargerK(np.zeros(0), np.zeros((0, 0))), np.zeros(0), {})  # where there is no such stack


def between_seeds(stack: SAE, batches: Batches, spread: Float[Tensor, "d_in d_in"]) -> BetweenSeeds:
    """A TopK stack on raw activations; ``batches`` gives the same again, ``spread`` is the activations' covariance.

    Raises InputError for other architectures.
    """
    own = larger_k(stack, lambda: islice(batches(), 1, None, 2))
    alive = evaluate(stack, batches()).alive.cpu()
    both = overlaps(stack, alive, spread)
    replaced = {RANDOM: random_rows(stack, spread)}
    halves = [insert(stack, stack, islice(batches(), h, None, 2), replaced, sets=True) for h in range(2)]
    grid, groups = np.linspace(0, stack.config.k, 41), {"orphans": orphans(both), "shared": shared(both)}
    curves = {name: greedy_curves(*halves, chosen, grid, stack.n_dictionaries) for name, chosen in groups.items()}
    values = pair_values(both, *halves, groups, own)
    intervals = {name: over_ordered_pairs(by_pair) for name, by_pair in values.items()}
    return BetweenSeeds(intervals, own, grid, curves)


def overlaps(stack: SAE, alive: Bool[Tensor, "S n"], spread: Float[Tensor, "d_in d_in"]) -> Pairs:
    """Each pair from both sides; encoders are matched in the metric of ``spread``, the activations' covariance."""
    return from_both_sides(in_metric(stack.encoder, spread), stack.W_dec.detach().cpu(), alive)


def orphans(both_sides: Pairs) -> Chosen:
    """For each (base, donor) the donor's alive latents that it does not share with the base, strictly."""
    return {(base, donor): o.counted & ~o.shared("strict") for (donor, base), o in both_sides.items()}


def shared(both_sides: Pairs) -> Chosen:
    """For each (base, donor) the donor's alive latents that it shares with the base, strictly."""
    return {(base, donor): o.counted & o.shared("strict") for (donor, base), o in both_sides.items()}


def larger_k(stack: SAE, batches: Batches) -> LargerK:
    """Each base with an eighth, a quarter, a half of its k more, and with twice its k.

    Raises InputError for architectures other than TopK.
    """
    if stack.config.architecture != "topk":
        raise InputError(f"architecture={stack.config.architecture!r} has no k that could be larger; allowed: topk")
    k = stack.config.k
    base = evaluate(stack, batches())
    l0, change = [0.0], [np.zeros(stack.n_dictionaries)]
    for more in sorted({max(1, k // 8), max(1, k // 4), max(1, k // 2), k}):
        larger = evaluate(stack.copy(replace(stack.config, k=k + more)), batches())
        l0.append((larger.l0 - base.l0).mean().item())
        change.append(100 * (larger.mse / base.mse - 1).cpu().numpy())
    return LargerK(np.array(l0), np.array(change).T)


def pair_values(
    both: Pairs, choosing: Insertion, judging: Insertion, groups: Mapping[str, Chosen], own: LargerK
) -> dict[str, Values]:
    """What inserting latents of the donor does, in words, for each (base, donor)."""
    seen = {m: both[m[::-1]] for m in both}  # from the donor's side
    best = together(choosing, judging, groups["orphans"])
    change, lowers_before = judging.change, choosing.change < 0
    by_insertion, by_cosine, same_sign = {}, {}, {}
    for m, overlap in seen.items():
        by_insertion[m] = (change[m] >= 0)[overlap.counted].mean()
        by_cosine[m] = overlap.fraction(overlap.shared("max_decoder"))
        same_sign[m] = (lowers_before[m] == (change[m] < 0))[overlap.counted].mean()
    return {
        "orphans among the latents": {m: g.sum() / seen[m].counted.sum() for m, g in groups["orphans"].items()},
        "reconstruction latents, by insertion": by_insertion,
        "reconstruction latents, by a cosine above 0.7": by_cosine,
        "same sign on both halves of the tokens": same_sign,
        "share that lowers MSE: orphans": lowering(change, groups["orphans"]),
        "share that lowers MSE: shared": lowering(change, groups["shared"]),
        "share that lowers MSE: random directions": lowering(judging.change_replaced(RANDOM), groups["orphans"]),
        "change in MSE: all orphans together": best["all"],
        "change in MSE: sum of each alone": best["sum"],
        "change in MSE: those that lower it alone, together": best["lowering"],
        "change in MSE: best greedy set of orphans": best["greedy"],
        "added L0 of that set": best["greedy_l0"],
        ABOVE_OWN_K: {m: best["greedy"][m] - own.at(m[0], best["greedy_l0"][m]) for m in both},
        "change in MSE: best greedy set of shared latents": together(choosing, judging, groups["shared"])["greedy"],
    }


def lowering(change: Float[np.ndarray, "S T n"], chosen: Chosen) -> Values:
    """Of the chosen latents of each pair, the share whose insertion alone lowers MSE; NaN where none is chosen."""
    return {m: float((change[m] < 0)[mask].mean()) if mask.any() else float("nan") for m, mask in chosen.items()}


def together(choosing: Insertion, judging: Insertion, chosen: Chosen) -> dict[str, Values]:
    """Relative change in MSE, on ``judging``'s tokens, of the chosen latents all at once and in better ways.

    ``all``: all together. ``sum``: the sum of what each does alone, as if they did not overlap. ``lowering``: together,
    those that lower MSE alone. ``greedy``: as many of the greedy order as look best; ``greedy_l0`` is their L0.
    """
    found: dict[str, Values] = {name: {} for name in ("all", "sum", "lowering", "greedy", "greedy_l0")}
    for (s, t), mask in chosen.items():
        mse = judging.mse[s]
        way = greedy(choosing, judging, s, t, mask)
        found["all"][s, t] = judging.change_of_set(s, t, mask) / mse
        found["sum"][s, t] = float(judging.change[s, t][mask].sum() / mse)
        found["lowering"][s, t] = judging.change_of_set(s, t, mask & (choosing.change[s, t] < 0)) / mse
        found["greedy"][s, t] = float(way.change[way.best])
        found["greedy_l0"][s, t] = float(way.l0[way.best])
    return found


@dataclass(frozen=True)
class Greedy:
    """Latents inserted one after the other, best first; entry 0 is the base, before the first."""

    change: Float[np.ndarray, " n"]  # in MSE, share of the base's
    l0: Float[np.ndarray, " n"]  # added
    best: int  # how many to insert, by the tokens that the order was chosen on


def greedy(choosing: Insertion, judging: Insertion, s: int, t: int, mask: Bool[np.ndarray, " n"]) -> Greedy:
    """The greedy order of ``choosing``'s tokens, judged on ``judging``'s."""
    order = choosing.greedy(s, t, mask)
    expected = np.append(0.0, choosing.along(s, t, order))
    change = np.append(0.0, judging.along(s, t, order) / judging.mse[s])
    return Greedy(change, np.append(0.0, judging.firing_frequency[t][order].cumsum()), int(expected.argmin()))


def greedy_curves(
    choosing: Insertion, judging: Insertion, chosen: Chosen, grid: Float[np.ndarray, " g"], n_bases: int
) -> Float[np.ndarray, "S g"]:
    """Change in MSE (percent) against added L0 as the latents go in, mean over donors; NaN once a pair has no more."""
    by_base: list[list[np.ndarray]] = [[] for _ in range(n_bases)]
    for (base, donor), mask in chosen.items():
        way = greedy(choosing, judging, base, donor, mask)
        by_base[base].append(np.interp(grid, way.l0, 100 * way.change, right=np.nan))
    return np.array([np.mean(curves, axis=0) for curves in by_base])


def novel_and_orphan(
    pairs: Sequence[WidthPair], wide: Sequence[Pairs], without: int | None = None
) -> dict[tuple[int, int], tuple[Association, ...]]:
    """Is a latent novel to a narrow dictionary where it is an orphan to another wide one? By pairs of seeds.

    ``wide`` has, for each pair of widths, the overlap of the wide dictionaries seen from both sides. Entry (u, t) is of
    the alive latents of wide dictionary t: novel with respect to the narrow dictionary u, orphan with respect to the
    wide dictionary of a third seed, since narrow u and wide u begin alike; a table for each pair of widths. One
    dictionary may be left ``without``, in every part. Raises InputError for fewer than three seeds.
    """
    found: dict[tuple[int, int], tuple[Association, ...]] = {}
    for pair, overlaps in zip(pairs, wide, strict=True):
        found_orphans = orphans(overlaps)
        dictionaries = {base for base, _ in found_orphans} - {without}
        if len(dictionaries) < 3:
            raise InputError(f"novel latents and orphans are compared between 3 or more seeds, not {len(dictionaries)}")
        for u, t in permutations(sorted(dictionaries), 2):
            v = min(dictionaries - {u, t})
            alive = pair.insertion.alive[t] & overlaps[t, v].counted
            table = associate(pair.insertion.novel[u, t][alive], found_orphans[v, t][alive])
            found[u, t] = (*found.get((u, t), ()), table)
    return found
