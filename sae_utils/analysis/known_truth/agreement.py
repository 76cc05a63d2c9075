"""Is a latent that several seeds find a true one? Agreement between dictionaries, held against the known atoms."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float

from sae_utils.analysis.known_truth.truth import Truth, auc_of
from sae_utils.analysis.matching import from_both_sides
from sae_utils.analysis.matching.membership import Membership, membership
from sae_utils.analysis.statistics import JACKKNIFE, Bounds, Interval, jackknife
from sae_utils.saes import SAE


@dataclass(frozen=True)
class Agreement:
    """For the latents of S dictionaries, in how many of them each is found, and whether it has a property."""

    member: Membership
    has: Bool[np.ndarray, "S n"]  # such as Truth.true

    def without(self, seed: int) -> "Agreement":
        """One dictionary fewer."""
        return Agreement(self.member.without(seed), np.delete(self.has, seed, axis=0))

    def shuffled(self, seed: int) -> "Agreement":
        """A null: the property dealt out anew among the alive latents of each dictionary."""
        rng = np.random.default_rng(seed)
        has = np.zeros_like(self.has)
        for row, new, alive in zip(self.has, has, self.member.alive, strict=True):
            new[alive] = rng.permutation(row[alive])
        return Agreement(self.member, has)


def found_in(stack: SAE, truth: Truth) -> Membership:
    """In which dictionaries of the stack each latent is found, by paper A's strict definition, dead ones left out.

    Of raw encoder rows: a world fills every direction (none has less than a twentieth of the mean variance), so that
    they carry nothing that does not count in the metric of the data.
    """
    return membership(from_both_sides(stack.encoder, stack.W_dec, torch.from_numpy(truth.alive)), "strict")


def share_at(a: Agreement, count: int) -> float:
    """P(property | found in exactly ``count`` dictionaries), a mean over all such latents; NaN where there are none."""
    chosen = a.member.counts == count
    return float(a.has[chosen].mean()) if chosen.any() else float("nan")


def share_in_all(a: Agreement) -> float:
    """P(property | found in every dictionary)."""
    return share_at(a, a.member.n_seeds)


def share_in_one(a: Agreement) -> float:
    """P(property | found in one dictionary only)."""
    return share_at(a, 1)


def auc(a: Agreement) -> float:
    """The chance that of two latents, one with the property and one without, the former is found in more dictionaries.

    Ties count half; NaN where all latents have the property or none has.
    """
    alive = a.member.alive
    return auc_of(a.has[alive], a.member.counts[alive])


def interval(a: Agreement, statistic: Callable[[Agreement], float], bounds: Bounds = (0.0, 1.0)) -> Interval:
    """A statistic with the jackknife over seeds; NaN where it has no value, of all seeds or without one of them."""
    n = a.member.n_seeds
    values = [statistic(a), *(statistic(a.without(seed)) for seed in range(n))]
    if np.isnan(values).any():
        return Interval(*3 * (float("nan"),), JACKKNIFE)
    return jackknife(values[0], values[1:], bounds)


def calibration(a: Agreement) -> Float[np.ndarray, "counts 2"]:
    """For each count from 1: the share of latents with the property, and the share of latents that have this count."""
    counts, alive = a.member.counts, a.member.alive
    each = range(1, a.member.n_seeds + 1)
    return np.array([(share_at(a, c), float((counts[alive] == c).mean())) for c in each])
