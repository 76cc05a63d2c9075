"""In how many dictionaries of a stack is a latent found, and how does that move with their number? (Paper A)

A latent of a base dictionary is *found in* another if it is shared with it; it is in 1 + (how many others)
dictionaries, and found in one only if in no other. Every number is a mean over the alive latents of a base, then over
all bases.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import OptimizeWarning, curve_fit
from scipy.special import betaln, comb

from sae_utils.analysis.matching.overlap import Pairs
from sae_utils.analysis.statistics import (
    BOOTSTRAP,
    JACKKNIFE,
    Bounds,
    Interval,
    bootstrap_of_mean,
    jackknife,
    leave_one_out,
)
from sae_utils.errors import InputError

HELD_OUT = 2  # points of ``only_in_one``, the last ones, that a law has to predict
MIN_SEEDS = 5 + HELD_OUT  # leaving one out must leave three points for the three parameters of the power law


@dataclass(frozen=True)
class Membership:
    """``found[b, j, i]``: latent i of base b is shared with dictionary j; False where b is j or the latent is dead."""

    found: Bool[np.ndarray, "S S n"]
    alive: Bool[np.ndarray, "S n"]

    @property
    def n_seeds(self) -> int:
        """S, the number of dictionaries."""
        return len(self.alive)

    @property
    def counts(self) -> Int[np.ndarray, "S n"]:
        """In how many dictionaries each latent is, its own included; 0 for dead latents."""
        return np.where(self.alive, 1 + self.found.sum(axis=1), 0)

    def without(self, seed: int) -> "Membership":
        """The same with one dictionary fewer, both as a base and as one to be found in."""
        kept = np.arange(self.n_seeds) != seed
        return Membership(self.found[kept][:, kept], self.alive[kept])


def membership(pairs: Pairs, criterion: str = "notebook") -> Membership:
    """Which latents are found where, by one of ``matching.DEFINITIONS``; ``pairs`` from both sides.

    The default is what paper A's figure counts: matched decoder and encoder cosine above 0.7, no equality test.
    """
    n_seeds = 1 + max(i for i, _ in pairs)
    alive = np.stack([pairs[i, (i + 1) % n_seeds].counted for i in range(n_seeds)])
    found = np.zeros((n_seeds, *alive.shape), dtype=bool)
    for (base, other), overlap in pairs.items():
        found[base, other] = overlap.shared(criterion)
    return Membership(found, alive)


def histogram(m: Membership) -> Float[np.ndarray, " S"]:
    """The share of latents that are in exactly 1, 2, ..., S dictionaries."""
    counts = np.arange(1, m.n_seeds + 1)
    return np.mean([(row[alive] == counts[:, None]).mean(1) for row, alive in zip(m.counts, m.alive, strict=True)], 0)


def only_in_one(m: Membership) -> Float[np.ndarray, " S-1"]:
    """The share of latents of a base that are in none of n - 1 others, for n = 2, ..., S.

    The mean over all choices of the others: a latent that f of the S - 1 others hold is missed by a choice with the
    hypergeometric probability C(S - 1 - f, n - 1) / C(S - 1, n - 1). The paper draws 20 choices at random.
    """
    others = m.n_seeds - 1
    chosen = np.arange(1, others + 1)[:, None]
    missed = comb(others - np.arange(others + 1), chosen) / comb(others, chosen)  # [n - 1, f]
    return np.mean([missed[:, row[alive] - 1].mean(1) for row, alive in zip(m.counts, m.alive, strict=True)], axis=0)


def u_shape(m: Membership) -> float:
    """The lower end of the histogram less the mean of the bins between the ends: above 0 where both ends stand out."""
    shares = histogram(m)
    return float(min(shares[0], shares[-1]) - shares[1:-1].mean())


def histogram_intervals(m: Membership) -> list[Interval]:
    """``histogram`` with the jackknife over seeds.

    With one seed left out there is one bin fewer, so bins are aligned from the nearer end: the jackknife uses the
    spread of these values alone. Two seeds have the bootstrap over latents.
    """
    if m.n_seeds == 2:
        return [_over_latents(m, count) for count in (1, 2)]
    without = np.stack([histogram(m.without(seed)) for seed in range(m.n_seeds)])
    return [
        jackknife(share, without[:, i if i < m.n_seeds / 2 else i - 1], (0.0, 1.0))
        for i, share in enumerate(histogram(m))
    ]


def only_in_one_intervals(m: Membership) -> list[Interval]:
    """``only_in_one`` with the jackknife over seeds; the last point, of all S, by that of all but one.

    Two seeds have the bootstrap over latents.
    """
    if m.n_seeds == 2:
        return [_over_latents(m, 1)]
    without = np.stack([only_in_one(m.without(seed)) for seed in range(m.n_seeds)])
    last = without.shape[1] - 1
    return [jackknife(share, without[:, min(i, last)], (0.0, 1.0)) for i, share in enumerate(only_in_one(m))]


def _over_latents(m: Membership, count: int) -> Interval:
    """Share of latents that are in ``count`` of two dictionaries; both show one matching, so that ends are averaged."""
    sides = [bootstrap_of_mean(row[alive] == count).ends for row, alive in zip(m.counts, m.alive, strict=True)]
    return Interval(*(float(end) for end in np.mean(sides, axis=0)), BOOTSTRAP)


def of_claims(m: Membership) -> dict[str, Interval]:
    """What the claims ask for, as far as there are dictionaries for it; nothing with fewer than four.

    Leaving one out must leave a bin between the ends, and two points. Where there are fewer than ``MIN_SEEDS``, what
    takes these has no value.
    """
    if m.n_seeds < 4:
        return {}
    floor = interval(m, floor_gain) if m.n_seeds >= MIN_SEEDS else Interval(*3 * (float("nan"),), JACKKNIFE)
    found = {"u_shape": interval(m, u_shape), "only_in_one_kept": interval(m, kept, (0.0, 1.0))}
    return {**found, "floor_gain": floor}


def interval(m: Membership, statistic: Callable[[Membership], float], bounds: Bounds = (-1.0, 1.0)) -> Interval:
    """A statistic of a membership with the jackknife over seeds."""
    return leave_one_out(lambda seed: statistic(m if seed is None else m.without(seed)), m.n_seeds, bounds)


def kept(m: Membership) -> float:
    """Of the latents that one other dictionary lacks, the share that all others lack: NaN where none is lacked."""
    shares = only_in_one(m)
    return float(shares[-1] / shares[0]) if shares[0] else float("nan")


@dataclass(frozen=True)
class PowerLaw:
    """f(n) = floor + scale * n ** -exponent: what the paper fits, all three at least 0."""

    floor: float
    scale: float
    exponent: float

    def __call__(self, n: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """The law's value at ``n`` dictionaries."""
        return self.floor + self.scale * np.asarray(n, dtype=np.float64) ** -self.exponent

    @staticmethod
    def start(share: Float[np.ndarray, " n"]) -> tuple[float, float, float]:
        """Parameters from which a fit begins."""
        return max(share[-1] / 2, 1e-6), max(2 * share[0] - share[-1], 1e-6), 1.0


@dataclass(frozen=True)
class BarePowerLaw:
    """f(n) = scale * n ** -exponent: the power law without its floor."""

    scale: float
    exponent: float

    def __call__(self, n: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """The law's value at ``n`` dictionaries."""
        return PowerLaw(0.0, self.scale, self.exponent)(n)

    @staticmethod
    def start(share: Float[np.ndarray, " n"]) -> tuple[float, float]:
        """Parameters from which a fit begins."""
        return max(2 * share[0], 1e-6), 1.0


@dataclass(frozen=True)
class ChanceLaw:
    """f(n) = B(a, b + n - 1) / B(a, b): no floor; each latent is found by chances of its own, of a beta distribution.

    In the limit of large n it falls as n ** -a. Equal chances for all are in it (a and b large), and so are latents
    that nearly all find or nearly none (a and b small).
    """

    a: float
    b: float

    def __call__(self, n: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """The law's value at ``n`` dictionaries."""
        n = np.asarray(n, dtype=np.float64)
        return np.exp(betaln(self.a, self.b + n - 1) - betaln(self.a, self.b))

    @staticmethod
    def start(share: Float[np.ndarray, " n"]) -> tuple[float, float]:
        """Parameters from which a fit begins: the first share is b / (a + b)."""
        return max(1 - share[0], 1e-3), max(share[0], 1e-3)


Law = PowerLaw | BarePowerLaw | ChanceLaw


def fit(law: type[Law], n: Float[np.ndarray, " n"], share: Float[np.ndarray, " n"]) -> Law:
    """Least squares with parameters of at least 0. Raises InputError with fewer points than parameters."""
    n, share = np.asarray(n, dtype=np.float64), np.asarray(share, dtype=np.float64)
    first = law.start(share)
    if len(n) < len(first):
        raise InputError(f"a law of {len(first)} parameters cannot be fitted to {len(n)} points")
    # Tolerances near the machine's: where the floor is hardly determined, a looser fit stops short of it.
    tight = {"ftol": 1e-14, "xtol": 1e-14, "gtol": 1e-14, "max_nfev": 20_000}
    with warnings.catch_warnings():
        # That a parameter is not determined is what the seeds are asked, not the covariance of one fit.
        warnings.simplefilter("ignore", OptimizeWarning)
        found, _ = curve_fit(
            lambda n, *parameters: law(*parameters)(n), n, share, p0=first, bounds=(1e-9, 1e6), x_scale="jac", **tight
        )
    return law(*map(float, found))


def fit_first(law: type[Law], shares: Float[np.ndarray, " n"]) -> Law:
    """A law fitted to ``only_in_one``, the last ``HELD_OUT`` left out. Raises InputError as ``fit``."""
    return fit(law, np.arange(2, 2 + len(shares))[:-HELD_OUT], shares[:-HELD_OUT])


def prediction_error(law: type[Law], shares: Float[np.ndarray, " n"]) -> float:
    """Root mean square by which a law that is fitted to the first shares misses the last ``HELD_OUT``."""
    n = np.arange(2, 2 + len(shares))
    return float(np.sqrt(np.mean((fit_first(law, shares)(n) - shares)[-HELD_OUT:] ** 2)))


def floor_gain(m: Membership) -> float:
    """By how much the power law with a floor predicts better than the better of two without; below 0 where worse."""
    shares = only_in_one(m)
    bare = min(prediction_error(law, shares) for law in (BarePowerLaw, ChanceLaw))
    return bare - prediction_error(PowerLaw, shares)
