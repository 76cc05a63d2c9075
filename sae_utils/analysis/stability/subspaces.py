"""Do the latents that two seeds do not share lie in a subspace that they share?

Gerasimov et al. (2026, 2606.12138) say so: unstable latents concentrate in reproducible subspaces of lower rank. Only
the abstract could be read; the definition here is ours. The subspace of some latents is spanned by the leading
eigenvectors of the second moment of their decoder rows, at unit length, as many as its effective rank
(tr M)^2 / tr M^2. Two subspaces overlap by the mean squared cosine of their principal angles: 1 where the smaller lies
in the larger, its rank over the dimensions where one is random.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from sae_utils.analysis.directions import second_moment


def leading_subspace(rows: Float[Tensor, "n d"]) -> Float[Tensor, "d r"]:
    """An orthonormal basis of the subspace in which rows concentrate, its effective rank many, float64.

    Raises InputError for no rows, and for such as are not finite.
    """
    values, directions = torch.linalg.eigh(second_moment(rows))
    rank = max(1, round(float(values.sum() ** 2 / values.square().sum())))
    return directions[:, -rank:]


def subspace_overlap(one: Float[Tensor, "n d"], other: Float[Tensor, "m d"]) -> float:
    """Mean squared cosine of the principal angles of two sets of rows' subspaces; NaN where a set has no rows."""
    if not len(one) or not len(other):
        return float("nan")
    a, b = leading_subspace(one), leading_subspace(other)
    return float((a.T @ b).square().sum() / min(a.shape[1], b.shape[1]))
