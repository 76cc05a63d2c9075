"""Parameters of notebook 11: which methods of training are compared, and on what."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from sae_utils.run.parameters.rules import (
    BatchSize,
    Count,
    DataSeed,
    EvalTokens,
    Latents,
    LayerParameters,
    ListOf,
    Natural,
    Saes,
    SourceTokens,
    Tokens,
    each_once,
    increasing,
    value,
)

ALL = "all"
METHODS = (
    *("topk", "batch_topk", "relu", "jump_relu", "gated"),
    *("matryoshka", "matryoshka_topk", "ortsae", "aligned", "weight_decay", "free_norms", "ordered"),
    *("archetypal", "archetypal_own", "topk_longer", "consensus"),
)
Positive = Annotated[float, Field(ge=1e-3, le=1e3)]


class ReproducibleParameters(LayerParameters):
    """Parameters of ``11_most_reproducible``: a small grid of sparsity for each method, and two worlds."""

    methods: Annotated[list[Literal[ALL, *METHODS]], AfterValidator(each_once)] = value(
        [ALL], "to train: all, or some, topk among them; with saes none at all is allowed, too"
    )
    n_latents: Latents = 64
    ks: Annotated[ListOf[Count], increasing(2)] = value([4, 8], "numbers of active latents, of methods that have k")
    penalties: Annotated[ListOf[Positive], increasing(2)] = value(
        [0.6, 0.9, 1.5], "sparsity coefficients of the others, as multiples of a first guess"
    )
    at_l0: Annotated[float, Field(ge=1.0)] = value(5.0, "L0 that methods are compared at, between the ends of ks")
    n_seeds: int = value(3, "dictionaries at each point, which differ only in their seed; at least 3", ge=3)
    n_tokens: Tokens = 6000
    n_source_tokens: SourceTokens = 0
    n_eval_tokens: EvalTokens = 3000
    batch_size: BatchSize = 128
    n_atoms: int = value(32, "atoms of a world, half as many as latents on it; a multiple of 4", ge=16)
    n_dimensions: int = value(16, "dimensions of a world", ge=8)
    atom_l0: Annotated[float, Field(ge=1.0)] = value(3.0, "features of a world that are active on a token, on average")
    n_world_tokens: Tokens = value(3000, "tokens that each dictionary on a world is trained on")
    world_seed: Natural = value(1, "of the worlds' atoms and tokens")
    data_seed: DataSeed = 0
    saes: Saes = value(
        [], "SAEs to measure, too, several seeds of one kind: folders, files, or owner/repository/folder"
    )

    @property
    def chosen(self) -> tuple[str, ...]:
        """The methods that are trained, in the order of METHODS."""
        return chosen_methods(self.methods)

    @model_validator(mode="after")
    def _can_be_compared(self) -> Self:
        least = "a list with 'topk' or 'all' in it: what others are compared with, and are made of"
        self._require(not self.chosen and bool(self.saes) or "topk" in self.chosen, "methods", least)
        # At its k a method may have a little more active latents than k, or less: then nothing is known there.
        inside = self.ks[0] < self.at_l0 < self.ks[-1]
        self._require(inside, "at_l0", f"between the ends of ks = {self.ks}")
        self._require(self.n_atoms % 4 == 0, "n_atoms", "a multiple of 4")
        self._require(self.atom_l0 < self.n_atoms / 8, "atom_l0", f"below n_atoms / 8 = {self.n_atoms / 8:g}")
        least = self.batch_size
        self._require(self.n_world_tokens >= least, "n_world_tokens", f"batch_size = {least} or more")
        enough = max(self.n_tokens, self.n_source_tokens)
        self._require(self.n_latents <= enough, "n_latents", f"at most the {enough} tokens that its centroids are of")
        most = self.n_world_tokens / 2
        self._require(self.n_atoms <= most, "n_atoms", f"at most n_world_tokens / 2 = {most:g}")
        return self


def chosen_methods(methods: list[str]) -> tuple[str, ...]:
    """Those that a list names, which may say ``all``."""
    return tuple(name for name in METHODS if name in methods or ALL in methods)
