"""How the overlap of dictionaries that differ only in their seed moves with one property of theirs.

The same seeds are at every point of a sweep, so a trend or a difference is computed once for all seeds and once more
without each of them, at all points at once: its interval is the jackknife's over seeds.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from sae_utils.analysis import directions as nulls
from sae_utils.analysis.matching.metric import empty_share, in_metric
from sae_utils.analysis.matching.overlap import Pairs, from_both_sides, latent_values, overlap_of_pairs
from sae_utils.analysis.statistics import Interval, leave_one_out
from sae_utils.errors import InputError
from sae_utils.saes import SAE, Evaluation

MEASURES = ("shared_strict", "shared_decoder_only", "decoder_cosine", "agree")  # of overlap.STATISTICS
# What encoders are compared for in the metric of the data and, as ``raw_...``, as they are: published numbers are raw.
BOTH_WAYS = ("shared_strict", "encoder_close")
QUALITY = ("explained_variance", "l0", "dead")  # of each dictionary of a point
TOPK, RELU, GATED, MLP, RESIDUAL = "topk", "relu", "gated", "mlp_out", "resid_post"


@dataclass(frozen=True)
class Shared:
    """What the dictionaries of each pair share: by measure, for each ordered pair of seeds, the mean over latents."""

    pairs: Mapping[str, Mapping[tuple[int, int], float]]

    def mean(self, measure: str, without: int | None = None) -> float:
        """Over the pairs of all seeds, or of all but one."""
        return float(np.mean([value for pair, value in self.pairs[measure].items() if without not in pair]))

    @property
    def n_seeds(self) -> int:
        """How many there are."""
        return 1 + max(max(pair) for pair in self.pairs[MEASURES[0]])

    def interval(self, measure: str) -> Interval:
        """The mean over pairs with its interval over seeds."""
        bounds = (-1.0, 1.0) if measure == "decoder_cosine" else (0.0, 1.0)
        return leave_one_out(lambda without: self.mean(measure, without), self.n_seeds, bounds)


@dataclass(frozen=True)
class SweepPoint(Shared):
    """What the dictionaries of one point share, what chance would give, and how good they are."""

    null: Mapping[str, float]  # the largest of each in dictionaries that learned nothing
    explained_variance: tuple[float, ...]  # by seed, held-out
    l0: tuple[float, ...]
    dead: tuple[float, ...]  # share of the latents that never fired
    explained_variance_trimmed: tuple[float, ...]  # without the tokens farthest from the mean
    tokens_of_half_the_variance: int
    empty_share: tuple[float, ...]  # of the encoder rows' squared length, along nearly empty directions; by seed

    def summary(self) -> dict[str, object]:
        """All that a results file keeps of the point."""
        intervals = {name: self.interval(name) for name in self.pairs}
        names = (*QUALITY, "explained_variance_trimmed", "tokens_of_half_the_variance", "empty_share")
        quality = {name: getattr(self, name) for name in names}
        return {**intervals, "null": dict(self.null), **quality}


def sweep_point(sae: SAE, evaluation: Evaluation, covariance: Float[Tensor, "d d"]) -> SweepPoint:
    """Compare every pair of a stack, dead latents left out; ``covariance`` is that of the activations."""
    alive = evaluation.alive.cpu()
    spreads = {nulls.ACTIVATIONS: covariance, nulls.DECODERS: nulls.second_moment(sae.W_dec.detach().cpu()[alive])}
    empty = empty_share(sae.encoder, covariance)
    return SweepPoint(
        compare_all(sae.encoder, sae.W_dec, alive, covariance),
        _null(int(alive.sum(1).max()), spreads),
        *(tuple(x.tolist()) for x in (evaluation.explained_variance, evaluation.l0, evaluation.dead_fraction)),
        tuple(evaluation.explained_variance_trimmed.tolist()),
        evaluation.tokens_of_half_the_variance,
        tuple(float(share[counted].mean()) for share, counted in zip(empty, alive, strict=True)),
    )


def compare_all(
    encoders: Float[Tensor, "S n d"],
    decoders: Float[Tensor, "S n d"],
    alive: Bool[Tensor, "S n"],
    covariance: Float[Tensor, "d d"],
) -> dict[str, dict[tuple[int, int], float]]:
    """By measure, for each ordered pair of a stack, the mean over alive latents: MEASURES, and BOTH_WAYS also raw."""
    here, raw = (from_both_sides(rows, decoders, alive) for rows in (in_metric(encoders, covariance), encoders))
    found = {name: _means(here, name) for name in dict.fromkeys([*MEASURES, *BOTH_WAYS])}
    return found | {f"raw_{name}": _means(raw, name) for name in BOTH_WAYS}


def _means(pairs: Pairs, name: str) -> dict[tuple[int, int], float]:
    """Of a statistic of ``overlap``, or of whether the matched encoder rows are close."""
    if name == "encoder_close":
        return {pair: o.fraction(o.encoder.cosine > o.threshold) for pair, o in pairs.items()}
    return {pair: float(latent_values(o, name).mean()) for pair, o in pairs.items()}


def _null(n: int, spreads: Mapping[str, Tensor]) -> dict[str, float]:
    """The largest of each measure between two dictionaries of ``n`` random directions, over all kinds of these.

    Where encoders equal decoders both matchings agree on many latents for that alone: for the agreement of the two,
    only independent encoders count.
    """
    found: dict[str, list[float]] = {name: [] for name in MEASURES}
    for kind, (encoders, decoders) in nulls.null_stacks((2, n), spreads, seed=0).items():
        (pair,) = overlap_of_pairs(in_metric(encoders, spreads[nulls.ACTIVATIONS]), decoders).values()
        for name in MEASURES:
            if name != "agree" or kind.endswith(nulls.INDEPENDENT):
                found[name].append(float(latent_values(pair, name).mean()))
    return {name: max(values) for name, values in found.items()}


def trend(points: Mapping[float, SweepPoint], measure: str) -> Interval:
    """Least-squares slope of a measure over log2 of the points' values: its change at each doubling.

    Raises InputError with fewer than two points.
    """
    if len(points) < 2:
        raise InputError(f"a trend needs at least two points, not {len(points)}")
    x = np.log2(list(points))

    def slope(without: int | None) -> float:
        return float(np.polyfit(x, [point.mean(measure, without) for point in points.values()], 1)[0])

    return leave_one_out(slope, _n_seeds(points.values()))


def difference(high: Sequence[Shared], low: Sequence[Shared], measure: str) -> Interval:
    """Mean of a measure over the points of ``high`` less that over those of ``low``."""

    def mean(points: Sequence[Shared], without: int | None) -> float:
        return float(np.mean([point.mean(measure, without) for point in points]))

    return leave_one_out(lambda s: mean(high, s) - mean(low, s), _n_seeds([*high, *low]))


def claims_of(sweeps: Mapping[str, Mapping[object, SweepPoint]]) -> dict[str, Interval]:
    """What paper A says of each sweep, as one number with an interval each: the metrics of claims A-10 to A-17.

    Beside those of the architectures, by decoder alone as in the paper, the same by the strict definition, also raw.
    ``sweeps`` are "width", "k", "tokens", "layer", "site" and "architecture": a point for each value.
    """
    layers = [point for _, point in sorted(sweeps["layer"].items())]
    sites, kinds = sweeps["site"], sweeps["architecture"]
    measures = {"": "shared_decoder_only", "_strict": "shared_strict", "_raw": "raw_shared_strict"}
    above_topk = {
        f"{kind}_above_topk{ending}": difference([kinds[kind]], [kinds[TOPK]], measure)
        for kind in (RELU, GATED)
        for ending, measure in measures.items()
    }
    return {
        **{f"{name}_slope": trend(sweeps[name], "shared_strict") for name in ("width", "k", "tokens")},
        "inner_above_first_layer": difference(layers[1:-1], layers[:1], "shared_strict"),
        "inner_above_last_layer": difference(layers[1:-1], layers[-1:], "shared_strict"),
        **above_topk,
        "residual_above_mlp": difference([sites[RESIDUAL]], [sites[MLP]], "shared_decoder_only"),
    }


def figure_arrays(name: str, points: Mapping[object, SweepPoint]) -> dict[str, np.ndarray]:
    """What the figure of one sweep draws, by ``name`` and what it is: values, intervals, nulls and quality by point."""
    arrays = {"values": np.array(list(points))}
    arrays |= {which: np.array([getattr(point, which) for point in points.values()]) for which in QUALITY}
    for measure in next(iter(points.values())).pairs:
        arrays[measure] = np.array([point.interval(measure).ends for point in points.values()])
    for measure in BOTH_WAYS:
        for name_ in (measure, f"raw_{measure}"):
            arrays[f"pairs_{name_}"] = np.array([each_once(point.pairs[name_]) for point in points.values()])
    for measure in MEASURES:
        arrays[f"null_{measure}"] = np.array([point.null[measure] for point in points.values()])
    return {f"{name}_{key}": array for key, array in arrays.items()}


def each_once(pairs: Mapping[tuple[int, int], float]) -> list[float]:
    """The mean of both sides of each pair."""
    return [(value + pairs[j, i]) / 2 for (i, j), value in pairs.items() if i <= j]


def _n_seeds(points: Iterable[Shared]) -> int:
    """How many seeds the points have; raises InputError where they differ."""
    counts = {point.n_seeds for point in points}
    if len(counts) != 1:
        raise InputError(f"points of one sweep must have the same seeds, not {sorted(counts)} of them")
    return counts.pop()
