"""Can the gain of bagging two dictionaries be told from how many latents they share (paper A's overlap)?

The gain of a bag is exactly the members' disagreement (``Profile.ambiguity``), which takes their outputs. Overlap takes
the weights alone; here it is tried as a predictor, within one stack of seeds and between stacks of different kinds.
"""

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_utils.analysis.ensembles.profile import Profile
from sae_utils.analysis.matching.metric import in_metric
from sae_utils.analysis.matching.overlap import from_both_sides
from sae_utils.analysis.statistics import Interval, jackknife, leave_one_out
from sae_utils.errors import InputError
from sae_utils.saes.ensembles import Ensemble

OVER_KINDS = "jackknife over kinds of dictionaries"

ByPair = Mapping[tuple[int, int], float]


def pair_gains(p: Profile) -> dict[tuple[int, int], float]:
    """For each pair of members, the share of their mean MSE that averaging the two takes away."""
    alone = np.eye(p.n_members)
    gains = {}
    for i, j in combinations(range(p.n_members), 2):
        mean_mse = 0.5 * (p.mse(alone[i]) + p.mse(alone[j]))
        gains[i, j] = 1 - p.mse(0.5 * (alone[i] + alone[j])) / mean_mse
    return gains


def pair_overlaps(
    bag: Ensemble, p: Profile, covariance: Float[Tensor, "d d"] | None = None
) -> dict[tuple[int, int], float]:
    """The share of latents that two members share (strict, paper A), without those that are dead in the bag's profile.

    For every pair of members of one width, the mean of what it is as seen from both. With the covariance of the
    activations, encoder rows are in the metric of the data, else raw.
    """
    encoders = torch.cat([member.encoder for member in bag.members])
    encoders = encoders if covariance is None else in_metric(encoders, covariance)
    decoders = torch.cat([member.W_dec for member in bag.members])
    both = from_both_sides(encoders, decoders, torch.from_numpy(p.firing_frequency > 0).view(decoders.shape[:2]))
    shared = {pair: o.fraction(o.shared("strict")) for pair, o in both.items()}
    return {(i, j): (shared[i, j] + shared[j, i]) / 2 for i, j in combinations(range(p.n_members), 2)}


def correlation(x: ByPair, y: ByPair) -> Interval:
    """Pearson's correlation over pairs of the seeds 0, 1, .., jackknife over seeds; 0 where x or y is constant.

    Raises InputError with fewer than four seeds, and where a pair lacks a number.
    """
    n_seeds = len({seed for pair in x for seed in pair})
    if n_seeds < 4 or set(x) != set(y):
        raise InputError(f"a correlation over pairs needs both numbers of every pair of 4 seeds, not of {n_seeds}")

    def without(seed: int | None) -> float:
        a, b = np.array([[x[pair], y[pair]] for pair in x if seed not in pair]).T
        return float(np.corrcoef(a, b)[0, 1]) if np.ptp(a) > 0 and np.ptp(b) > 0 else 0.0

    return leave_one_out(without, n_seeds, (-1.0, 1.0))


def slope(x: Mapping[str, float], y: Mapping[str, float]) -> tuple[Interval, Float[np.ndarray, " kinds"]]:
    """The least-squares slope of y on x over kinds, and the y of each kind as the line of the others predicts it.

    The interval is the jackknife over kinds. Raises InputError with fewer than four.
    """
    if len(x) < 4:
        raise InputError(f"a line over kinds, each left out in turn, needs at least 4, not {len(x)}")
    at, value = (np.array([v[name] for name in x]) for v in (x, y))
    lines = [np.polyfit(np.delete(at, i), np.delete(value, i), 1) for i in range(len(at))]
    predicted = np.array([np.polyval(line, at[i]) for i, line in enumerate(lines)])
    whole = float(np.polyfit(at, value, 1)[0])
    return jackknife(whole, [line[0] for line in lines], method=OVER_KINDS), predicted
