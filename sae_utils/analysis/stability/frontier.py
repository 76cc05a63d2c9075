"""Ways of training compared at equal sparsity and at equal explained variance, between the points of a grid.

Each way is measured at a few sparsities. What it has at a given L0, or where it explains a given share of the variance,
lies on straight lines between its points (over log L0); beyond the outermost nothing is known. All ways have the same
seeds, so a difference is computed for all seeds and again without each of them: its interval is the jackknife's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import spearmanr
from torch import Tensor

from sae_utils.analysis import directions
from sae_utils.analysis.matching.criteria import cycles, of_pairs
from sae_utils.analysis.matching.metric import in_metric
from sae_utils.analysis.matching.overlap import Pairs, from_both_sides, latent_values, overlap_of_pairs
from sae_utils.analysis.stability.subspaces import leading_subspace, subspace_overlap
from sae_utils.analysis.stability.substitution import kept_work
from sae_utils.analysis.statistics import (
    JACKKNIFE,
    RESAMPLES,
    UNBOUNDED,
    Bounds,
    Interval,
    jackknife,
    mean_defined,
    percentiles,
)
from sae_utils.saes import SAE, evaluate

EQUAL_L0, EQUAL_EV = "at equal L0", "at equal explained variance"
WORK_TOKENS = 2048  # that substitution is measured on
DRAWS = 4  # of random latents, for each pair
BATCH = 1024  # activations that are encoded at once
WIDER = "the wider of the jackknife over seeds and a bootstrap over methods"

Values = Mapping[tuple[int, ...], float]  # by the seeds that a value is of


@dataclass(frozen=True)
class Point:
    """What dictionaries of one way of training, that differ in their seed, are and share, by name; and what chance has.

    ``l0``, ``explained_variance`` and ``dead`` are of each; shares are of the latents that fire on what is measured.
    ``strict`` and ``cosine`` (PW-MCC less its null) are of pairs, ``cycle`` of triples. Of pairs are ``subspace``, too,
    the overlap of what they do not share less that of as many random latents of the same two, ``rank``, how many
    dimensions that has, and ``work``, what partners keep less what partners dealt out anew do.
    """

    values: Mapping[str, Values]
    nulls: Mapping[str, float]

    def mean(self, name: str, without: int | None = None) -> float:
        """The mean over all that no seed ``without`` takes part in; NaN where nothing is left."""
        return mean_defined(value for seeds, value in self.values[name].items() if without not in seeds)

    @property
    def n_seeds(self) -> int:
        """How many dictionaries there are."""
        return len(self.values["l0"])


@torch.no_grad()
def measure(stack: SAE, x: Float[Tensor, "tokens d_in"]) -> Point:
    """Everything about a stack on raw activations. Raises InputError where a dictionary has no latent that fires."""
    quality, spread = evaluate(stack, x.split(BATCH)), directions.covariance(x.split(BATCH))
    alive, rows = quality.alive.cpu(), stack.W_dec.detach().cpu()
    pairs = from_both_sides(in_metric(stack.encoder, spread), rows, alive)
    seeds = range(len(rows))
    random = _random_rows(int(alive.sum(1).max()), rows[alive])
    chance = float(latent_values(overlap_of_pairs(random, random)[0, 1], "decoder_cosine").mean())
    subspaces, ranks, by_chance = _subspaces(pairs, rows)
    work, dealt_anew = _work(stack, pairs, x[:WORK_TOKENS])
    values = {
        **{name: {(s,): float(one) for s, one in enumerate(of_each)} for name, of_each in (
            ("l0", quality.l0), ("explained_variance", quality.explained_variance), ("dead", quality.dead_fraction)
        )},
        "strict": of_pairs("shared_strict", pairs, seeds),
        "cosine": {pair: value - chance for pair, value in of_pairs("decoder_cosine", pairs, seeds).items()},
        "cycle": cycles("decoder", pairs, seeds),
        "subspace": {pair: value - by_chance[pair] for pair, value in subspaces.items()},
        "rank": ranks,
        "work": {pair: value - dealt_anew[pair] for pair, value in work.items()},
    }  # fmt: skip
    nulls = {"subspace": mean_defined(by_chance.values()), "work": mean_defined(dealt_anew.values())}
    return Point(values, {"cosine": chance} | nulls)


def _random_rows(n: int, rows: Float[Tensor, "m d"]) -> Float[Tensor, "2 n d"]:
    """Two dictionaries of random directions that are spread as the rows are."""
    generator = torch.Generator().manual_seed(0)
    return directions.directions(2 * n, directions.second_moment(rows), generator).view(2, n, -1)


def _subspaces(pairs: Pairs, rows: Float[Tensor, "S n d"]) -> tuple[Values, Values, Values]:
    """For each pair the overlap of the subspaces of what it does not share, their mean rank, and the null's overlap.

    The null is of as many latents of either, shared or not, drawn DRAWS times.
    """
    found, ranks, null, rng = {}, {}, {}, np.random.default_rng(0)
    for i, j in combinations(range(len(rows)), 2):
        both = [(rows[i], pairs[i, j]), (rows[j], pairs[j, i])]
        unshared = [of[o.counted & ~o.shared("strict")] for of, o in both]
        found[i, j] = subspace_overlap(*unshared)
        ranks[i, j] = mean_defined(leading_subspace(some).shape[1] for some in unshared if len(some))
        null[i, j] = mean_defined(
            subspace_overlap(*(
                of[rng.choice(o.counted.nonzero()[0], len(some), replace=False)]
                for (of, o), some in zip(both, unshared, strict=True)
            ))
            for _ in range(DRAWS)
        )  # fmt: skip
    return found, ranks, null


def _work(stack: SAE, pairs: Pairs, x) -> tuple[Values, Values]:
    """What partners keep for each pair, seen from the first; and what they do dealt out anew, none to whose it was."""
    rng = np.random.default_rng(0)
    partners = {pair: torch.from_numpy(o.decoder.partner) for pair, o in pairs.items() if pair[0] < pair[1]}
    dealt = {pair: partner.clone() for pair, partner in partners.items()}
    for pair, partner in partners.items():
        circle = torch.from_numpy(rng.permutation((partner >= 0).numpy().nonzero()[0]))
        dealt[pair][circle] = partner[circle.roll(1)]
    return kept_work(stack, partners, x), kept_work(stack, dealt, x)


def between(points: Sequence[Point], name: str, axis: str, where: float, without: int | None = None) -> float:
    """A measure where the ``axis`` (``l0`` or ``explained_variance``) has a value; NaN beyond the outermost points."""
    scale = np.log if axis == "l0" else np.asarray
    at = np.array([scale(point.mean(axis, without)) for point in points])
    values = np.array([point.mean(name, without) for point in points])
    order = at.argsort()
    return float(np.interp(scale(where), at[order], values[order], left=np.nan, right=np.nan))


def matched(
    points: Sequence[Point], baseline: Sequence[Point], name: str, l0: float, without: int | None = None
) -> dict[str, float]:
    """By how much a measure exceeds the baseline's at ``l0``: at that L0, and where as much variance is explained."""
    level = between(baseline, name, "l0", l0, without)
    explained = between(baseline, "explained_variance", "l0", l0, without)
    return {
        EQUAL_L0: between(points, name, "l0", l0, without) - level,
        EQUAL_EV: between(points, name, "explained_variance", explained, without) - level,
    }


def less_of_both(points: Sequence[Point], baseline: Sequence[Point], name: str, l0: float, without=None) -> float:
    """The smaller of ``matched``: above 0 where a way is ahead however the two are matched; NaN where one is."""
    return float(np.min(list(matched(points, baseline, name, l0, without).values())))


def interval(statistic: Callable[[int | None], float], n_seeds: int, bounds: Bounds = UNBOUNDED) -> Interval:
    """``statistic(None)`` with the jackknife over seeds; NaN where it has no value, of all seeds or without one."""
    values = [statistic(None), *(statistic(seed) for seed in range(n_seeds))]
    if np.isnan(values).any() or n_seeds < 3:
        return Interval(*3 * (float("nan"),), JACKKNIFE)
    return jackknife(values[0], values[1:], bounds)


def across_methods(
    one: Mapping[str, Callable[[int | None], float]], other: Mapping[str, Callable[[int | None], float]], n_seeds: int
) -> Interval:
    """Spearman's correlation of two numbers over methods, by name; NaN where either is the same for all.

    Its ends are the outer ones of two intervals: the jackknife's over seeds, and the percentile bootstrap's over
    methods, since other methods of training would give another correlation.
    """

    def both(without: int | None) -> Float[np.ndarray, "2 methods"]:
        return np.array([[of[name](without) for name in one] for of in (one, other)])

    of_seeds = interval(lambda without: _spearman(*both(without)), n_seeds, (-1.0, 1.0))
    if np.isnan(of_seeds.estimate):
        return of_seeds
    rng, values = np.random.default_rng(0), both(None)
    draws = [_spearman(*values[:, rng.integers(len(one), size=len(one))]) for _ in range(RESAMPLES)]
    of_methods = percentiles(of_seeds.estimate, draws)
    ends = min(of_seeds.low, of_methods.low), max(of_seeds.high, of_methods.high)
    return Interval(of_seeds.estimate, *ends, WIDER)


def _spearman(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> float:
    return float(spearmanr(x, y).statistic) if np.ptp(x) and np.ptp(y) else float("nan")
