"""Consensus dictionaries, of the latents that several seeds share: their making, and whether two of them agree."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sae_utils.analysis.ensembles.diversity import stability_of_pairs
from sae_utils.analysis.matching.groups import Group, disjoint_sets, groups, random_groups
from sae_utils.analysis.matching.overlap import Pairs, overlap_of_pairs
from sae_utils.analysis.statistics import Interval, jackknife
from sae_utils.errors import InputError
from sae_utils.saes import SAE
from sae_utils.saes.ensembles import merge

OVER_SETS = "jackknife over seeds, of pairs of disjoint sets"

Sets = tuple[tuple[int, ...], tuple[int, ...]]


def halves(n_seeds: int) -> list[range]:
    """Positions of the first and of the second half of the seeds; the last one is left out if their number is odd."""
    half = n_seeds // 2
    return [range(half), range(half, 2 * half)]


def consensus_of(stack: SAE, alive: Bool[Tensor, "S n_latents"], positions: Sequence[int], at_least: int) -> SAE:
    """The latents that ``at_least`` of the dictionaries at ``positions`` share (strict, paper A), merged; not refitted.

    Raises InputError where fewer latents are shared than are active on a token.
    """
    pairs = overlap_of_pairs(stack.encoder, stack.W_dec, alive, among=positions)
    return merge(stack, groups(pairs, alive.cpu().numpy(), positions, at_least), seed=min(positions))


def agreement(
    pairs: Pairs, alive: Bool[np.ndarray, "S n"], decoders: Float[Tensor, "S n d"], at_least: int
) -> dict[str, dict[Sets, float]]:
    """For each pair of disjoint sets of seeds: how alike two consensus dictionaries, or random choices, are.

    ``consensus``: the mean, over the latents of both, of the largest cosine to the other's (paper C's stability);
    ``random``: the same for as many alive latents chosen at random from the same seeds; ``size``: latents of a
    consensus, the mean of both, as a share of a dictionary's. Raises InputError where no latent is shared by enough.
    """
    rng = np.random.default_rng(0)
    out: dict[str, dict[Sets, float]] = {"consensus": {}, "random": {}, "size": {}}
    for sets in disjoint_sets(len(alive)):
        found = [groups(pairs, alive, seeds, at_least) for seeds in sets]
        if not all(found):
            raise InputError(f"no latent is shared by at_least={at_least} of the seeds {sets[0]} or {sets[1]}")
        chance = [random_groups(alive, seeds, len(g), rng) for seeds, g in zip(sets, found, strict=True)]
        for name, both in (("consensus", found), ("random", chance)):
            rows = [_mean_rows(decoders, g) for g in both]
            out[name][sets] = float(stability_of_pairs(rows, [np.zeros(len(r), dtype=int) for r in rows])[0, 1][0])
        out["size"][sets] = float(np.mean([len(g) for g in found])) / alive.shape[1]
    return out


def _mean_rows(decoders: Float[Tensor, "S n d"], found: list[Group]) -> Float[Tensor, "groups d"]:
    """The mean of each group's decoder rows, all taken at length one."""
    unit = torch.nn.functional.normalize(decoders.detach().cpu().double(), dim=-1)
    return torch.stack([torch.stack([unit[s, i] for s, i in group]).mean(0) for group in found])


def over_disjoint_sets(values: Mapping[Sets, float]) -> Interval:
    """Mean over pairs of sets, with the jackknife that leaves out a seed with all pairs that it is in."""
    seeds = sorted({seed for a, b in values for seed in a + b})
    without = [np.mean([v for (a, b), v in values.items() if seed not in a + b]) for seed in seeds]
    return jackknife(float(np.mean(list(values.values()))), without, method=OVER_SETS)
