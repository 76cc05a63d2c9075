"""Published answers to "how much do these dictionaries share?", and cycles, which are ours, on the same stack.

Paper A counts latents whose matched partners are close, paper B those with any close decoder row, Song et al. and
paper C average cosines. Two more need no threshold and no cosine: whether the encoder and the decoder matching agree,
and whether matchings along three dictionaries lead back to where they began. Each is a mean over latents, then over
pairs, triples or single dictionaries; dead latents are left out by the comparison of the pairs. Which latents count
as shared, by which definition, is said in ``matching``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations, permutations

import numpy as np
from jaxtyping import Bool, Float

from sae_utils.analysis.matching.matching import Matching, SeedOverlap
from sae_utils.analysis.matching.overlap import Pairs, latent_values
from sae_utils.analysis.statistics import BOOTSTRAP, TAILS, Interval, jackknife, mean_defined
from sae_utils.errors import InputError

N_RESAMPLES = 500  # of the latents, where there are two dictionaries

Values = Mapping[tuple[int, ...], float]  # a criterion's value by the dictionaries that it was computed from


@dataclass(frozen=True)
class Criterion:
    """One criterion: its value for each pair, triple or single dictionary among some of a stack."""

    values: Callable[[Pairs, Sequence[int]], Values]
    bounds: tuple[float, float] = (0.0, 1.0)
    together: int = 2  # dictionaries that one value takes


def of_pairs(name: str, pairs: Pairs, seeds: Sequence[int]) -> Values:
    """One of ``overlap.STATISTICS``: the mean over latents, for each ordered pair."""
    return {(i, j): float(latent_values(pairs[i, j], name).mean()) for i, j in permutations(seeds, 2)}


def excess(one: str, other: str, pairs: Pairs, seeds: Sequence[int]) -> Values:
    """The first statistic less the second, for each ordered pair."""
    subtrahend = of_pairs(other, pairs, seeds)
    return {pair: value - subtrahend[pair] for pair, value in of_pairs(one, pairs, seeds).items()}


def relaxed_stability(pairs: Pairs, seeds: Sequence[int]) -> Values:
    """Paper C: the largest decoder cosine to any latent of any other run, mean over latents, for each run.

    As in the authors' code (PAPERS.md C.3), it grows with the number of runs and of latents by itself.
    """
    values = {}
    for run in seeds:
        others = [pairs[run, j] for j in seeds if j != run]
        cosines = np.stack([overlap.decoder_nearest.cosine for overlap in others])
        values[(run,)] = float(cosines[:, others[0].counted].max(axis=0).mean())
    return values


def returning(overlaps: Sequence[SeedOverlap], side: str) -> Bool[np.ndarray, " n"]:
    """Latents of i whose partner's partner's partner is themselves, along overlaps i to j, j to k, k to i.

    ``side``: the matching that is followed, ``decoder`` or ``encoder``.
    """
    start = np.arange(len(overlaps[0].counted))
    return _follow(overlaps, side, start)[-1] == start


def agreeing(overlaps: Sequence[SeedOverlap]) -> Bool[np.ndarray, " n"]:
    """Latents of i whose decoder and encoder matchings agree on every step of the way."""
    agree = np.ones(len(overlaps[0].counted), dtype=bool)
    for overlap, at in zip(overlaps, _follow(overlaps, "decoder", np.arange(len(agree))), strict=False):
        agree &= (at >= 0) & overlap.agree[at]
    return agree


def unshared_cosine(pairs: Pairs, seeds: Sequence[int]) -> Values:
    """Mean matched decoder cosine of what is not strictly shared, for each ordered pair; NaN where all is shared."""
    values = {}
    for i, j in permutations(seeds, 2):
        overlap = pairs[i, j]
        values[i, j] = mean_defined(overlap.decoder.cosine[overlap.counted & ~overlap.shared("strict")])
    return values


def cycles(side: str, pairs: Pairs, seeds: Sequence[int]) -> Values:
    """Share of the counted latents that return, for each triple."""
    return {
        triple: overlaps[0].fraction(returning(overlaps, side)) for triple, overlaps in _triples(pairs, seeds).items()
    }


def cycles_where_agreeing(pairs: Pairs, seeds: Sequence[int]) -> Values:
    """Share that return of the latents whose two matchings agree all the way; NaN where there are none."""
    values = {}
    for triple, overlaps in _triples(pairs, seeds).items():
        agree = agreeing(overlaps)
        values[triple] = float(returning(overlaps, "decoder")[agree].mean()) if agree.any() else float("nan")
    return values


COSINE = (-1.0, 1.0)
CRITERIA: dict[str, Criterion] = {
    # paper A: its text, the authors' notebook, the row maxima there, their bar charts
    "shared_strict": Criterion(partial(of_pairs, "shared_strict")),
    "shared_notebook": Criterion(partial(of_pairs, "shared_notebook")),
    "shared_max_cosine": Criterion(partial(of_pairs, "shared_max_cosine")),
    "shared_decoder_only": Criterion(partial(of_pairs, "shared_decoder_only")),
    # paper B, section on dictionaries of one size
    "shared_max_decoder": Criterion(partial(of_pairs, "shared_max_decoder")),
    # PW-MCC of Song et al. (arXiv 2505.20254): one mean, of signed cosines, no threshold
    "decoder_cosine": Criterion(partial(of_pairs, "decoder_cosine"), COSINE),
    "stability": Criterion(relaxed_stability, COSINE),
    "agree": Criterion(partial(of_pairs, "agree")),
    "cycle_decoder": Criterion(partial(cycles, "decoder"), together=3),
    "cycle_encoder": Criterion(partial(cycles, "encoder"), together=3),
    "cycle_agreeing": Criterion(cycles_where_agreeing, together=3),
}
# What the claims ask for beside the criteria.
CONTRASTS: dict[str, Criterion] = {
    "max_cosine_gain": Criterion(partial(of_pairs, "max_cosine_gain"), (0.0, np.inf)),
    "mean_cosine_above_strict": Criterion(partial(excess, "decoder_cosine", "shared_strict"), COSINE),
    "max_decoder_above_strict": Criterion(partial(excess, "shared_max_decoder", "shared_strict"), COSINE),
}
# What a claim compares with the same of dictionaries that learned nothing.
AGAINST_NULL: dict[str, Criterion] = {
    "shared_notebook": CRITERIA["shared_notebook"],
    "unshared_cosine": Criterion(unshared_cosine, COSINE),
}


def measure(
    pairs: Pairs, criteria: Mapping[str, Criterion] = CRITERIA, null: Pairs | None = None
) -> dict[str, Interval]:
    """Each criterion on a whole stack, with the interval that its number of seeds allows; ``pairs`` from both sides.

    With a ``null``, the pairs of as many random dictionaries, each value is less that of its null. Intervals are the
    jackknife's over seeds, for the criteria that have a value with one seed left out; two seeds tell nothing about
    others, and latents are resampled. Raises InputError for one seed, or where a pair is missing.
    """
    seeds = sorted({seed for pair in pairs for seed in pair})
    if len(seeds) < 2 or len(pairs) != len(seeds) * (len(seeds) - 1):
        raise InputError(f"the criteria need every ordered pair of at least 2 seeds, not {len(pairs)} of {len(seeds)}")
    if len(seeds) == 2:
        return _over_latents(pairs, {name: c for name, c in criteria.items() if c.together == 2}, null)

    def estimate(criterion: Criterion, some: Sequence[int]) -> float:
        by_chance = mean_defined(criterion.values(null, some).values()) if null else 0.0
        return mean_defined(criterion.values(pairs, some).values()) - by_chance

    found = {}
    for name, criterion in criteria.items():
        if criterion.together < len(seeds):
            without = [estimate(criterion, [other for other in seeds if other != seed]) for seed in seeds]
            found[name] = jackknife(estimate(criterion, seeds), without, COSINE if null else criterion.bounds)
    return found


def _over_latents(pairs: Pairs, criteria: Mapping[str, Criterion], null: Pairs | None) -> dict[str, Interval]:
    """Criteria of one pair of dictionaries, percentile bootstrap over latents of each side.

    Both sides show one matching: taken as wholly dependent, the ends of the interval are the means of theirs.
    """
    rng = np.random.default_rng(0)
    seeds = sorted(next(iter(pairs)))
    draws: dict[str, list] = {name: [] for name in criteria}
    for _ in range(N_RESAMPLES):
        drawn = {pair: _resampled(overlap, rng) for pair, overlap in pairs.items()}
        for name, criterion in criteria.items():
            draws[name].append(list(criterion.values(drawn, seeds).values()))
    found, by_chance = {}, means(null, criteria) if null else dict.fromkeys(criteria, 0.0)
    for name, criterion in criteria.items():
        middle = mean_defined(criterion.values(pairs, seeds).values()) - by_chance[name]
        low, high = np.nanquantile(draws[name], TAILS, axis=0).mean(-1) - by_chance[name]
        found[name] = Interval(middle, min(float(low), middle), max(float(high), middle), BOOTSTRAP)
    return found


def _resampled(overlap: SeedOverlap, rng: np.random.Generator) -> SeedOverlap:
    """As many of the counted latents, drawn with replacement; partners keep their numbers."""
    chosen = rng.choice(np.flatnonzero(overlap.counted), int(overlap.counted.sum()))

    def of(m: Matching) -> Matching:
        return Matching(m.partner[chosen], m.cosine[chosen], m.gap)

    matchings = {
        name: of(getattr(overlap, name)) for name in ("decoder", "encoder", "decoder_nearest", "encoder_nearest")
    }
    return replace(overlap, **matchings, counted=np.ones(len(chosen), dtype=bool))


def means(pairs: Pairs, criteria: Mapping[str, Criterion] = CRITERIA) -> dict[str, float]:
    """Each criterion on a whole stack, without an interval; NaN where it has no value."""
    seeds = sorted({seed for pair in pairs for seed in pair})
    return {name: mean_defined(criterion.values(pairs, seeds).values()) for name, criterion in criteria.items()}


def _triples(pairs: Pairs, seeds: Sequence[int]) -> dict[tuple[int, int, int], tuple[SeedOverlap, ...]]:
    return {(i, j, k): (pairs[i, j], pairs[j, k], pairs[k, i]) for i, j, k in combinations(seeds, 3)}


def _follow(overlaps: Sequence[SeedOverlap], side: str, start) -> list[Float[np.ndarray, " n"]]:
    """Where each latent is before each step and after the last one; -1 once it has no partner."""
    at = [start]
    for overlap in overlaps:
        partner = getattr(overlap, side).partner
        at.append(np.where(at[-1] >= 0, partner[at[-1]], -1))
    return at
