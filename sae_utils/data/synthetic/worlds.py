"""Worlds: atoms in superposition, a rule by which they fire, and noise."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor
from torch.nn.functional import normalize

from sae_utils.data.activations import TensorSource
from sae_utils.data.activations.source import check_whole
from sae_utils.data.synthetic.firing import Circles, Copula, Hierarchy, Independent, Pairs, Rule, zipf
from sae_utils.errors import InputError

NOISE = 0.05  # standard deviation in each dimension
PART = 25_000  # tokens that are drawn together
# Added to the seeds of atoms and of tokens: a dictionary's first rows are drawn from its own small seed, and must not
# be the atoms. Both stay below 2**32, for torch's generator ignores what is above.
ATOMS, TOKENS = 10**9, 2 * 10**9


@dataclass(frozen=True)
class Sample:
    """Tokens of a world: what an SAE sees, and what is true of it."""

    x: Float[Tensor, "tokens d"]
    coefficients: Float[Tensor, "tokens n"]


@dataclass(frozen=True)
class World:
    """x = coefficients @ atoms + normal @ nuisance + noise, token by token.

    ``atoms`` are unit rows. ``nuisance`` [rank, d] is dense: it is on every token and no atom; it has no rows where
    there is none.
    """

    name: str
    atoms: Float[Tensor, "n d"]
    rule: Rule
    nuisance: Float[Tensor, "rank d"]
    noise: float = NOISE

    def sample(self, n_tokens: int, seed: int) -> Sample:
        """Tokens and their truth; another seed, other tokens of the same world."""
        check_whole("n_tokens", n_tokens, 1)
        generator = Generator().manual_seed(TOKENS + seed)
        parts, coefficients = [], []
        for start in range(0, n_tokens, PART):
            n = min(PART, n_tokens - start)
            active = self.rule.coefficients(n, generator)
            x = active @ self.atoms + torch.randn(n, len(self.nuisance), generator=generator) @ self.nuisance
            parts.append(x + self.noise * torch.randn(x.shape, generator=generator))
            coefficients.append(active)
        return Sample(torch.cat(parts), torch.cat(coefficients))

    def source(self, n_tokens: int, seed: int) -> TensorSource:
        """Tokens as a source of activations, whose hook point is the name of the world."""
        return TensorSource({self.name: self.sample(n_tokens, seed).x})


KINDS = ("independent", "zipf", "hierarchy", "pairs", "circles", "copula")


@dataclass(frozen=True)
class WorldConfig:
    """What a world is. Raises InputError for an unknown kind and for impossible sizes."""

    kind: str
    d: int = 64  # dimensions
    n_atoms: int = 192
    l0: float = 4.0  # features that are active on a token, on average: atoms, or planes of circles
    together: float = 0.5  # pairs: probability that one atom of a pair fires where the other does
    seed: int = 0

    def __post_init__(self):
        if self.kind not in KINDS:
            raise InputError(f"kind={self.kind!r} of a world is unknown; allowed: {', '.join(KINDS)}")
        for name, least in (("d", 2), ("n_atoms", 4), ("seed", 0)):
            check_whole(name, getattr(self, name), least)
        if self.n_atoms % 4:
            raise InputError(f"n_atoms={self.n_atoms} must be a multiple of 4")
        if not 0 < self.l0 < self.n_atoms / 2:
            raise InputError(f"l0={self.l0} must be above 0 and below n_atoms / 2 = {self.n_atoms / 2:g}")
        if not 0 < self.together < 1:
            raise InputError(f"together={self.together} must be above 0 and below 1")

    @property
    def name(self) -> str:
        """The hook point of its activations; two worlds with one name differ in their seed or l0 alone."""
        together = f", together {self.together:g}" if self.kind == "pairs" else ""
        return f"{self.kind}, {self.n_atoms} atoms in {self.d}{together}"

    def world(self) -> World:
        """The world, with random atoms. ``copula`` has a dense nuisance of rank 4 with the variance of two atoms."""
        generator = Generator().manual_seed(ATOMS + self.seed)
        atoms = normalize(torch.randn(self.n_atoms, self.d, generator=generator), dim=1)
        rule = self._rule(generator)
        rank = 4 if self.kind == "copula" else 0
        nuisance = normalize(torch.randn(rank, self.d, generator=generator), dim=1) * (2 / max(rank, 1)) ** 0.5
        return World(self.name, atoms, rule, nuisance)

    def _rule(self, generator: Generator) -> Rule:
        n = self.n_atoms
        equal = torch.full((n,), self.l0 / n)
        match self.kind:
            case "independent":
                return Independent(equal)
            case "zipf":
                return Independent(zipf(n, self.l0))
            case "hierarchy":
                n_parents, child = n // 4, 0.8
                return Hierarchy(self.l0 / (n_parents * (1 + child)), n_parents, 3, child)
            case "pairs":
                return Pairs(equal, self.together)
            case "circles":
                return Circles(torch.full((n // 2,), self.l0 / (n // 2)))
            case "copula":
                factor = torch.randn(n, 8, generator=generator)
                return Copula(equal, 0.8 * normalize(factor, dim=1))
