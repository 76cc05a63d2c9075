"""Can the gain of bagging two dictionaries be told from how many latents they share (paper A's overlap)?

By the ambiguity decomposition the gain of a bag is the members' disagreement, exactly (``Profile.ambiguity``). That
needs the outputs. Overlap needs the weights alone; here it is tried as a predictor, within one stack of seeds and
between stacks of different kinds.
"""

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import torch
from jaxtyping import Float

from sae_utils.analysis.ensembles.profile import Profile
from sae_utils.analysis.matching.matching import SeedOverlap
from sae_utils.analysis.matching.overlap import overlap_of_pairs
from sae_utils.analysis.statistics import Interval, jackknife
from sae_utils.errors import InputError
from sae_utils.saes.ensembles.ensemble import Ensemble

Pairs = Mapping[tuple[int, int], float]
GROUPS = "jackknife over kinds of dictionaries"


def pair_gains(p: Profile) -> dict[tuple[int, int], float]:
    """For each pair of members, the share of their mean MSE that averaging the two takes away."""
    gains = {}
    for i, j in combinations(range(p.n_members), 2):
        one, other, both = (np.zeros(p.n_members) for _ in "123")
        one[i], other[j], both[[i, j]] = 1, 1, 0.5
        gains[i, j] = 1 - p.mse(both) / (0.5 * (p.mse(one) + p.mse(other)))
    return gains


def pair_overlaps(bag: Ensemble, p: Profile) -> dict[tuple[int, int], SeedOverlap]:
    """Paper A's comparison of every pair of members of a bag, without the latents that are dead in its profile.

    Raises InputError for members of different width.
    """
    if len(set(p.widths)) > 1:
        raise InputError(f"the members have {p.widths} latents; they must be of one width to be paired")
    encoders, decoders = (torch.cat([getattr(m, name) for m in bag.members]) for name in ("encoder", "W_dec"))
    return overlap_of_pairs(encoders, decoders, torch.from_numpy(p.firing_frequency > 0).view(encoders.shape[:2]))


def correlation(x: Pairs, y: Pairs) -> Interval:
    """Pearson's correlation over pairs of seeds, with the jackknife over seeds; 0 where either is constant.

    Raises InputError with fewer than four seeds, and where a pair lacks a number.
    """
    seeds = sorted({seed for pair in x for seed in pair})
    if len(seeds) < 4 or set(x) != set(y):
        raise InputError(f"a correlation over pairs needs both numbers of every pair of 4 seeds, not of {len(seeds)}")

    def over(pairs):
        a, b = np.array([[x[pair], y[pair]] for pair in pairs]).T
        return float(np.corrcoef(a, b)[0, 1]) if np.ptp(a) > 0 and np.ptp(b) > 0 else 0.0

    without = [over([pair for pair in x if seed not in pair]) for seed in seeds]
    return jackknife(over(list(x)), without, (-1.0, 1.0))


def slope(x: Mapping[str, float], y: Mapping[str, float]) -> tuple[Interval, Float[np.ndarray, " kinds"]]:
    """The least-squares slope of y on x over kinds, and the y of each kind as the line of the others predicts it.

    The interval is the jackknife over kinds. Raises InputError with fewer than four.
    """
    if len(x) < 4:
        raise InputError(f"a line over kinds, each left out in turn, needs at least 4, not {len(x)}")
    names = list(x)
    at, value = (np.array([v[name] for name in names]) for v in (x, y))
    lines = [np.polyfit(np.delete(at, i), np.delete(value, i), 1) for i in range(len(names))]
    predicted = np.array([np.polyval(line, at[i]) for i, line in enumerate(lines)])
    found = jackknife(float(np.polyfit(at, value, 1)[0]), [line[0] for line in lines])
    return Interval(found.estimate, found.low, found.high, GROUPS), predicted
