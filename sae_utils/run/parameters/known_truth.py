"""Parameters of notebook 10: worlds whose features are known, and the dictionaries that are trained on them."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from sae_utils.run.parameters.rules import (
    BatchSize,
    Count,
    DataSeed,
    EvalTokens,
    K,
    Latents,
    LayerParameters,
    ListOf,
    Natural,
    Tokens,
    value,
)


class KnownTruthParameters(LayerParameters):
    """Parameters of ``10_known_truth``: worlds and their dictionaries, and the seeds of ``01_seed_divergence``."""

    n_atoms: int = value(64, "atoms of a world; a multiple of 4", ge=16)
    n_dimensions: int = value(24, "dimensions of a world", ge=8)
    atom_l0: Annotated[float, Field(ge=1.0)] = value(3.0, "features of a world that are active on a token, on average")
    world_k: Count = value(3, "active latents of the worlds' dictionaries")
    world_ks: ListOf[Count] = value([2, 6], "other numbers of them, at twice as many latents as atoms")
    togethers: ListOf[Annotated[float, Field(ge=0.01, le=0.99)]] = value(
        [0.8], "where one atom of a pair fires, shares of tokens on which both do, beside 0.5"
    )
    other_dimensions: ListOf[Annotated[int, Field(ge=8)]] = value([16], "other dimensions of a world")
    many_atoms: Natural = value(0, "atoms of a larger world, in a quarter as many dimensions; 0: none")
    n_world_seeds: int = value(3, "dictionaries of each kind on a world; at least 3", ge=3)
    n_world_tokens: Tokens = value(20_000, "tokens that each of those is trained on")
    n_members: int = value(3, "members J of an ensemble, each with half as many latents as atoms", ge=2)
    n_ensembles: int = value(2, "ensembles of each kind", ge=2)
    world_seed: Natural = value(1, "of the worlds' atoms and tokens; rules were written on seed 0")
    n_latents: Latents = value(128, "latents in each dictionary of notebook 01")
    k: K = value(8, "latents that are active on a token in those")
    n_seeds: int = value(5, "dictionaries of notebook 01; at least 3", ge=3)
    n_tokens: Tokens = value(400_000, "tokens that each of those is trained on")
    n_eval_tokens: EvalTokens = value(40_000, "held-out tokens")
    batch_size: BatchSize = 128
    data_seed: DataSeed = 0

    @model_validator(mode="after")
    def _worlds_are_possible(self) -> Self:
        self._require(self.n_atoms % 4 == 0, "n_atoms", "a multiple of 4")
        narrow = self.n_atoms // 2
        self._require(max([self.world_k, *self.world_ks]) <= narrow, "world_ks", f"at most n_atoms / 2 = {narrow}")
        self._require(self.atom_l0 < self.n_atoms / 8, "atom_l0", f"below n_atoms / 8 = {self.n_atoms / 8:g}")
        fits = self.many_atoms % 4 == 0 and (not self.many_atoms or self.many_atoms >= 64)
        self._require(fits, "many_atoms", "0, or a multiple of 4 from 64 on")
        return self
