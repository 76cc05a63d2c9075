"""What a seed is: what dictionaries share that differ in their first weights, in the order of a text, or in the text.

Three units have an initialisation, an order and files of their own each, and a dictionary made of these. Beside it are
three which take one of the three from the next unit, and one that reads other passages of the same files. So every
cause has as many pairs of dictionaries as there are units, and an interval leaves out one unit at a time.
"""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_utils.analysis.matching.sweeps import MEASURES, Shared, compare_all, difference, each_once
from sae_utils.analysis.statistics import Interval
from sae_utils.saes import SAE, Evaluation

CAUSES = ("initialisation", "order", "passages", "files")
ALL = "initialisation, order, files"
N_UNITS = 3

Made = tuple[int, int, int]  # the numbers of an initialisation, an order and a text; of text 2 f + 1 the files are f


def made_of(unit: int, changed: str | None = None) -> Made:
    """What a unit's own dictionary is made of, or the one in which ``changed``, one of ``CAUSES``, is another."""
    following = (unit + 1) % N_UNITS
    initialisation = following if changed == "initialisation" else unit
    order = following if changed == "order" else unit
    files = following if changed == "files" else unit
    return initialisation, order, 2 * files + (changed == "passages")


def rows_of(text: int) -> tuple[int, int, int, int]:
    """Which rows of the source a text is, for ``PartSource``: every other row of a third of it."""
    return text // 2, N_UNITS, text % 2, 2


def stacks_needed() -> dict[tuple[int, int], tuple[int, ...]]:
    """The initialisations that are trained with each (order, text)."""
    needed: dict[tuple[int, int], tuple[int, ...]] = {}
    for unit in range(N_UNITS):
        for changed in (None, *CAUSES):
            first, *trained_on = made_of(unit, changed)
            needed[*trained_on] = (*needed.get((*trained_on,), ()), first)
    return needed


def shared_by_cause(
    stacks: Mapping[tuple[int, int], tuple[SAE, Evaluation]], covariance: Float[Tensor, "d d"]
) -> dict[str, Shared]:
    """What two dictionaries share that differ in each of ``CAUSES`` alone, and in ``ALL``; pairs are of units.

    ``stacks``, of ``stacks_needed``, are by (order, text). Other passages are of the unit itself, whose pair with
    itself has the mean of both sides.
    """
    found = {}
    for cause in (*CAUSES, ALL):
        pairs: dict[str, dict[tuple[int, int], float]] = {}
        for unit in range(N_UNITS):
            following = (unit + 1) % N_UNITS
            other = made_of(following) if cause == ALL else made_of(unit, cause)
            rows = [_rows(stacks, made) for made in (made_of(unit), other)]
            for name, two in compare_all(*(torch.stack(part) for part in zip(*rows, strict=True)), covariance).items():
                if cause == "passages":  # all of one unit
                    pairs.setdefault(name, {})[unit, unit] = (two[0, 1] + two[1, 0]) / 2
                else:
                    pairs.setdefault(name, {}).update({(unit, following): two[0, 1], (following, unit): two[1, 0]})
        found[cause] = Shared(pairs)
    return found


def claims_of(shared: Mapping[str, Shared]) -> dict[str, Interval]:
    """The metrics of claims A-18, A-19, A-25 and A-26: how much less those share that differ in something else."""
    initialisation, *others = ([shared[cause]] for cause in CAUSES)
    found = {
        f"{cause}_below_initialisation": difference(initialisation, other, "shared_strict")
        for cause, other in zip(CAUSES[1:], others, strict=True)
    }
    return found | {"all_below_files": difference([shared["files"]], [shared[ALL]], "shared_strict")}


def figure_arrays(shared: Mapping[str, Shared]) -> dict[str, np.ndarray]:
    """What the figure of causes draws: of each measure, by cause, the interval and the value of each pair."""
    arrays = {}
    for name in MEASURES:
        arrays[f"cause_{name}"] = np.array([one.interval(name).ends for one in shared.values()])
        arrays[f"cause_pairs_{name}"] = np.array([each_once(one.pairs[name]) for one in shared.values()])
    return arrays


def _rows(stacks, made: Made) -> tuple[Tensor, Tensor, Tensor]:
    """Encoder, decoder and which latents are alive, of one dictionary."""
    first, *trained_on = made
    sae, evaluation = stacks[*trained_on]
    at = sae.seeds.index(first)
    return sae.encoder[at].detach().cpu(), sae.W_dec[at].detach().cpu(), evaluation.alive[at].cpu()
