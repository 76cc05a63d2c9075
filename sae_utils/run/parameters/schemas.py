"""The parameters of each notebook: a model each, with the tiny preset's values as defaults.

A new notebook adds a model here and an entry in ``NOTEBOOKS``, and ``parameters.parameters_cell`` renders its cell. The
same name means the same in every notebook, unless its comment says otherwise.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sae_utils.run.parameters.concepts import ConceptDetectionParameters, SpuriousCorrelationParameters
from sae_utils.run.parameters.known_truth import KnownTruthParameters
from sae_utils.run.parameters.reproducible import ReproducibleParameters
from sae_utils.run.parameters.rules import (
    ARCHITECTURES,
    Architecture,
    BatchSize,
    Count,
    DataSeed,
    EvalTokens,
    K,
    Latents,
    LayerParameters,
    ListOf,
    Natural,
    OneRate,
    Parameters,
    Saes,
    Site,
    SourceTokens,
    Tokens,
    TwoOrMore,
    Widths,
    increasing,
    value,
)


class LanguageModelParameters(Parameters):
    """Parameters of ``00_language_model``."""

    n_eval_rows: Count = value(48, "rows of held-out text to measure on")
    n_ngram_tokens: Count = value(1_000_000, "training tokens that the n-gram models are counted on")
    batch_size: Count = value(4096, "tokens in a forward pass")


class SeedParameters(LayerParameters):
    """The dictionaries of ``01_seed_divergence``: they differ in their seed, and are evaluated on held-out tokens."""

    architecture: Architecture = "topk"
    n_latents: Latents = 128
    k: K = 8
    n_seeds: TwoOrMore
    n_tokens: Tokens = 400_000
    n_eval_tokens: EvalTokens = 40_000
    batch_size: BatchSize = 128
    data_seed: DataSeed = 0


class SeedDivergenceParameters(SeedParameters):
    """Parameters of ``01_seed_divergence``, whose fitted laws need seven dictionaries (``membership.MIN_SEEDS``).

    With ``saes``, here and in families of widths, nothing is trained, and what only training needs is ignored.
    """

    n_seeds: int = value(5, "dictionaries, which differ only in their seed; at least 5", ge=5)
    saes: Saes = []


class SweepParameters(LayerParameters):
    """Parameters of ``02_what_moves_overlap``: a centre, and the values that one property at a time takes."""

    layer: Natural = value(3, "transformer block at the centre of the sweeps, from 0")
    site: Site = value("mlp_out", "where in the block, at the centre: mlp_out, resid_pre, resid_post")
    architecture: Architecture = value("topk", "at the centre: topk, batch_topk")
    n_latents: Latents = value(64, "latents in each dictionary, at the centre")
    k: K = value(8, "latents that are active on a token, at the centre")
    widths: Widths = value([32, 64], "numbers of latents")
    ks: Annotated[ListOf[Count], increasing(2)] = value([4, 8], "numbers of active latents")
    token_counts: ListOf[Count] = value(
        [6000, 12_000, 25_000], "tokens after which the centre is looked at, before the end"
    )
    layers: Annotated[ListOf[Natural], increasing(3)] = value([0, 3, 5], "transformer blocks")
    sites: ListOf[Site] = value(["mlp_out", "resid_post"], "places in the centre's block")
    architectures: ListOf[Literal[*ARCHITECTURES]] = value(
        ["topk", "batch_topk", "jump_relu", "relu", "gated"], "compared at equal L0"
    )
    architecture_width: TwoOrMore = value(32, "latents of the dictionaries whose architectures are compared")
    architecture_k: Count = value(8, "the L0 that these are compared at")
    # Three, for intervals leave one out.
    n_seeds: int = value(3, "dictionaries at each point, which differ only in their seed; at least 3", ge=3)
    n_tokens: Tokens = 50_000
    n_source_tokens: SourceTokens = 0
    n_eval_tokens: EvalTokens = 10_000
    batch_size: BatchSize = 128
    data_seed: DataSeed = 0

    @model_validator(mode="after")
    def _sweeps_hold_what_claims_need(self) -> Self:
        for name, needed in (("sites", {"mlp_out", "resid_post"}), ("architectures", {"topk", "relu", "gated"})):
            missing = sorted(needed - set(getattr(self, name)))
            self._require(not missing, name, f"a list with {missing[:1]} in it: a claim is about it")
        last = self.n_tokens - self.batch_size
        ordered = self.token_counts == sorted(self.token_counts) and self.token_counts[-1] <= last
        self._require(ordered, "token_counts", f"from small to large, and at most n_tokens - batch_size = {last}")
        least = self.architecture_k
        self._require(self.architecture_width > least, "architecture_width", f"above architecture_k = {least}")
        # What a seed is: dictionaries that see a quarter of the source's tokens.
        quarter = max(self.n_tokens, self.n_source_tokens) // 4
        self._require(self.batch_size <= quarter, "batch_size", f"at most {quarter}, a quarter of the source's tokens")
        return self


class FamilyParameters(LayerParameters):
    """A family of ReLU dictionaries, as paper B's, and one of TopK, on the first tokens of a source."""

    saes: Saes = []
    site: Site = "resid_post"
    widths: Widths
    k: K = value(8, "latents that are active on a token: TopK exactly, ReLU by the coefficient that a search finds")
    n_seeds: TwoOrMore
    n_tokens: Tokens = 100_000
    n_source_tokens: SourceTokens = 0
    n_eval_tokens: EvalTokens = 40_000
    batch_size: BatchSize = 128
    data_seed: DataSeed = 0


class StitchingParameters(FamilyParameters):
    """Parameters of ``03_stitching``."""

    widths: Widths = value([32, 64, 128], "latents of the ReLU dictionaries, from narrow to wide")
    topk_widths: Widths = value([32, 64], "latents of the TopK dictionaries, from narrow to wide")
    # Three, for a latent is compared with dictionaries of two other seeds.
    n_seeds: int = value(3, "dictionaries of each width, which differ only in their seed; at least 3", ge=3)

    @model_validator(mode="after")
    def _relu_can_have_this_l0(self) -> Self:
        self._require(self.k < self.widths[0], "k", f"below the narrowest of widths = {self.widths[0]}: an L0 of ReLU")
        return self


class MetaSaeParameters(FamilyParameters):
    """Parameters of ``04_meta_saes``: the ReLU family of ``03_stitching``, and meta-SAEs of the widest."""

    widths: Widths = value([32, 64, 128], "latents of the dictionaries, narrow to wide; meta-SAEs are of the widest")
    n_seeds: TwoOrMore = value(
        3, "dictionaries of each width, which differ only in their seed; with saes, meta-SAEs; at least 2"
    )
    n_meta: Count = value(32, "meta-latents in the meta-SAEs that are looked at closely")
    meta_k: Count = value(4, "meta-latents that are active on a decoder row, on average")
    meta_widths: ListOf[TwoOrMore] = value([16, 32, 64], "other numbers of meta-latents, with meta_k")
    meta_ks: ListOf[Count] = value([2, 4, 8], "other numbers of active meta-latents, with n_meta")
    n_meta_steps: Count = value(100, "training steps of a meta-SAE")
    meta_batch_size: TwoOrMore = value(64, "decoder rows in a step")
    n_bench_steps: Count = value(150, "training steps of the meta-SAEs with SAEBench's settings; 1500 there")
    split_cosine: Annotated[float, Field(ge=0.0, le=1.0)] = value(
        0.4, "cosine from which a latent counts as split from a smaller dictionary's latent"
    )
    n_edited: Count = value(2, "latents of each dictionary that are edited")
    n_edit_places: Count = value(4, "places in the text where an edited latent fires")
    edit_context: TwoOrMore = value(64, "tokens in a row of text for the edits")

    @model_validator(mode="after")
    def _sizes_of_meta_saes_fit(self) -> Self:
        if not self.saes:
            self.check_sizes(self.widths)
        return self

    def check_sizes(self, widths: list[int]) -> None:
        """Raises InputError for meta-SAEs too large for dictionaries of these widths, which ``saes`` tell once read."""
        beside = "the widest but one of widths: meta-latents are compared with the latents of a smaller dictionary"
        self._require(self.n_meta <= widths[-2], "n_meta", f"at most {widths[-2]}, {beside}")
        sizes = [self.n_meta, *self.meta_widths]
        self._require(max(sizes) < widths[-1], "meta_widths", f"below {widths[-1]}, the widest of widths")
        for name, largest in (("meta_k", self.meta_k), ("meta_ks", max(self.meta_ks))):
            self._require(largest <= min(sizes), name, f"at most {min(sizes)}, the fewest meta-latents")


class BaggingAndBoostingParameters(LayerParameters):
    """Parameters of ``05_bagging_and_boosting``: members of ensembles, and what they are compared with."""

    k: K = value(8, "latents that are active on a token, in every TopK member; the L0 of a ReLU and JumpReLU one")
    n_eval_tokens: EvalTokens = value(20_000, "held-out tokens: half to fit weights on, half for evaluation")
    data_seed: DataSeed = 0
    n_members: TwoOrMore = value(3, "members J of an ensemble; an expanded SAE is so many times as wide as a member")
    # Three, for the jackknife.
    n_ensembles: int = value(3, "ensembles of each kind, for the intervals; at least 3", ge=3)
    member_latents: Count = value(64, "latents in each TopK member; at least k * n_members")
    member_tokens: Count = value(50_000, "tokens that each TopK member, and what it is compared with, is trained on")
    other_latents: Count = value(48, "latents in each ReLU and JumpReLU member")
    other_tokens: Count = value(50_000, "tokens that each of those, and what it is compared with, is trained on")
    member_batch_size: BatchSize = value(128, "tokens in a training step of all of them")
    one_rate: OneRate = True

    @property
    def batch_size(self) -> int:
        """Tokens in a batch, which limits of other parameters are told by."""
        return self.member_batch_size

    @model_validator(mode="after")
    def _members_fit(self) -> Self:
        least = self.k * self.n_members
        self._require(self.member_latents >= least, "member_latents", f"k * n_members = {least} or more")
        self._require(self.other_latents > self.k, "other_latents", f"above k = {self.k}")
        fits = self.other_tokens >= self.member_batch_size
        self._require(fits, "other_tokens", f"member_batch_size = {self.member_batch_size} or more")
        return self


class SharedAndOrphanParameters(SeedParameters):
    """Parameters of ``08_shared_and_orphan``, which leaves out two dictionaries (``shared_or_orphan.MIN_SEEDS``)."""

    n_seeds: int = value(5, "dictionaries, which differ only in their seed; at least 4", ge=4)
    n_eval_tokens: EvalTokens = value(40_000, "held-out tokens; rules are chosen on one half and scored on the other")
    data_seed: DataSeed = value(0, "order of the training tokens, and of what is drawn here")
    n_shown: Count = value(3, "latents of each group in the table of contexts")


class ExplorerParameters(SeedParameters):
    """Parameters of ``09_explorer``: the dictionaries of ``01_seed_divergence``, a smaller one and a meta-SAE."""

    n_seeds: TwoOrMore = value(5, "dictionaries, which differ only in their seed; the first is explored")
    n_smaller: Count = value(32, "latents in the smaller dictionary beside which a latent is novel or a reconstruction")
    n_meta: Count = value(32, "meta-latents")
    meta_k: Count = value(4, "meta-latents in a decoder row, on average")
    n_eval_tokens: EvalTokens = value(40_000, "held-out tokens that the pages are made from")
    n_contexts: Count = value(4, "strongest contexts shown of a latent")

    @model_validator(mode="after")
    def _smaller_is_smaller(self) -> Self:
        self._require(self.n_smaller < self.n_latents, "n_smaller", f"below n_latents = {self.n_latents}")
        return self


NOTEBOOKS: dict[str, type[Parameters]] = {
    "00_language_model": LanguageModelParameters,
    "01_seed_divergence": SeedDivergenceParameters,
    "02_what_moves_overlap": SweepParameters,
    "03_stitching": StitchingParameters,
    "04_meta_saes": MetaSaeParameters,
    "05_bagging_and_boosting": BaggingAndBoostingParameters,
    "06_concept_detection": ConceptDetectionParameters,
    "07_spurious_correlations": SpuriousCorrelationParameters,
    "08_shared_and_orphan": SharedAndOrphanParameters,
    "09_explorer": ExplorerParameters,
    "10_known_truth": KnownTruthParameters,
    "11_most_reproducible": ReproducibleParameters,
}
