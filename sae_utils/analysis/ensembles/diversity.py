"""Connectivity, diversity and relaxed stability of ensembles, as paper C (Gadgil et al. 2505.16077) defines them.

Where the released code differs: its diversity sets whole blocks of 1,024 x 1,024 similarities on the diagonal to zero,
so that likeness within a block goes unseen; here a row is spared the comparison with itself alone. Its boosting does
not bring decoder rows to length one, its bagging does; here cosines are cosines. Dead latents are to be left out by the
caller: they keep the random rows that they began with. The relaxed stability matches many to one and grows with the
number of rows, so it says nothing without a null of as many random directions (``stability_null``).
"""

from collections.abc import Sequence
from itertools import permutations

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import sparse
from torch import Tensor

from sae_utils.analysis.directions import directions
from sae_utils.analysis.statistics import Interval, jackknife
from sae_utils.errors import InputError

THRESHOLD = 0.7  # the cosine from which two latents are not diverse
BLOCK = 1024  # rows compared at once


def nearest_by_group(
    a: Float[Tensor, "n d"], b: Float[Tensor, "m d"], group: Int[np.ndarray, " m"], same: bool = False
) -> Float[np.ndarray, "n groups"]:
    """Largest cosine of each row of ``a`` to the rows of ``b`` of each group; -inf to a group without rows.

    ``same``: ``a`` is ``b``, and a row is not compared with itself.
    """
    a, b = (torch.nn.functional.normalize(rows.detach().to("cpu", torch.float64), dim=-1) for rows in (a, b))
    out = np.full((len(a), int(group.max()) + 1), -np.inf)
    for start in range(0, len(a), BLOCK):
        cosines = (a[start : start + BLOCK] @ b.T).numpy()
        if same:
            row = np.arange(len(cosines))
            cosines[row, start + row] = -np.inf
        for g in np.unique(group):
            out[start : start + BLOCK, g] = cosines[:, group == g].max(axis=1)
    return out


def diversity(decoder: Float[Tensor, "n d"], member: Int[np.ndarray, " n"]) -> Int[np.ndarray, " J"]:
    """Latents of the first 1, 2, .. J members whose cosine to each other latent among those is below ``THRESHOLD``."""
    nearest = np.maximum.accumulate(nearest_by_group(decoder, decoder, member, same=True), axis=1)
    return np.array([(nearest[member <= j, j] < THRESHOLD).sum() for j in range(nearest.shape[1])])


def connectivity(code: sparse.csr_matrix, member: Int[np.ndarray, " n"]) -> Float[np.ndarray, " J"]:
    """Share of the ordered pairs of latents that are never active on one token, for the first 1, 2, .. J members.

    1 - ||C||_0 / m^2 with C = Z^T Z over the tokens of ``code`` [tokens, n]; a latent that fires is active with itself.
    More tokens can only lower it, so compare at the same number, and with ``connectivity_null``.
    """
    active = (code != 0).astype(np.float32)
    together = (active.T @ active).tocoo()
    last = np.maximum(member[together.row], member[together.col])
    n_groups = int(member.max()) + 1
    pairs = np.bincount(last, minlength=n_groups).cumsum()
    sizes = np.bincount(member, minlength=n_groups).cumsum()
    return 1 - pairs / sizes.astype(float) ** 2


def connectivity_null(
    frequency: Float[np.ndarray, " n"], member: Int[np.ndarray, " n"], n_tokens: int
) -> Float[np.ndarray, " J"]:
    """``connectivity`` to be expected on ``n_tokens`` if latents fired independently, with the given frequencies."""
    together = np.outer(frequency, frequency)
    np.fill_diagonal(together, frequency)  # a latent that fires is active with itself
    never = (1 - together) ** n_tokens
    return np.array([never[np.ix_(member <= j, member <= j)].mean() for j in range(int(member.max()) + 1)])


def stability(
    runs: Sequence[Float[Tensor, "n d"]], members: Sequence[Int[np.ndarray, " n"]]
) -> Float[np.ndarray, "R+1 J"]:
    """The paper's relaxed stability: the largest cosine of a latent to any of all other runs, mean over each run.

    Row 0 is the mean over the R runs, row 1 + i the same without run i, for ``over_runs``. Of the first 1, 2, .. J
    members of every run; ``members`` has the member of each latent. Raises InputError with fewer than three runs, and
    for a run whose first member has no latent.
    """
    if len(runs) < 3 or not all((member == 0).any() for member in members):
        raise InputError(f"stability needs three runs or more, with latents, not {[len(rows) for rows in runs]}")
    n_members, everyone = 1 + max(int(member.max()) for member in members), range(len(runs))
    nearest = {}
    for i, j in permutations(everyone, 2):
        found = np.maximum.accumulate(nearest_by_group(runs[i], runs[j], members[j]), axis=1)
        nearest[i, j] = found[:, np.minimum(np.arange(n_members), found.shape[1] - 1)]

    def among(chosen: Sequence[int]) -> Float[np.ndarray, " J"]:
        """The mean over the chosen runs, compared with one another alone."""
        of_runs = []
        for i in chosen:
            largest = np.max([nearest[i, j] for j in chosen if j != i], axis=0)
            of_runs.append([largest[members[i] <= n, n].mean() for n in range(n_members)])
        return np.mean(of_runs, axis=0)

    return np.stack([among(everyone), *(among([i for i in everyone if i != left]) for left in everyone)])


def stability_null(
    members: Sequence[Int[np.ndarray, " n"]], spread: Float[Tensor, "d d"]
) -> Float[np.ndarray, "R+1 J"]:
    """``stability`` of runs of as many random directions, drawn from N(0, ``spread``).

    One draw, for it is a mean over all latents: of three runs of 64 in 128 dimensions it varies by .003.
    """
    generator = torch.Generator().manual_seed(0)
    return stability([directions(len(member), spread, generator) for member in members], members)


def over_runs(values: Float[np.ndarray, "R+1 J"]) -> list[Interval]:
    """What ``stability`` gave, or a difference of two such, with the jackknife over runs for each number of members."""
    return [jackknife(float(column[0]), column[1:]) for column in np.asarray(values).T]
