"""The parameters of each notebook: one frozen dataclass each, which refuses what cannot be.

A new notebook adds a dataclass here and an entry in ``NOTEBOOKS``; a new name adds an entry in ``rules.RULES``. The
same name means the same thing in every notebook.
"""

from dataclasses import dataclass, fields

from sae_utils.errors import InputError
from sae_utils.run.rules import check_batches, check_corpus, check_device, check_dictionary, check_model, check_value


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """What every notebook takes. Raises InputError, in one line, for the first value that cannot be."""

    model: str
    corpus: str
    context: int
    device: str
    dtype: str
    results_dir: str
    preset: str

    def __post_init__(self):
        for field in fields(self):
            check_value(field.name, field.type, getattr(self, field.name))
        check_corpus(self.corpus)
        check_model(self.model, self.context, max(getattr(self, "layers", [getattr(self, "layer", 0)])))
        check_dictionary(self)
        check_batches(self)
        check_device(self.device)


@dataclass(frozen=True, kw_only=True)
class LanguageModelParameters(Parameters):
    """Parameters of ``00_language_model``."""

    n_eval_rows: int
    n_ngram_tokens: int
    batch_size: int


@dataclass(frozen=True, kw_only=True)
class LayerParameters(Parameters):
    """What every notebook with dictionaries takes: where they are in the model, and how sparse."""

    layer: int
    site: str
    k: int
    data_seed: int
    base_lr: float

    def _check_beside(self, name: str, low: int, high: int) -> None:
        """Refuse a value out of bounds that other parameters set; from 10^9 on, ``high`` is no bound."""
        value = getattr(self, name)
        if not low <= value <= high:
            allowed = f"{low} or more" if high >= 10**9 else f"{low} to {high}"
            raise InputError(f"parameter {name} = {value} must be {allowed} beside the other parameters")


@dataclass(frozen=True, kw_only=True)
class SeedParameters(LayerParameters):
    """Dictionaries that differ in their seed, trained on the same tokens and evaluated on others."""

    n_seeds: int
    n_tokens: int
    n_eval_tokens: int
    batch_size: int


@dataclass(frozen=True, kw_only=True)
class SeedDivergenceParameters(SeedParameters):
    """Parameters of ``01_seed_divergence``, whose fitted law needs five dictionaries (``membership.MIN_SEEDS``).

    With ``saes``, here and in families of widths, nothing is trained, and what only training needs is ignored.
    """

    saes: list[str]
    architecture: str
    n_latents: int

    def __post_init__(self):
        super().__post_init__()
        if self.n_seeds < 5:
            raise InputError(f"parameter n_seeds = {self.n_seeds} must be 5 or more")


@dataclass(frozen=True, kw_only=True)
class SharedAndOrphanParameters(SeedParameters):
    """Parameters of ``08_shared_and_orphan``, which leaves out two dictionaries (``sharedness.MIN_SEEDS``)."""

    architecture: str
    n_latents: int
    rule_size: int
    n_shown: int

    def __post_init__(self):
        super().__post_init__()
        if self.n_seeds < 4:
            raise InputError(f"parameter n_seeds = {self.n_seeds} must be 4 or more")


@dataclass(frozen=True, kw_only=True)
class BaggingAndBoostingParameters(SeedParameters):
    """Parameters of ``05_bagging_and_boosting``: the seeds of ``01_seed_divergence``, and members of ensembles."""

    n_latents: int
    n_members: int
    n_ensembles: int
    member_latents: int
    member_tokens: int
    member_batch_size: int
    other_latents: int
    at_least: int

    def __post_init__(self):
        super().__post_init__()
        for limits in (
            ("n_seeds", 5, 10**9),
            ("n_ensembles", 3, 10**9),  # for an interval over pairs of them
            ("at_least", 2, (self.n_seeds - 1) // 2),
            ("member_latents", self.k * self.n_members, 10**9),
            ("member_tokens", self.member_batch_size, self.n_tokens),
            ("other_latents", self.k + 1, 10**9),
        ):
            self._check_beside(*limits)


@dataclass(frozen=True, kw_only=True)
class ConceptParameters(LayerParameters):
    """What ``06_concept_detection`` and ``07_spurious_correlations`` take: the ensembles of 05, and labelled texts."""

    architecture: str
    n_members: int
    n_ensembles: int
    member_latents: int
    member_tokens: int
    member_batch_size: int
    dataset: str
    text_column: str
    window: int
    n_train: int
    n_test: int

    def __post_init__(self):
        super().__post_init__()
        for limits in (
            ("member_latents", self.k, 10**9),
            ("member_tokens", self.member_batch_size, getattr(self, "n_tokens", 10**12)),
            ("window", 2, self.context or 10**9),
        ):
            self._check_beside(*limits)


@dataclass(frozen=True, kw_only=True)
class ConceptDetectionParameters(ConceptParameters):
    """Parameters of ``06_concept_detection``: the dictionaries of 01 as well; claims about one latent and several."""

    n_latents: int
    n_seeds: int
    n_tokens: int
    batch_size: int
    at_least: int
    label_columns: list[str]
    probe_ks: list[int]

    def __post_init__(self):
        super().__post_init__()
        if self.n_seeds < 4 or not 2 <= self.at_least <= self.n_seeds // 2:
            raise InputError(
                f"parameter at_least = {self.at_least} must be 2 to half of n_seeds = {self.n_seeds}, of 4 or more"
            )
        if 1 not in self.probe_ks or len(self.probe_ks) < 2:
            raise InputError(f"parameter probe_ks = {self.probe_ks} must hold 1 and at least one more")


@dataclass(frozen=True, kw_only=True)
class SpuriousCorrelationParameters(ConceptParameters):
    """Parameters of ``07_spurious_correlations``."""

    n_source_tokens: int
    attribute_pairs: list[str]
    n_ablated: list[int]


@dataclass(frozen=True, kw_only=True)
class SweepParameters(SeedParameters):
    """Parameters of ``02_what_moves_overlap``: a centre, and the values that one property at a time takes."""

    architecture: str
    n_latents: int
    widths: list[int]
    ks: list[int]
    token_counts: list[int]
    layers: list[int]
    sites: list[str]
    architectures: list[str]
    architecture_width: int
    n_source_tokens: int

    def __post_init__(self):
        super().__post_init__()
        for name, least in (("widths", 2), ("ks", 2), ("layers", 3)):
            values = getattr(self, name)
            if len(values) < least or values != sorted(values):
                raise InputError(f"parameter {name} = {values} must be {least} or more, from small to large")
        for name, needed in (("sites", {"mlp_out", "resid_post"}), ("architectures", {"topk", "relu", "gated"})):
            missing = sorted(needed - set(getattr(self, name)))
            if missing:
                raise InputError(
                    f"parameter {name} = {getattr(self, name)} must hold {missing[0]!r}: a claim is about it"
                )
        if max(self.token_counts) > self.n_tokens - self.batch_size or self.token_counts != sorted(self.token_counts):
            raise InputError(
                f"parameter token_counts = {self.token_counts} must go from small to large and end before "
                f"n_tokens = {self.n_tokens}"
            )
        if self.k >= self.architecture_width:
            raise InputError(f"parameter architecture_width = {self.architecture_width} must be above k = {self.k}")
        if self.n_seeds < 3:
            raise InputError(f"parameter n_seeds = {self.n_seeds} must be 3 or more: intervals leave one out")


@dataclass(frozen=True, kw_only=True)
class FamilyParameters(SeedParameters):
    """A family of dictionaries of several widths, from narrow to wide, on the first tokens of a source."""

    saes: list[str]
    widths: list[int]
    n_source_tokens: int

    def __post_init__(self):
        super().__post_init__()
        if len(self.widths) < 2 or self.widths != sorted(self.widths):
            raise InputError(f"parameter widths = {self.widths} must be two or more, from narrow to wide")


@dataclass(frozen=True, kw_only=True)
class StitchingParameters(FamilyParameters):
    """Parameters of ``03_stitching``: a family of widths, and the dictionaries of ``01_seed_divergence``."""

    sparsities: list[float]
    n_latents: int
    n_cross_seeds: int

    def __post_init__(self):
        super().__post_init__()
        if len(self.sparsities) != len(self.widths):
            raise InputError(f"parameter sparsities = {self.sparsities} must be one for each of widths = {self.widths}")
        if self.n_seeds < 3:
            raise InputError(
                f"parameter n_seeds = {self.n_seeds} must be 3 or more: a latent is compared with dictionaries of two "
                "other seeds"
            )


@dataclass(frozen=True, kw_only=True)
class ExplorerParameters(SeedParameters):
    """Parameters of ``09_explorer``: the dictionaries of ``01_seed_divergence``, a smaller one and a meta-SAE."""

    architecture: str
    n_latents: int
    n_smaller: int
    n_meta: int
    meta_k: int
    n_contexts: int

    def __post_init__(self):
        super().__post_init__()
        if not self.k <= self.n_smaller < self.n_latents:
            raise InputError(f"parameter n_smaller = {self.n_smaller} must be {self.k} to {self.n_latents - 1}")
        if self.meta_k > self.n_meta:
            raise InputError(f"parameter meta_k = {self.meta_k} must be 1 to n_meta = {self.n_meta}")


@dataclass(frozen=True, kw_only=True)
class MetaSaeParameters(FamilyParameters):
    """Parameters of ``04_meta_saes``: the family of widths of ``03_stitching``, and meta-SAEs of the widest."""

    n_meta: int
    meta_k: int
    meta_widths: list[int]
    meta_ks: list[int]
    n_meta_steps: int
    meta_batch_size: int
    split_cosine: float
    n_edited: int
    n_edit_places: int
    edit_context: int

    def __post_init__(self):
        super().__post_init__()
        if not self.saes:
            self.check_sizes(self.widths)

    def check_sizes(self, widths: list[int]) -> None:
        """Refuse meta-SAEs that are too large for dictionaries of these widths, which ``saes`` tell once read."""
        if self.n_meta > widths[-2]:
            raise InputError(
                f"parameter n_meta = {self.n_meta} must be at most {widths[-2]}, the widest but one of widths: "
                "meta-latents are compared with the latents of a smaller dictionary"
            )
        sizes = [self.n_meta, *self.meta_widths]
        if max(sizes) >= widths[-1]:
            raise InputError(
                f"parameter meta_widths = {self.meta_widths} must be below {widths[-1]}, the widest of widths"
            )
        if max(self.meta_k, *self.meta_ks) > min(sizes):
            raise InputError(f"parameters meta_k and meta_ks must be at most {min(sizes)}, the fewest meta-latents")


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
}
