"""Rules by which atoms fire: which of them are active on a token, and with which coefficients.

Each rule gives the coefficients [tokens, n_atoms] of tokens that are drawn independently, and says which atoms belong
together. An active atom has the magnitude 1 + spread |N(0, 1)|, at least 1.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from sae_utils.errors import InputError

SPREAD = 0.25  # of magnitudes

Families = tuple[tuple[int, ...], ...]  # atoms that belong together, family by family


def magnitudes(fires: Bool[Tensor, "tokens n"], generator: Generator) -> Float[Tensor, "tokens n"]:
    """1 + SPREAD |N(0, 1)| where an atom fires, else 0."""
    return fires * (1 + SPREAD * torch.randn(fires.shape, generator=generator).abs())


def check_probabilities(probability: Float[Tensor, " n"]) -> None:
    """Raises InputError unless every probability is above 0 and below 1."""
    if not ((probability > 0) & (probability < 1)).all():
        least, most = float(probability.min()), float(probability.max())
        raise InputError(f"firing probabilities {least:.3g} to {most:.3g} must be above 0 and below 1")


def zipf(n: int, l0: float, exponent: float = 0.8) -> Float[Tensor, " n"]:
    """Probabilities proportional to rank ** -exponent, with the sum ``l0``."""
    weights = torch.arange(1, n + 1, dtype=torch.float64) ** -exponent
    return (l0 * weights / weights.sum()).float()


class Rule(ABC):
    """What all rules have. ``families`` are the atoms that belong together: none, unless a rule says so."""

    probability: Float[Tensor, " n"]
    families: Families = ()

    @abstractmethod
    def coefficients(self, n_tokens: int, generator: Generator) -> Float[Tensor, "tokens n"]:
        """Coefficients of ``n_tokens`` tokens."""


@dataclass(frozen=True)
class Independent(Rule):
    """Each atom fires by itself."""

    probability: Float[Tensor, " n"]

    def __post_init__(self):
        check_probabilities(self.probability)

    def coefficients(self, n_tokens: int, generator: Generator) -> Float[Tensor, "tokens n"]:
        """Coefficients of ``n_tokens`` tokens."""
        fires = torch.rand(n_tokens, len(self.probability), generator=generator) < self.probability
        return magnitudes(fires, generator)


@dataclass(frozen=True)
class Hierarchy(Rule):
    """Parents, each followed by its children; at most one of these fires on a token, and only with its parent."""

    parent: float  # probability of each parent
    n_parents: int
    n_children: int  # of each parent
    child: float = 0.8  # probability that one of its children fires with a parent

    def __post_init__(self):
        check_probabilities(torch.tensor([self.parent, self.child]))

    @property
    def probability(self) -> Float[Tensor, " n"]:
        """Of each atom."""
        family = [1.0] + self.n_children * [self.child / self.n_children]
        return self.parent * torch.tensor(self.n_parents * family)

    @property
    def families(self) -> Families:
        """Each child with its parent."""
        size = 1 + self.n_children
        return tuple((parent, parent + c) for parent in range(0, self.n_parents * size, size) for c in range(1, size))

    def coefficients(self, n_tokens: int, generator: Generator) -> Float[Tensor, "tokens n"]:
        """Coefficients of ``n_tokens`` tokens."""
        shape = n_tokens, self.n_parents
        parents = torch.rand(shape, generator=generator) < self.parent
        children = parents & (torch.rand(shape, generator=generator) < self.child)
        chosen = torch.randint(self.n_children, shape, generator=generator)
        fires = torch.zeros(*shape, 1 + self.n_children, dtype=torch.bool)
        fires[..., 0] = parents
        fires[..., 1:] = children[..., None] & (torch.arange(self.n_children) == chosen[..., None])
        return magnitudes(fires.flatten(1), generator)


@dataclass(frozen=True)
class Pairs(Rule):
    """Atoms 2i and 2i + 1 fire together on a share of the tokens on which one of them fires."""

    probability: Float[Tensor, " n"]  # the same for both of a pair
    together: float = 0.5  # probability that one fires where the other does

    def __post_init__(self):
        check_probabilities(self.probability)
        if len(self.probability) % 2 or not torch.equal(self.probability[::2], self.probability[1::2]):
            raise InputError("pairs need an even number of atoms, and one probability for both of a pair")

    @property
    def families(self) -> Families:
        """The pairs."""
        return tuple((i, i + 1) for i in range(0, len(self.probability), 2))

    def coefficients(self, n_tokens: int, generator: Generator) -> Float[Tensor, "tokens n"]:
        """Coefficients of ``n_tokens`` tokens."""
        p = self.probability[::2]
        drawn = torch.rand(n_tokens, len(p), generator=generator)
        both, alone = p * self.together, p * (1 - self.together)
        first = drawn < both + alone
        second = (drawn < both) | ((drawn >= both + alone) & (drawn < both + 2 * alone))
        return magnitudes(torch.stack([first, second], dim=-1).flatten(1), generator)


@dataclass(frozen=True)
class Copula(Rule):
    """Atoms fire where correlated normal variables exceed a threshold of their own (a Gaussian copula).

    The correlation is ``factor @ factor.T`` off the diagonal: rows of ``factor`` [n, rank] are shorter than 1. The same
    generator is in SynthSAEBench (arXiv 2602.14687).
    """

    probability: Float[Tensor, " n"]
    factor: Float[Tensor, "n rank"]

    def __post_init__(self):
        check_probabilities(self.probability)
        if not (self.factor.square().sum(1) < 1).all():
            raise InputError("rows of a copula's factor must be shorter than 1")

    def coefficients(self, n_tokens: int, generator: Generator) -> Float[Tensor, "tokens n"]:
        """Coefficients of ``n_tokens`` tokens."""
        n, rank = self.factor.shape
        own = (1 - self.factor.square().sum(1)).sqrt()
        normal = torch.randn(n_tokens, rank, generator=generator) @ self.factor.T
        normal += own * torch.randn(n_tokens, n, generator=generator)
        threshold = torch.special.ndtri(1 - self.probability.double()).float()
        return magnitudes(normal > threshold, generator)


@dataclass(frozen=True)
class Circles(Rule):
    """Features with an angle: atoms 2i and 2i + 1 span a plane in which an active feature may point anywhere."""

    probability: Float[Tensor, " circles"]

    def __post_init__(self):
        check_probabilities(self.probability)

    @property
    def families(self) -> Families:
        """The two atoms of each plane."""
        return tuple((2 * i, 2 * i + 1) for i in range(len(self.probability)))

    def coefficients(self, n_tokens: int, generator: Generator) -> Float[Tensor, "tokens n"]:
        """Coefficients of ``n_tokens`` tokens: a cosine and a sine, of either sign."""
        radius = Independent(self.probability).coefficients(n_tokens, generator)
        angle = 2 * torch.pi * torch.rand(radius.shape, generator=generator)
        return torch.stack([radius * angle.cos(), radius * angle.sin()], dim=-1).flatten(1)
