"""All the meta-SAEs of one study, trained together, and their numbers with intervals over the dictionaries' seeds.

A key is (kind of rows, seed of the dictionary, meta-latents, k). ``decoder`` rows are a dictionary's, each null has
rows of its own for each dictionary, and ``planted`` rows are sums of known parts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import hypot
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sae_utils.analysis.matching.overlap import STATISTICS, latent_values, overlap_of_pairs, summarise
from sae_utils.analysis.meta import nulls as meta_nulls
from sae_utils.analysis.meta.meta_sae import (
    MetaStack,
    MetaTraining,
    explained_variance,
    new_stack,
    quality,
    reconstruct,
    train_together,
    with_decoder,
)
from sae_utils.analysis.meta.nulls import COVARIANCE, Planted, null_rows, planted_composites
from sae_utils.analysis.statistics import Interval, over_seeds
from sae_utils.saes.sae import SAE

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
    rows: Sequence[Float[Tensor, "n d"]], sizes: Sizes, training: MetaTraining, folder: Path | None, progress: bool
) -> MetaStudy:
    """Train every size on each dictionary's rows and on covariance-matched ones, the main size on every null.

    On a dictionary's rows there are two meta-SAEs of the main size, which differ in their seed. Meta-SAEs of different
    dictionaries do not start from the same weights, and none starts from the first weights of a dictionary.
    """
    n, d = rows[0].shape
    planted = planted_composites(n, d, sizes.n_meta, seed=0, most=min(4, sizes.n_meta))
    data = {(DECODER, s): x for s, x in enumerate(rows)} | {(PLANTED, 0): planted.rows}
    data |= {(kind, s): null_rows(x, kind, s) for kind in meta_nulls.KINDS for s, x in enumerate(rows)}
    main, stacks = sizes.all[0], {}
    for kind, seed in data:
        for n_meta, k in sizes.all:
            first = OFFSET + 2 * seed
            seeds = (first, first + 1) if kind == DECODER and (n_meta, k) == main else (first,)
            if kind == PLANTED:
                seeds = tuple(range(first, first + len(rows)))
            if (n_meta, k) == main or kind in (DECODER, COVARIANCE) or kind == PLANTED and n_meta == sizes.n_meta:
                stacks[kind, seed, n_meta, k] = new_stack(d, MetaStack(_name(kind, seed), n_meta, k, seeds))
    conditions = {_name(*which): x for which, x in data.items()}
    trained = train_together(conditions, list(stacks.values()), training, folder, progress)
    return MetaStudy(dict(zip(stacks, trained, strict=True)), data, planted)


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
    found = []
    for kind, n_meta, k in dict.fromkeys((kind, n_meta, k) for kind, _, n_meta, k in study.metas):
        each = [
            quality(meta, study.rows[key[:2]])
            for key, meta in study.metas.items()
            if (key[0], *key[2:]) == (kind, n_meta, k)
        ]
        if kind == PLANTED:
            values = each[0].explained_variance
        else:
            values = tuple(float(np.mean(q.explained_variance)) for q in each)
        l0, dead = (float(np.mean([getattr(q, name) for q in each])) for name in ("l0", "dead_fraction"))
        found.append(Explained(kind, n_meta, k, over_seeds(values, (-np.inf, 1.0)), values, l0, dead))
    return found


def refit(
    study: MetaStudy,
    sizes: Sizes,
    directions: Sequence[Mapping[str, Float[Tensor, "m d"]]],
    training: MetaTraining,
    folder: Path | None,
    progress: bool,
) -> list[dict[str, float]]:
    """Explained variance, for each dictionary, with the meta-decoder replaced and the encoder refitted.

    ``directions`` has, for each dictionary, the candidates by name; each decoder row becomes the nearest of them.
    """
    data = {_name(DECODER, s): study.rows[DECODER, s] for s in range(len(directions))}
    stacks = {
        (s, name): with_decoder(study.metas[DECODER, s, sizes.n_meta, sizes.k], candidates, _name(DECODER, s))
        for s, each in enumerate(directions)
        for name, candidates in each.items()
    }
    trained = dict(zip(stacks, train_together(data, list(stacks.values()), training, folder, progress), strict=True))
    return [
        {
            name: explained_variance(data[_name(DECODER, s)], reconstruct(trained[s, name], data[_name(DECODER, s)]))
            for name in each
        }
        for s, each in enumerate(directions)
    ]


def train_pooled(
    groups: Sequence[Mapping[int, Float[Tensor, "n d"]]],
    sizes: Sizes,
    training: MetaTraining,
    folder: Path | None,
    progress: bool,
) -> list[SAE]:
    """One meta-SAE for each seed on the rows of dictionaries of all widths together (``groups``: by width)."""
    data = {_name("pooled", s): torch.cat(list(each.values())) for s, each in enumerate(groups)}
    d = data[_name("pooled", 0)].shape[1]
    stacks = [new_stack(d, MetaStack(name, sizes.n_meta, sizes.k, (OFFSET + 2 * s,))) for s, name in enumerate(data)]
    return train_together(data, stacks, training, folder, progress)


def by_name(
    each: Sequence[Mapping[str, float]], bounds: tuple[float, float] = (-np.inf, np.inf)
) -> dict[str, Interval]:
    """Intervals over seeds of numbers that each seed has under the same names."""
    return {name: over_seeds([values[name] for values in each], bounds) for name in each[0]}


def of_defined(values: Sequence[float], bounds: tuple[float, float] = (-np.inf, np.inf)) -> Interval | dict:
    """The interval over the seeds that have a value; where fewer than two have one, one without an estimate."""
    there = [value for value in values if not np.isnan(value)]
    return over_seeds(there, bounds) if len(there) > 1 else {"estimate": None, "low": None, "high": None}


def difference(one: Interval, other: Interval) -> Interval:
    """``one`` less ``other``, taken as independent: the distances to the ends add up as squares (Zou & Donner 2008)."""
    estimate = one.estimate - other.estimate
    low = estimate - hypot(one.estimate - one.low, other.high - other.estimate)
    high = estimate + hypot(one.high - one.estimate, other.estimate - other.low)
    return Interval(estimate, low, high, f"{one.method}, both sides")


def stability_between(stacks: Sequence[SAE], rows_used: Sequence[Bool[Tensor, " n"]]) -> dict[str, Interval]:
    """Paper A's statistics between the first members of several stacks of one size, their unused latents left out."""
    encoders = torch.cat([sae.encoder[:1] for sae in stacks])
    decoders = torch.cat([sae.W_dec[:1] for sae in stacks])
    return summarise(overlap_of_pairs(encoders, decoders, torch.stack(list(rows_used))))


def stability_within(
    stacks: Sequence[SAE], rows_used: Sequence[tuple[Bool[Tensor, " n"], Bool[Tensor, " n"]]]
) -> dict[str, Interval]:
    """The same between the two members of each stack, which have the same rows and differ in their seed."""
    each = []
    for sae, alive in zip(stacks, rows_used, strict=True):
        overlap = overlap_of_pairs(sae.encoder[:2], sae.W_dec[:2], torch.stack(alive))[0, 1]
        each.append({name: float(latent_values(overlap, name).mean()) for name in STATISTICS})
    return by_name(each)
