"""Parameters of notebooks 06 and 07: ensembles, labelled texts, and probes on them."""

from typing import Annotated, Self

from pydantic import model_validator

from sae_utils.run.parameters.rules import (
    Architecture,
    BatchSize,
    Context,
    Count,
    DataSeed,
    Dataset,
    K,
    LayerParameters,
    ListOf,
    OneRate,
    Site,
    TwentyOrMore,
    TwoOrMore,
    matching,
    value,
)


class ConceptParameters(LayerParameters):
    """What ``06_concept_detection`` and ``07_spurious_correlations`` take: the ensembles of 05, and labelled texts."""

    site: Site = "resid_post"
    context: Context = value(0, "tokens in a row of text for the dictionaries; 0 is the model's own, at most 2048")
    architecture: Architecture = "topk"
    k: K = value(8, "latents that are active on a token, in every member and dictionary but those of total L0")
    data_seed: DataSeed = 0
    n_members: TwoOrMore = value(4, "members of an ensemble; an expanded SAE is so many times as wide as a member")
    n_ensembles: TwoOrMore = value(2, "of each kind, which share no member; at least 2")
    member_latents: Count = value(64, "latents in each member")
    member_tokens: Count = value(50_000, "tokens that each member, and an expanded SAE, is trained on")
    member_batch_size: BatchSize = value(128, "tokens in a training step of those")
    one_rate: OneRate = True
    dataset: Dataset = value(
        "", "labelled texts: a Hugging Face name, or a .csv or .jsonl file; empty is held-out Python source"
    )
    text_column: Annotated[str, matching(r"\S.*", "the name of a column")] = value("text", "of that data set")
    window: TwoOrMore = value(64, "tokens of a labelled text")

    @model_validator(mode="after")
    def _window_fits(self) -> Self:
        fits = not self.context or self.window <= self.context
        self._require(fits, "window", f"2 to context = {self.context}")
        return self


class ConceptDetectionParameters(ConceptParameters):
    """Parameters of ``06_concept_detection``, whose claims are about one latent and several."""

    label_columns: ListOf[Annotated[str, matching(r"\S.*", "a column, column=value, or column=one/other")]] = value(
        ["label"], "of that data set: column, column=value, or column=one/other"
    )
    n_train: TwentyOrMore = value(
        200, "labelled texts of a task that probes are fitted on, at most; half of them have the concept"
    )
    n_test: TwentyOrMore = value(120, "labelled texts of a task that probes are scored on, at most")
    probe_ks: ListOf[Count] = value([1, 2, 5], "latents that a probe sees; 1 among them")

    @model_validator(mode="after")
    def _claims_can_be_judged(self) -> Self:
        several = 1 in self.probe_ks and len(self.probe_ks) > 1
        self._require(several, "probe_ks", "a list of 1 and at least one more")
        return self


class SpuriousCorrelationParameters(ConceptParameters):
    """Parameters of ``07_spurious_correlations``."""

    attribute_pairs: ListOf[Annotated[str, matching(r"\S.* & \S.*", "two concepts with ' & ' between them")]] = value(
        ["test & sympy_or_pandas", "docstring & scipy", "test & class"], 'joined by " & "'
    )
    n_train: TwentyOrMore = value(
        400, "labelled texts of a pair that probes are fitted on, at most; as many of each combination"
    )
    n_test: TwentyOrMore = value(400, "labelled texts of a pair that probes are scored on, at most")
    n_ablated: ListOf[Count] = value([1, 2, 5, 10, 20], "latents that are set to zero")
