"""Stitching between seeds: is what one dictionary alone has found news to another, or only another basis?

No paper shows it. Latents of a donor are inserted into a base of the same width and architecture that differs from it
in its seed. Orphans of the donor are latents that it does not share with the base (strict definition of paper A). All
of them at once overshoot whatever they are; a few of the best may lower the base's error.

Which latents go in, and in which order, is chosen on some tokens and judged on others: the best of many would look
good on the tokens that it was chosen on. Inserted latents raise L0, so the fair rival is the base itself with more
active latents (``with_k``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from sae_utils.analysis.matching.overlap import Pairs
from sae_utils.analysis.stitching.insertion import Insertion
from sae_utils.analysis.stitching.novelty import Association, associate
from sae_utils.analysis.stitching.width_pairs import RANDOM, WidthPair
from sae_utils.errors import InputError
from sae_utils.saes.sae import SAE

Values = dict[tuple[int, int], float]  # by (base, donor)


@dataclass(frozen=True)
class Greedy:
    """Latents inserted one after the other, best first: gain in MSE (share of the base's) and L0 that comes with it."""

    change: Float[np.ndarray, " n"]
    l0: Float[np.ndarray, " n"]
    best: int  # how many to insert, by the tokens that the order was chosen on; 0 is none


def with_k(sae: SAE, k: int) -> SAE:
    """The same TopK dictionaries with another number of active latents. Raises InputError for other architectures."""
    if sae.config.architecture != "topk":
        raise InputError(f"k of architecture={sae.config.architecture!r} cannot be set; allowed: topk")
    out = SAE(replace(sae.config, k=k), sae.seeds, sae.hook_point, sae.normalisation).to(sae.W_dec)
    out.load_state_dict(sae.state_dict())
    return out


def orphans(both_sides: Pairs) -> dict[tuple[int, int], Bool[np.ndarray, " n"]]:
    """For each (base, donor) the donor's alive latents that it does not share with the base, strictly."""
    return {(base, donor): o.counted & ~o.shared("strict") for (donor, base), o in both_sides.items()}


def shared(both_sides: Pairs) -> dict[tuple[int, int], Bool[np.ndarray, " n"]]:
    """For each (base, donor) the donor's alive latents that it shares with the base, strictly."""
    return {(base, donor): o.counted & o.shared("strict") for (donor, base), o in both_sides.items()}


def one_at_a_time(found: Insertion, chosen: Mapping[tuple[int, int], Bool[np.ndarray, " n"]]) -> dict[str, Values]:
    """Of the chosen latents of each pair, the share whose insertion lowers MSE, with their own rows and random ones."""
    change, null = found.change, found.change_replaced(RANDOM)
    return {
        "lowering": {p: _share(change[p] < 0, mask) for p, mask in chosen.items()},
        "lowering_random": {p: _share(null[p] < 0, mask) for p, mask in chosen.items()},
    }


def together(
    choosing: Insertion, judging: Insertion, chosen: Mapping[tuple[int, int], Bool[np.ndarray, " n"]]
) -> dict[str, Values]:
    """Relative change in MSE, on ``judging``'s tokens, of the chosen latents all at once and in better ways.

    ``all``: all together. ``sum``: the sum of what each does alone, as if they did not overlap. ``lowering``: together,
    those that lower MSE alone. ``greedy``: as many of the greedy order as look best; ``greedy_l0`` is their L0.
    """
    found: dict[str, Values] = {name: {} for name in ("all", "sum", "lowering", "greedy", "greedy_l0", "greedy_n")}
    for (s, t), mask in chosen.items():
        mse = judging.mse[s]
        picked = mask & (choosing.change[s, t] < 0)
        way = greedy(choosing, judging, s, t, mask)
        found["all"][s, t] = judging.change_of_set(s, t, mask) / mse
        found["sum"][s, t] = float(judging.change[s, t][mask].sum() / mse)
        found["lowering"][s, t] = judging.change_of_set(s, t, picked) / mse
        found["greedy"][s, t] = float(np.append(0.0, way.change)[way.best])
        found["greedy_l0"][s, t] = float(np.append(0.0, way.l0)[way.best])
        found["greedy_n"][s, t] = float(way.best)
    return found


def greedy(choosing: Insertion, judging: Insertion, s: int, t: int, mask: Bool[np.ndarray, " n"]) -> Greedy:
    """The greedy order of ``choosing``'s tokens, judged on ``judging``'s."""
    order = choosing.greedy(s, t, mask)
    expected = np.append(0.0, choosing.along(s, t, order))
    change = judging.along(s, t, order) / judging.mse[s]
    return Greedy(change, judging.firing_frequency[t][order].cumsum(), int(expected.argmin()))


def novel_and_orphan(
    pairs: Sequence[WidthPair], wide: Sequence[Pairs]
) -> dict[tuple[int, int], tuple[Association, ...]]:
    """Is a latent novel to a narrow dictionary where it is an orphan to another wide one? By pairs of seeds.

    ``wide`` has, for each pair of widths, the overlap of the wide dictionaries seen from both sides. Entry (u, t) is of
    the alive latents of wide dictionary t: novel with respect to the narrow dictionary u, orphan with respect to the
    wide dictionary of a third seed, since narrow u and wide u begin alike; a table for each pair of widths. Raises
    InputError for fewer than three seeds.
    """
    found: dict[tuple[int, int], tuple[Association, ...]] = {}
    for pair, overlaps in zip(pairs, wide, strict=True):
        found_orphans = orphans(overlaps)
        members = {base for base, _ in found_orphans}
        if len(members) < 3:
            raise InputError(f"novel latents and orphans are compared between 3 or more seeds, not {len(members)}")
        for u, t in found_orphans:
            v = min(members - {u, t})
            alive = pair.insertion.alive[t] & overlaps[t, v].counted
            table = associate(pair.insertion.novel[u, t][alive], found_orphans[v, t][alive])
            found[u, t] = (*found.get((u, t), ()), table)
    return found


def _share(values: Bool[np.ndarray, " n"], mask: Bool[np.ndarray, " n"]) -> float:
    return float(values[mask].mean()) if mask.any() else float("nan")
