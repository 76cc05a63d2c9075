"""All the meta-SAEs of one study, trained together, and their numbers with intervals over the dictionaries' seeds.

``train_study``, ``train_pooled`` and ``refit`` train; what their folder holds already is read from it instead.

A key is (kind of rows, seed of the dictionary, meta-latents, k). ``decoder`` rows are a dictionary's, each null has
rows of its own for each dictionary, and ``planted`` rows are sums of known parts.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sae_utils.analysis.matching.overlap import STATISTICS, latent_values, overlap_of_pairs, summarise
from sae_utils.analysis.meta.meta_sae import (
    MetaTraining,
    explained_variance,
    new_stack,
    quality,
    reconstruct,
    train_together,
    with_decoder,
)
from sae_utils.analysis.meta.nulls import COVARIANCE, KINDS, Planted, null_rows, planted_composites
from sae_utils.analysis.statistics import Interval, over_seeds, over_seeds_by_name
from sae_utils.saes import SAE

DECODER, PLANTED = "decoder", "planted"
# Added to seeds: a seed draws the same first rows for a meta-SAE as for a dictionary, and these must not begin alike.
# Below 2**32, since torch's generator on the CPU keeps no more of a seed than 32 bits.
OFFSET = 2**30
Key = tuple[str, int, int, int]


@dataclass(frozen=True)
class Sizes:
    """The size that is looked at closely, and the others around it: widths at the same k, ks at the same width."""

    n_meta: int
    k: int
    widths: tuple[int, ...] = ()
    ks: tuple[int, ...] = ()

    @property
    def all(self) -> list[tuple[int, int]]:
        """Each (meta-latents, k) once, the main one first."""
        pairs = [(self.n_meta, self.k), *((w, self.k) for w in self.widths), *((self.n_meta, k) for k in self.ks)]
        return list(dict.fromkeys(pairs))


@dataclass(frozen=True)
class MetaStudy:
    """Trained meta-SAEs by key, and the rows that they were trained on by (kind, seed)."""

    metas: Mapping[Key, SAE]
    rows: Mapping[tuple[str, int], Float[Tensor, "n d"]]
    planted: Planted


def frequent(firing_frequency: Float[Tensor, "S n"]) -> Bool[Tensor, "S n"]:
    """The latents whose rows are used: the most frequent, as many in each dictionary as are alive in the poorest."""
    n = int((firing_frequency > 0).sum(1).min())
    chosen = firing_frequency.topk(n, dim=1).indices
    return torch.zeros(firing_frequency.shape, dtype=torch.bool).scatter_(1, chosen.cpu(), True)


def train_study(
    rows: Sequence[Float[Tensor, "n d"]], sizes: Sizes, training: MetaTraining, folder: Path | None
) -> MetaStudy:
    """Train every size on each dictionary's rows and on covariance-matched ones, the main size on every null.

    On a dictionary's rows there are two meta-SAEs of the main size, which differ in their seed. Meta-SAEs of different
    dictionaries do not start from the same weights, and none starts from the first weights of a dictionary.
    """
    n, d = rows[0].shape
    planted = planted_composites(n, d, sizes.n_meta, seed=0, most=min(4, sizes.n_meta))
    data = {(DECODER, s): x for s, x in enumerate(rows)} | {(PLANTED, 0): planted.rows}
    for kind in KINDS:
        for s, x in enumerate(rows):
            data[kind, s] = null_rows(x, kind, s)
    stacks = {}
    for kind, seed in data:
        for n_meta, k in sizes.all:
            first, number = OFFSET + 2 * seed, _how_many(kind, n_meta, k, sizes, len(rows))
            if number:
                stacks[kind, seed, n_meta, k] = new_stack(d, n_meta, k, range(first, first + number), _name(kind, seed))
    conditions = {_name(*which): x for which, x in data.items()}
    trained = train_together(conditions, list(stacks.values()), training, folder)
    return MetaStudy(dict(zip(stacks, trained, strict=True)), data, planted)


def study_counts(n_dictionaries: int, sizes: Sizes) -> dict[tuple[int, int], int]:
    """How many meta-SAEs of each (meta-latents, k) ``train_study`` trains."""
    kinds = [PLANTED, *n_dictionaries * [DECODER, *KINDS]]
    return {size: sum(_how_many(kind, *size, sizes, n_dictionaries) for kind in kinds) for size in sizes.all}


def _how_many(kind: str, n_meta: int, k: int, sizes: Sizes, n_dictionaries: int) -> int:
    """Meta-SAEs of one size, which differ in their seed, on one set of rows of a kind; 0 where none is trained."""
    is_main = (n_meta, k) == (sizes.n_meta, sizes.k)
    if kind == DECODER:
        return 2 if is_main else 1
    if kind == PLANTED:
        return n_dictionaries if n_meta == sizes.n_meta else 0
    return 1 if is_main or kind == COVARIANCE else 0


def _name(kind: str, seed: int) -> str:
    return f"{kind} {seed}"


@dataclass(frozen=True)
class Explained:
    """What meta-SAEs of one size explain of one kind of rows; means over the dictionaries' seeds."""

    kind: str
    n_meta: int
    k: int
    explained_variance: Interval
    values: tuple[float, ...]  # of each seed
    l0: float
    dead_fraction: float


def explained(study: MetaStudy) -> list[Explained]:
    """Every kind and size of a study; the planted rows have one dictionary, so meta-SAEs take the place of seeds."""
    groups = defaultdict(list)
    for (kind, seed, n_meta, k), meta in study.metas.items():
        groups[kind, n_meta, k].append(quality(meta, study.rows[kind, seed]))
    found = []
    for (kind, n_meta, k), each in groups.items():
        values = tuple(float(np.mean(q.explained_variance)) for q in each)
        if kind == PLANTED:
            values = each[0].explained_variance
        l0, dead = float(np.mean([q.l0 for q in each])), float(np.mean([q.dead_fraction for q in each]))
        found.append(Explained(kind, n_meta, k, over_seeds(values, (-np.inf, 1.0)), values, l0, dead))
    return found


def refit(
    study: MetaStudy,
    sizes: Sizes,
    directions: Sequence[Mapping[str, Float[Tensor, "m d"]]],
    training: MetaTraining,
    folder: Path | None,
) -> list[dict[str, float]]:
    """Explained variance, for each dictionary, with the meta-decoder replaced and the encoder refitted.

    ``directions`` has, for each dictionary, the candidates by name; each decoder row becomes the nearest of them.
    """
    conditions, stacks = {}, {}
    for s, candidates in enumerate(directions):
        condition = _name(DECODER, s)
        conditions[condition] = study.rows[DECODER, s]
        for name, rows in candidates.items():
            stacks[s, name] = with_decoder(study.metas[DECODER, s, sizes.n_meta, sizes.k], rows, condition)
    trained = train_together(conditions, list(stacks.values()), training, folder)
    found: list[dict[str, float]] = [{} for _ in directions]
    for (s, name), meta in zip(stacks, trained, strict=True):
        rows = study.rows[DECODER, s]
        found[s][name] = explained_variance(rows, reconstruct(meta, rows))
    return found


def train_pooled(
    groups: Sequence[Mapping[int, Float[Tensor, "n d"]]], sizes: Sizes, training: MetaTraining, folder: Path | None
) -> list[SAE]:
    """One meta-SAE for each seed on the rows of dictionaries of all widths together (``groups``: by width)."""
    conditions, stacks = {}, []
    for s, by_width in enumerate(groups):
        rows, condition = torch.cat(list(by_width.values())), _name("pooled", s)
        conditions[condition] = rows
        stacks.append(new_stack(rows.shape[1], sizes.n_meta, sizes.k, [OFFSET + 2 * s], condition))
    return train_together(conditions, stacks, training, folder)


def stability_between(stacks: Sequence[SAE], rows_used: Sequence[Bool[Tensor, " n"]]) -> dict[str, Interval]:
    """Paper A's statistics between the first meta-SAEs of several stacks of one size, unused meta-latents left out."""
    encoders = torch.cat([sae.encoder[:1] for sae in stacks])
    decoders = torch.cat([sae.W_dec[:1] for sae in stacks])
    return summarise(overlap_of_pairs(encoders, decoders, torch.stack(list(rows_used))))


def stability_within(
    stacks: Sequence[SAE], rows_used: Sequence[tuple[Bool[Tensor, " n"], Bool[Tensor, " n"]]]
) -> dict[str, Interval]:
    """The same between the two meta-SAEs of each stack, which have the same rows and differ in their seed."""
    each = []
    for sae, alive in zip(stacks, rows_used, strict=True):
        overlap = overlap_of_pairs(sae.encoder[:2], sae.W_dec[:2], torch.stack(alive))[0, 1]
        each.append({name: float(latent_values(overlap, name).mean()) for name in STATISTICS})
    return over_seeds_by_name(each)
