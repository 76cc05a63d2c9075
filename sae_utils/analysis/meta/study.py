"""All the meta-SAEs of one study, trained together, and their numbers with intervals over the dictionaries' seeds.

A key is (kind of rows, seed, meta-latents, k). ``decoder`` rows are those of the dictionary with that seed, and
``planted`` rows are sums of known parts. Each null has rows of its own for each dictionary, drawn several times where
the null is compared closely: the null's seed s belongs to the dictionary s modulo their number.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sae_utils.analysis.directions import covariance
from sae_utils.analysis.matching.metric import in_metric
from sae_utils.analysis.matching.overlap import STATISTICS, latent_values, overlap_of_pairs, summarise
from sae_utils.analysis.meta.meta_sae import (
    MetaQuality,
    MetaTraining,
    explained_variance,
    new_stack,
    quality,
    reconstruct,
    train_together,
    used,
    with_decoder,
)
from sae_utils.analysis.meta.nulls import COVARIANCE, KINDS, Planted, null_rows, planted_composites
from sae_utils.analysis.statistics import Interval, over_seeds, over_seeds_by_name
from sae_utils.saes import SAE

DECODER, PLANTED = "decoder", "planted"
ALL_KINDS = (DECODER, *KINDS, PLANTED)
RAW = "raw_shared_strict"  # by encoders that are not in the metric of the data
BENCH_K, BENCH_LR = 4, 5e-4  # of SAEBench's meta-SAEs
# Added to seeds: a seed draws the same first rows for a meta-SAE as for a dictionary, and these must not begin alike.
# Below 2**32, since torch's generator on the CPU keeps no more of a seed than 32 bits.
OFFSET = 2**30
Key = tuple[str, int, int, int]


@dataclass(frozen=True)
class Sizes:
    """The size that is looked at closely, and the others around it: widths at the same k, ks at the same width.

    At the main size there are ``repeats`` (one or two) meta-SAEs on each dictionary's rows, as many draws of the null
    of equal covariance, and as many meta-SAEs on the first draw.
    """

    n_meta: int
    k: int
    widths: tuple[int, ...] = ()
    ks: tuple[int, ...] = ()
    repeats: int = 2

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
    rows: Sequence[Float[Tensor, "n d"]],
    sizes: Sizes,
    training: MetaTraining,
    folder: Path | None,
    kinds: Collection[str] = ALL_KINDS,
) -> MetaStudy:
    """Train every size on each dictionary's rows and on covariance-matched ones, the main size on every null.

    ``kinds`` are the rows that there are. Meta-SAEs of different dictionaries do not start from the same weights, and
    none starts from the first weights of a dictionary. What ``folder`` holds already is read from it.
    """
    n, d = rows[0].shape
    planted = planted_composites(n, d, sizes.n_meta, seed=0, most=min(4, sizes.n_meta))
    data = {(DECODER, s): x for s, x in enumerate(rows)} | {(PLANTED, 0): planted.rows}
    stacks = {}
    for kind, seed, size, number in _stacks(kinds, sizes, len(rows)):
        if (kind, seed) not in data:
            data[kind, seed] = null_rows(rows[seed % len(rows)], kind, seed)
        first = OFFSET + 2 * seed
        stacks[kind, seed, *size] = new_stack(d, *size, range(first, first + number), f"{kind} {seed}")
    data = {which: data[which] for which in dict.fromkeys(key[:2] for key in stacks)}
    conditions = {f"{kind} {seed}": x for (kind, seed), x in data.items()}
    trained = train_together(conditions, list(stacks.values()), training, folder)
    return MetaStudy(dict(zip(stacks, trained, strict=True)), data, planted)


def study_counts(n_dictionaries: int, sizes: Sizes, kinds: Collection[str] = ALL_KINDS) -> dict[tuple[int, int], int]:
    """How many meta-SAEs of each (meta-latents, k) ``train_study`` trains."""
    counts = dict.fromkeys(sizes.all, 0)
    for _, _, size, number in _stacks(kinds, sizes, n_dictionaries):
        counts[size] += number
    return counts


def _stacks(
    kinds: Collection[str], sizes: Sizes, n_dictionaries: int
) -> Iterator[tuple[str, int, tuple[int, int], int]]:
    """Each (kind, seed, size) and how many meta-SAEs, which differ in their seed, there are on those rows."""
    for kind, size in product(kinds, sizes.all):
        is_main = size == sizes.all[0]
        repeats = sizes.repeats if is_main else 1
        if kind == PLANTED and size[0] == sizes.n_meta:
            yield kind, 0, size, n_dictionaries
        elif kind in (DECODER, COVARIANCE) or kind in KINDS and is_main:
            for seed in range(n_dictionaries * (repeats if kind == COVARIANCE else 1)):
                both = kind in (DECODER, COVARIANCE) and seed < n_dictionaries
                yield kind, seed, size, repeats if both else 1


def saebench(n_latents: int, n_steps: int, training: MetaTraining) -> tuple[Sizes, MetaTraining]:
    """The settings of SAEBench's evaluation ``meta_structure`` for ``n_latents``, its batches as large as the others'.

    SAEBench takes 1,500 steps, in batches of 1,024 rows.
    """
    return Sizes(max(BENCH_K, n_latents // 4), BENCH_K, repeats=1), replace(training, n_steps=n_steps, lr=BENCH_LR)


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
    n_dictionaries = sum(kind == DECODER for kind, _ in study.rows)
    groups = defaultdict(lambda: defaultdict(list))
    for (kind, seed, n_meta, k), meta in study.metas.items():
        groups[kind, n_meta, k][seed % n_dictionaries].append(quality(meta, study.rows[kind, seed]))
    found = []
    for (kind, n_meta, k), by_seed in groups.items():
        draws = [q for each in by_seed.values() for q in each]
        values = tuple(_mean(each, "explained_variance") for each in by_seed.values())
        if kind == PLANTED:
            values = draws[0].explained_variance
        l0, dead = _mean(draws, "l0"), _mean(draws, "dead_fraction")
        found.append(Explained(kind, n_meta, k, over_seeds(values, (-np.inf, 1.0)), values, l0, dead))
    return found


def _mean(qualities: Sequence[MetaQuality], name: str) -> float:
    """The mean over stacks of the mean over each one's meta-SAEs."""
    return float(np.mean([np.mean(getattr(quality, name)) for quality in qualities]))


def above_null(found: Sequence[Explained], n_meta: int, k: int) -> Interval:
    """Explained variance of decoder rows less that of rows of equal covariance, by dictionary, mean over draws."""
    values = {e.kind: e.values for e in found if (e.n_meta, e.k) == (n_meta, k)}
    return over_seeds(np.subtract(values[DECODER], values[COVARIANCE]))


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
        condition = f"{DECODER} {s}"
        conditions[condition] = study.rows[DECODER, s]
        for name, rows in candidates.items():
            stacks[s, name] = with_decoder(study.metas[DECODER, s, sizes.n_meta, sizes.k], rows, condition)
    trained = train_together(conditions, list(stacks.values()), training, folder)
    found: list[dict[str, float]] = [{} for _ in directions]
    for (s, name), meta in zip(stacks, trained, strict=True):
        rows = study.rows[DECODER, s]
        found[s][name] = explained_variance(rows, reconstruct(meta, rows))
    return found


def stability_between(
    stacks: Sequence[SAE], rows_used: Sequence[Bool[Tensor, " n"]], spread: Float[Tensor, "d d"]
) -> dict[str, Interval]:
    """Paper A's statistics between the first dictionaries of several stacks of one size, unused latents left out.

    Encoders are in the metric of the data (``in_metric``), whose covariance is ``spread``; ``raw_shared_strict`` has
    them as they are.
    """
    raw, decoders = (torch.cat([getattr(sae, rows)[:1] for sae in stacks]) for rows in ("encoder", "W_dec"))
    alive = torch.stack(list(rows_used))
    found = summarise(overlap_of_pairs(in_metric(raw, spread), decoders, alive))
    return found | {RAW: summarise(overlap_of_pairs(raw, decoders, alive))["shared_strict"]}


def stability_within(stacks: Sequence[SAE], rows: Sequence[Float[Tensor, "n d"]]) -> dict[str, Interval]:
    """The same between the two meta-SAEs of each stack, which were trained on the same ``rows`` and differ in seed."""
    each = []
    for sae, x in zip(stacks, rows, strict=True):
        alive, raw = torch.stack([used(sae, x, i) for i in (0, 1)]), sae.encoder[:2]
        overlap, of_raw = (
            overlap_of_pairs(encoders, sae.W_dec[:2], alive)[0, 1]
            for encoders in (in_metric(raw, covariance([x])), raw)
        )
        values = {name: float(latent_values(overlap, name).mean()) for name in STATISTICS}
        each.append(values | {RAW: float(latent_values(of_raw, "shared_strict").mean())})
    return over_seeds_by_name(each)
