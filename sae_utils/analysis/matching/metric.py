"""Encoder rows in the metric of the data.

An encoder row w is only ever used in products w . x with activations, so two rows are alike if their products are. With
C the covariance of the activations, the cosine of w C^(1/2) and v C^(1/2) is the correlation of w . x and v . x. The
cosine of the raw rows is another thing: along directions in which the activations hardly vary, a row may carry anything
its start gave it and compute the same, and on real activations that is most of its length. Published numbers use raw
rows.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from sae_utils.analysis.directions import root
from sae_utils.errors import InputError

EMPTY = 0.01  # a direction is nearly empty where the activations' variance is below this share of the mean one


def in_metric(encoders: Float[Tensor, "*stack n d"], covariance: Float[Tensor, "d d"]) -> Float[Tensor, "*stack n d"]:
    """Encoder rows times the symmetric root of the activations' covariance, in float64 on the CPU.

    Their cosines are correlations of pre-activations over the data. Raises InputError for a covariance of another
    width, one that is not finite, and one of zero.
    """
    if covariance.shape != 2 * encoders.shape[-1:]:
        raise InputError(f"a covariance {tuple(covariance.shape)} does not fit encoders {tuple(encoders.shape)}")
    covariance = covariance.detach().to("cpu", torch.float64)
    if not covariance.isfinite().all() or not covariance.any():
        raise InputError("the covariance of the activations must be finite and not zero")
    return encoders.detach().to("cpu", torch.float64) @ root(covariance)


def empty_share(encoders: Float[Tensor, "*stack n d"], covariance: Float[Tensor, "d d"]) -> Float[Tensor, "*stack n"]:
    """The share of each row's squared length that lies along nearly empty directions of the activations (``EMPTY``).

    A row of zeros has a share of 0.
    """
    variances, directions = torch.linalg.eigh(covariance.detach().to("cpu", torch.float64))
    rows = torch.nn.functional.normalize(encoders.detach().to("cpu", torch.float64), dim=-1)
    return (rows @ directions[:, variances < EMPTY * variances.mean()]).square().sum(-1)
