"""What a seed is: what dictionaries share that differ in their first weights, in the order of a text, or in the text.

Three units have an initialisation, an order and a text of their own each, and a dictionary made of these. Beside it are
three which take one of the three from the next unit. So every cause has one pair of dictionaries for each pair of
units, and an interval leaves out one unit, with its initialisation, order and text, at a time.
"""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_utils.analysis.matching.sweeps import MEASURES, Shared, compare_all, difference, each_once
from sae_utils.analysis.statistics import Interval
from sae_utils.saes import SAE, Evaluation

CAUSES = ("initialisation", "order", "text")
ALL = "all three"
N_UNITS = 3

Made = tuple[int, int, int]  # the numbers of an initialisation, an order and a text


def made_of(unit: int, changed: str | None = None) -> Made:
    """What a unit's own dictionary is made of, or the one which takes the cause ``changed`` from the next unit."""
    return tuple((unit + (cause == changed)) % N_UNITS for cause in CAUSES)


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

    ``stacks``, of ``stacks_needed``, are by (order, text).
    """
    found = {}
    for cause in (*CAUSES, ALL):
        by_unit = []
        for unit in range(N_UNITS):
            following = (unit + 1) % N_UNITS
            other = made_of(following) if cause == ALL else made_of(unit, cause)
            rows = [_rows(stacks, made) for made in (made_of(unit), other)]
            values = compare_all(*(torch.stack(part) for part in zip(*rows, strict=True)), covariance)
            # The second dictionary stands for the next unit.
            by_unit.append(
                {
                    name: {(unit, following): pairs[0, 1], (following, unit): pairs[1, 0]}
                    for name, pairs in values.items()
                }
            )
        found[cause] = Shared({name: {k: v for one in by_unit for k, v in one[name].items()} for name in by_unit[0]})
    return found


def claims_of(shared: Mapping[str, Shared]) -> dict[str, Interval]:
    """The metrics of claims A-18, A-19 and A-25: how much less the dictionaries share that differ in more."""
    initialisation, order, text = ([shared[cause]] for cause in CAUSES)
    return {
        "text_below_initialisation": difference(initialisation, text, "shared_strict"),
        "order_below_initialisation": difference(initialisation, order, "shared_strict"),
        "all_below_text": difference(text, [shared[ALL]], "shared_strict"),
    }


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
