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
from scipy.special import comb

from sae_utils.analysis.matching.overlap import Pairs
from sae_utils.analysis.statistics import BOOTSTRAP, Interval, bootstrap_of_mean, jackknife, leave_one_out
from sae_utils.errors import InputError

MIN_SEEDS = 5  # leaving one out must leave three points, n = 2, 3, 4, for the three parameters of the power law


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
    """The lower end of the histogram less its largest bin between the ends: above 0 where it has the shape of a U."""
    shares = histogram(m)
    return float(min(shares[0], shares[-1]) - shares[1:-1].max())


def histogram_intervals(m: Membership) -> list[Interval]:
    """``histogram`` with the jackknife over seeds.

    With one seed left out there is one bin fewer, so bins are aligned from the nearer end. The jackknife uses only the
    spread of these values, so the shift does not matter. Two seeds have the bootstrap over latents.
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
    """What the claims ask for beside the fit; nothing with fewer than four seeds.

    Leaving one out must leave a bin between the ends, and more than the one point that independence passes through.
    """
    statistics = {"u_shape": u_shape, "only_in_one_above_independence": above_independence}
    return {name: interval(m, of) for name, of in statistics.items()} if m.n_seeds >= 4 else {}


def interval(m: Membership, statistic: Callable[[Membership], float]) -> Interval:
    """A statistic of a membership, from -1 to 1, with the jackknife over seeds."""
    return leave_one_out(lambda seed: statistic(m if seed is None else m.without(seed)), m.n_seeds, (-1.0, 1.0))


def above_independence(m: Membership) -> float:
    """The share found in one only of all S, less what it were if each other dictionary found latents independently.

    Then each of the S - 1 others would miss the same share of what is left: 0 where all latents are equally easy to
    find, above 0 where some are found by nearly all and some by none. It may be below 0, down to -1.
    """
    shares = only_in_one(m)
    return float(shares[-1] - shares[0] ** (m.n_seeds - 1))


@dataclass(frozen=True)
class PowerLaw:
    """f(n) = floor + scale * n ** -exponent, and the root mean square of what it leaves of the points."""

    floor: float
    scale: float
    exponent: float
    residual: float

    def __call__(self, n: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """The law's value at ``n`` dictionaries."""
        return self.floor + self.scale * np.asarray(n, dtype=np.float64) ** -self.exponent


def fit_power_law(n: Float[np.ndarray, " n"], share: Float[np.ndarray, " n"], offset: bool = True) -> PowerLaw:
    """Least squares with a floor of 0 to 1, or of 0 if not ``offset``; scale and exponent of at least 0.

    Raises InputError with fewer points than parameters.
    """
    n, share = np.asarray(n, dtype=np.float64), np.asarray(share, dtype=np.float64)
    n_parameters = 3 if offset else 2
    if len(n) < n_parameters:
        raise InputError(f"a power law of {n_parameters} parameters cannot be fitted to {len(n)} points")

    def law(n, scale, exponent, floor=0.0):
        return floor + scale * n**-exponent

    floor = share[-1] / 2 if offset else 0.0
    first = [max(2 * (share[0] - floor), 1e-6), 1.0, *([floor] if offset else [])]
    upper = [np.inf, np.inf, *([1.0] if offset else [])]
    # Tolerances near the machine's: where the floor is hardly determined, a looser fit stops short of it.
    tight = {"ftol": 1e-14, "xtol": 1e-14, "gtol": 1e-14, "max_nfev": 20_000}
    with warnings.catch_warnings():
        # That a parameter is not determined is what the seeds are asked, not the covariance of one fit.
        warnings.simplefilter("ignore", OptimizeWarning)
        found, _ = curve_fit(law, n, share, p0=first, bounds=(0.0, upper), x_scale="jac", **tight)
    residual = float(np.sqrt(np.mean((law(n, *found) - share) ** 2)))
    return PowerLaw(float(found[2]) if offset else 0.0, float(found[0]), float(found[1]), residual)


@dataclass(frozen=True)
class OnlyInOneFit:
    """The power law with an offset fitted to ``only_in_one``, its parameters with intervals, and the law without."""

    law: PowerLaw
    plain: PowerLaw
    floor: Interval
    scale: Interval
    exponent: Interval

    @property
    def floor_is_identified(self) -> bool:
        """Whether the seeds tell the floor from 0."""
        return self.floor.low > 0


def fit_only_in_one(m: Membership) -> OnlyInOneFit:
    """Both laws on all points, and the jackknife over seeds of each parameter of the one with an offset.

    Raises InputError with fewer than ``MIN_SEEDS`` dictionaries.
    """
    if m.n_seeds < MIN_SEEDS:
        raise InputError(f"the power law needs at least {MIN_SEEDS} dictionaries, not {m.n_seeds}")

    def fit(part: Membership, offset: bool = True) -> PowerLaw:
        return fit_power_law(np.arange(2, part.n_seeds + 1), only_in_one(part), offset)

    law, without = fit(m), [fit(m.without(seed)) for seed in range(m.n_seeds)]
    upper = {"floor": 1.0, "scale": np.inf, "exponent": np.inf}
    intervals = {
        name: jackknife(getattr(law, name), [getattr(other, name) for other in without], (0.0, high))
        for name, high in upper.items()
    }
    return OnlyInOneFit(law, fit(m, offset=False), **intervals)
