"""The latents of a wide stack judged against a narrow one: insertion, nearest decoder row, nulls, and their summary.

Dictionaries of one seed are not a fair pair: a seed draws the first rows of the wide dictionary as those of the narrow
one (``SAE.create``), so both begin alike. Where there are several seeds, pairs of different seeds are what counts, and
the pairs of one seed show what a common start adds.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sae_utils.analysis.directions import directions
from sae_utils.analysis.matching.matching import nearest
from sae_utils.analysis.statistics import Interval, mean_defined, over_latents, over_ordered_pairs, over_seeds
from sae_utils.analysis.stitching.insertion import Insertion, insert
from sae_utils.analysis.stitching.novelty import PAPER_THRESHOLDS, accuracy_at, separation
from sae_utils.saes import SAE

THRESHOLD = PAPER_THRESHOLDS["GPT-2"]
RANDOM = "random"  # the null, a low bar: a latent's activation on a direction, of either sign, that it does not read

# Of one pair of dictionaries: from max cosine and change in MSE of each alive latent.
STATISTICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "novel_share": lambda cosine, change: float((change < 0).mean()),
    "novel_share_cosine": lambda cosine, change: float((cosine <= THRESHOLD).mean()),
    "auc": lambda cosine, change: separation(cosine, change).auc,
    "best_threshold": lambda cosine, change: separation(cosine, change).threshold,
    "best_accuracy": lambda cosine, change: separation(cosine, change).balanced_accuracy,
    "accuracy_at_paper_threshold": lambda cosine, change: accuracy_at(THRESHOLD, cosine, change),
}
BOUNDS = (0.0, 1.0)  # of every one of them; a best threshold below 0 would be no cosine that one asks for


@dataclass(frozen=True)
class WidthPair:
    """Every latent of every wide dictionary (t) against every narrow one (s)."""

    insertion: Insertion
    cosine: Float[np.ndarray, "S T n"]  # largest decoder cosine to an alive latent of the narrow dictionary
    random_cosine: Float[np.ndarray, "S T n"]  # the same of the random directions
    seeds: tuple[tuple[int, ...], tuple[int, ...]]

    def latents(self, s: int, t: int) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """Max cosine and change in MSE of the alive latents of ``t``."""
        alive = self.insertion.alive[t]
        return self.cosine[s, t][alive], self.insertion.change[s, t][alive]

    def random_latents(self, s: int, t: int) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """The same of as many latents with the same activations on random directions."""
        alive = self.insertion.alive[t]
        return self.random_cosine[s, t][alive], self.insertion.change_replaced(RANDOM)[s, t][alive]

    def seed_pairs(self, same_seed: bool = False) -> list[tuple[int, int]]:
        """Pairs (s, t) of dictionaries of different seeds, or of the same."""
        first, second = self.seeds
        return [(s, t) for s, a in enumerate(first) for t, b in enumerate(second) if (a == b) == same_seed]


def random_rows(sae: SAE, spread: Float[Tensor, "d_in d_in"]) -> Float[Tensor, "S n d_in"]:
    """Directions drawn from N(0, ``spread``), with the norms of the decoder rows of ``sae``."""
    shape, generator = sae.W_dec.shape, torch.Generator().manual_seed(0)
    norms = sae.W_dec.detach().cpu().double().norm(dim=-1, keepdim=True)
    return directions(shape[0] * shape[1], spread, generator).view(shape) * norms


def compare_widths(
    small: SAE,
    large: SAE,
    batches: Iterable[Float[Tensor, "batch d_in"]],
    alive_small: Bool[np.ndarray, "S n"],
    spread: Float[Tensor, "d_in d_in"],
) -> WidthPair:
    """``insert`` on raw activations; ``spread`` is the covariance that the null's directions are drawn from.

    Raises InputError as ``insert`` does.
    """
    random = random_rows(large, spread)
    insertion = insert(small, large, batches, {RANDOM: random})

    def cosines(rows: Float[Tensor, "T n d"]) -> Float[np.ndarray, "S T n"]:
        targets = [d[torch.from_numpy(a)] for d, a in zip(small.W_dec.detach().cpu(), alive_small, strict=True)]
        return np.array([[nearest(r, target).cosine for r in rows] for target in targets])

    return WidthPair(insertion, cosines(large.W_dec.detach().cpu()), cosines(random), (small.seeds, large.seeds))


def summarise(
    pairs: Sequence[WidthPair], same_seed: bool = False, names: Sequence[str] = tuple(STATISTICS)
) -> dict[str, Interval]:
    """Each of ``STATISTICS``, mean over pairs of widths, with the interval that the number of seeds allows.

    Several seeds: over the pairs of seeds. One: over the latents of these dictionaries alone. A pair of widths in which
    all latents are of one kind has no AUC and no best threshold, and is left out of their means.
    """
    seed_pairs = pairs[0].seed_pairs(same_seed)
    if len(seed_pairs) == 1:
        groups = [pair.latents(*seed_pairs[0]) for pair in pairs]
        return {name: over_latents(STATISTICS[name], groups) for name in names}
    found = {}
    for name in names:
        statistic = STATISTICS[name]
        values = {m: mean_defined(statistic(*pair.latents(*m)) for pair in pairs) for m in seed_pairs}
        found[name] = over_seeds(list(values.values()), BOUNDS) if same_seed else over_ordered_pairs(values, BOUNDS)
    return found


def random_shares(pairs: Sequence[WidthPair]) -> dict[str, float]:
    """The two shares of novel latents in the null, mean over pairs of widths and of dictionaries."""
    each = [pair.random_latents(*m) for pair in pairs for m in pair.seed_pairs() or pair.seed_pairs(same_seed=True)]
    names = ("novel_share", "novel_share_cosine")
    return {name: float(np.mean([STATISTICS[name](*latents) for latents in each])) for name in names}


def arrays_to_draw(pairs: Sequence[WidthPair], name: str) -> dict[str, np.ndarray]:
    """What figures B1 to B3 draw of one architecture, each array with its ``name`` in its own.

    Points and ROC are of the widest pair of widths and its first pair of seeds; a change is in percent of the smaller
    SAE's MSE. Shares have a row (estimate, low, high) for each pair of widths.
    """
    widest = pairs[-1]
    s, t = (widest.seed_pairs() or widest.seed_pairs(same_seed=True))[0]
    percent = 100 / widest.insertion.mse[s]
    (cosine, change), (random_cosine, random_change) = widest.latents(s, t), widest.random_latents(s, t)
    roc = separation(cosine, change)
    arrays = {
        f"cosine_{name}": cosine,
        f"change_{name}": percent * change,
        f"cosine_random_{name}": random_cosine,
        f"change_random_{name}": percent * random_change,
        f"roc_{name}": np.array([roc.false_positive_rate, roc.true_positive_rate]),
        f"best_{name}": np.array(roc.threshold),
        f"null_share_{name}": np.array([list(random_shares([pair]).values()) for pair in pairs]),
    }
    several = len(widest.seeds[0]) > 1
    for same_seed, suffix in ((False, ""), (True, " same seed"))[: 1 + several]:
        for share in ("share", "share_cosine"):
            found = [summarise([pair], same_seed, [f"novel_{share}"])[f"novel_{share}"] for pair in pairs]
            arrays[f"{share}_{name}{suffix}"] = np.array([interval.ends for interval in found])
    return arrays
