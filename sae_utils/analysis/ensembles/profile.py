"""How the error of an ensemble goes with the number and the weights of its members, from the sums of one pass.

Definitions are those of paper C (Gadgil et al. 2505.16077): MSE is summed over dimensions, and its explained variance
is the mean over dimensions of 1 - (error / variance), which weighs a dimension that hardly varies as much as any other.
The released code's evaluation during training has another one, per token, and divides MSE by d: the two cannot be
compared. The mean activation is that of the tokens evaluated.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sae_utils.errors import InputError
from sae_utils.saes.ensembles import Ensemble


@dataclass(frozen=True)
class Profile:
    """Means over tokens of the members' outputs y_1 .. y_J and the activation x (the last), by dimension, raw units."""

    sequential: bool
    first: Float[np.ndarray, "d J+1"]
    second: Float[np.ndarray, "d J+1 J+1"]  # of products of two of them
    firing_frequency: Float[np.ndarray, " n_latents"]
    widths: tuple[int, ...]  # latents of each member

    @property
    def n_members(self) -> int:
        """J."""
        return len(self.widths)

    @property
    def variance(self) -> Float[np.ndarray, " d"]:
        """Of the activations, by dimension."""
        return self.second[:, -1, -1] - self.first[:, -1] ** 2

    @property
    def member_of_latent(self) -> np.ndarray:
        """Number of the member that each latent belongs to."""
        return np.repeat(np.arange(self.n_members), self.widths)

    @property
    def l0(self) -> Float[np.ndarray, " J"]:
        """Active latents per token of the first 1, 2, .. J members together."""
        return np.add.reduceat(self.firing_frequency, np.cumsum((0, *self.widths[:-1]))).cumsum()

    def weights(self, n: int) -> Float[np.ndarray, " n"]:
        """The paper's for the first ``n`` members: 1/n in a bag, 1 in boosting."""
        if not 1 <= n <= self.n_members:
            raise InputError(f"n={n} must be 1 to the {self.n_members} members of the ensemble")
        return np.ones(n) if self.sequential else np.full(n, 1 / n)

    def errors(self, weights: Sequence[float]) -> Float[np.ndarray, " d"]:
        """Mean squared error by dimension of the weighted sum of the first members."""
        if not 1 <= len(weights) <= self.n_members:
            raise InputError(f"{len(weights)} weights do not fit an ensemble of {self.n_members} members")
        v = np.zeros(self.n_members + 1)
        v[: len(weights)], v[-1] = weights, -1
        return np.einsum("j,djk,k->d", v, self.second, v)

    def mse(self, weights: Sequence[float]) -> float:
        """Squared error per token, summed over dimensions (paper C)."""
        return float(self.errors(weights).sum())

    def fvu(self, weights: Sequence[float]) -> float:
        """Error over variance, both summed over dimensions: this project's usual one."""
        return self.mse(weights) / float(self.variance.sum())

    def explained_variance(self, weights: Sequence[float]) -> float:
        """Paper C's: the mean over dimensions of 1 - error / variance; dimensions that do not vary are left out."""
        varies = self.variance > 0
        return float(1 - (self.errors(weights)[varies] / self.variance[varies]).mean())

    def least_squares(self, n: int) -> Float[np.ndarray, " n"]:
        """The weights of the first ``n`` members' outputs with the least MSE on these tokens, of any sign and sum."""
        self.weights(n)
        total = self.second.sum(0)
        return np.linalg.lstsq(total[:n, :n], total[:n, -1], rcond=None)[0]

    def ambiguity(self, n: int) -> tuple[float, float]:
        """(mean MSE of the first ``n`` members, their disagreement); the MSE of their mean is the one less the other.

        The disagreement is the members' mean squared distance from their mean output (Krogh & Vedelsby 1995).
        """
        total = self.second.sum(0)
        members = np.mean([total[j, j] - 2 * total[j, -1] + total[-1, -1] for j in range(n)])
        return float(members), float(total[range(n), range(n)].mean() - total[:n, :n].mean())


@torch.no_grad()
def profile(ensemble: Ensemble, batches: Iterable[Float[Tensor, "batch d_in"]]) -> Profile:
    """One pass over raw activations, sums in float64. Raises InputError where there are none."""
    n_members, d, device = len(ensemble.members), ensemble.config.d_in, ensemble.W_dec.device
    widths = tuple(member.config.n_latents for member in ensemble.members)
    first = torch.zeros(d, n_members + 1, dtype=torch.float64, device=device)
    second = torch.zeros(d, n_members + 1, n_members + 1, dtype=torch.float64, device=device)
    fired = torch.zeros(sum(widths), dtype=torch.float64, device=device)
    n_tokens = 0
    for x in batches:
        x = x.to(device)
        codes, outputs = zip(*ensemble.parts(x), strict=True)
        table = torch.stack([*outputs, x], dim=0).double().permute(2, 0, 1)  # [d, J + 1, tokens]
        first += table.sum(2)
        second += table @ table.mT
        # Not the joined code: a weight of 0 would hide which latents fire.
        for code, part in zip(codes, fired.split(widths), strict=True):
            part += torch.bincount(code.indices[code.values > 0], minlength=len(part))
        n_tokens += len(x)
    if not n_tokens:
        raise InputError("there are no activations to evaluate on")
    means = (t.div_(n_tokens).cpu().numpy() for t in (first, second, fired))
    return Profile(ensemble.sequential, *means, widths)


def on_frontier(cost: Float[np.ndarray, " n"], error: Float[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """Points that no other beats: none has at most their cost and at most their error, and less of one."""
    points = np.stack([cost, error], axis=1).astype(float)
    no_more = (points <= points[:, None]).all(axis=-1)  # [i, j]: j has at most i's cost and at most its error
    less = (points < points[:, None]).any(axis=-1)
    return ~(no_more & less).any(axis=1)


def principal_components(fitted: Float[Tensor, "d d"], evaluated: Float[Tensor, "d d"]) -> Float[np.ndarray, " d"]:
    """MSE that the leading 1, 2, .. d principal components of one sample leave on another, from their covariances.

    A reference for codes that are not sparse: n components are n active coefficients, and d of them leave nothing.
    """
    vectors = torch.linalg.eigh(fitted.double())[1].flip(-1)
    along = torch.einsum("ij,ik,kj->j", vectors, evaluated.double(), vectors)
    return (along.sum() - along.cumsum(0)).clamp_min(0).cpu().numpy()
