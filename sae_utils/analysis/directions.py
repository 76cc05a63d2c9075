"""Dictionaries that learned nothing: what chance alone, and the shape of the data alone, would give every criterion.

Uniform directions know nothing of the data. Directions drawn from N(0, C) point where the data point: with C the
covariance of the activations, as data do about their mean; with C the second moment of trained decoder rows, as the
trained dictionary as a whole does. Neither has a latent in common with another draw but by chance.
"""

from collections.abc import Collection, Iterable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from sae_utils.errors import InputError

UNIFORM, ACTIVATIONS, DECODERS = "uniform", "activations", "decoders"  # where the directions of a null point
TIED, INDEPENDENT = "tied", "independent"  # each encoder equal to its decoder, or drawn by itself
KINDS = tuple(f"{source}_{encoder}" for source in (UNIFORM, ACTIVATIONS, DECODERS) for encoder in (TIED, INDEPENDENT))


def covariance(batches: Iterable[Float[Tensor, "batch d"]]) -> Float[Tensor, "d d"]:
    """Covariance of activations about their mean, in one pass, sums in float64.

    Raises InputError without batches, and for activations that are not finite.
    """
    n, total, products, origin = 0, 0.0, 0.0, None
    for x in batches:
        x = x.detach().to("cpu", torch.float64)
        origin = x.mean(0) if origin is None else origin  # near the mean, the sums of squares lose no digits
        x = x - origin
        n, total, products = n + len(x), total + x.sum(0), products + x.T @ x
    if not n:
        raise InputError("there are no activations to take a covariance of")
    if not products.isfinite().all():
        raise InputError("an activation to take a covariance of is not finite")
    return products / n - torch.outer(total, total) / n**2


def second_moment(rows: Float[Tensor, "n d"]) -> Float[Tensor, "d d"]:
    """Mean of the outer products of the rows, each at unit length: about zero, since directions have no mean.

    Raises InputError for no rows, and for such as are not finite.
    """
    if not len(rows) or not rows.isfinite().all():
        raise InputError(f"a second moment needs finite rows, at least one, not {tuple(rows.shape)}")
    rows = torch.nn.functional.normalize(rows.detach().to("cpu", torch.float64), dim=-1)
    return rows.T @ rows / len(rows)


def root(covariance: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
    """The symmetric root of a covariance, which is the same on every machine; eigenvalues below zero count as zero."""
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp_min(0).sqrt()) @ vectors.T


def directions(n: int, spread: Float[Tensor, "d d"], generator: torch.Generator) -> Float[Tensor, "n d"]:
    """``n`` unit vectors, drawn from the normal distribution N(0, ``spread``) and then scaled.

    Raises InputError where ``spread`` is zero.
    """
    spread = spread.to(torch.float64)
    if not torch.linalg.eigvalsh(spread)[-1] > 1e-20:  # below, rows could not be scaled to length one
        raise InputError("directions cannot be drawn with a covariance of zero")
    # Not kept under a name: of wide dictionaries these are gigabytes.
    rows = torch.randn(n, len(spread), dtype=torch.float64, generator=generator) @ root(spread)
    return torch.nn.functional.normalize(rows)


def random_directions(n: int, d: int, seed: int) -> Float[Tensor, "n d"]:
    """``n`` independent directions, uniform on the unit sphere."""
    rows = torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return rows / rows.norm(dim=1, keepdim=True)


def null_stacks(
    shape: tuple[int, int],
    spreads: Mapping[str, Float[Tensor, "d d"]],
    seed: int,
    keep: Collection[str] = (UNIFORM, ACTIVATIONS, DECODERS),
) -> dict[str, tuple[Float[Tensor, "S n d"], Float[Tensor, "S n d"]]]:
    """Encoders and decoders of a stack of ``shape`` (S, n) for each of ``KINDS`` that ``spreads`` has the source of.

    ``spreads`` maps a source (``ACTIVATIONS``, ``DECODERS``) to its matrix; ``UNIFORM`` is always there.
    Sources that are not in ``keep`` are left out, and the others are what they are beside them.
    """
    S, n = shape
    d = len(next(iter(spreads.values())))
    generator = torch.Generator().manual_seed(seed)
    stacks = {}
    for source, spread in {UNIFORM: torch.eye(d), **spreads}.items():
        if source not in keep:
            torch.randn(2 * S * n, d, dtype=torch.float64, generator=generator)  # the draws of ``directions``
            continue
        decoders, encoders = directions(2 * S * n, spread, generator).view(2, S, n, d)
        stacks[f"{source}_{TIED}"] = decoders, decoders
        stacks[f"{source}_{INDEPENDENT}"] = encoders, decoders
    return stacks
