"""The Frankenstein SAE: start with the smallest SAE and add what is novel in each larger one (before paper B).

"Stitching SAEs of different sizes" (LessWrong 2024) finds that it reconstructs better than an SAE of its size, at a
higher L0, which makes the comparison unfair. So it belongs in a plane of MSE against L0, beside SAEs trained at its
own size and L0.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Bool

from sae_utils.analysis.matching.matching import nearest
from sae_utils.analysis.stitching.insertion import check_two
from sae_utils.errors import InputError
from sae_utils.saes import SAE, Part, Stitched
from sae_utils.saes.stitched import whole


def frankensteins(
    family: Sequence[SAE], threshold: float, alive: Sequence[Bool[np.ndarray, " n"]] | None = None
) -> list[Stitched]:
    """The dictionary after each SAE of ``family``, which go from narrow to wide; the first is the narrowest itself.

    A latent is added if it is alive and its largest decoder cosine to the latents gathered so far is at most
    ``threshold``. The decoder bias stays the narrowest SAE's. Raises InputError for SAEs that cannot be stitched and
    for widths that do not rise.
    """
    if not family:
        raise InputError("family=[] must hold at least one SAE")
    stages = [whole(family[0])]
    for i, (before, sae) in enumerate(pairwise(family), 1):
        check_two(before, sae)
        if sae.config.n_latents == before.config.n_latents:
            raise InputError(f"widths must rise, but {sae.config.n_latents} latents come twice")
        novel = nearest(sae.W_dec[0], stages[-1].W_dec[0]).cosine <= threshold
        if alive is not None:
            novel &= alive[i]
        part = Part(sae, torch.from_numpy(novel).to(sae.W_dec.device))
        stages.append(stages[-1].copy(parts=[*stages[-1].parts, part]))
    return stages


def fvu_at(widths: Sequence[int], fvu: Sequence[float], n_latents: int) -> float:
    """FVU of a trained SAE of ``n_latents``, between those of the ascending ``widths``, log by log.

    Raises InputError for a width that is not between them.
    """
    if not widths[0] <= n_latents <= widths[-1]:
        raise InputError(f"n_latents={n_latents} must be {widths[0]} to {widths[-1]}, the widths that were trained")
    return float(np.exp(np.interp(np.log(n_latents), np.log(widths), np.log(fvu))))


def fvu_at_l0(first: tuple[float, float], second: tuple[float, float], l0: float) -> float:
    """FVU at an L0 on the line, log by log, through two dictionaries of one width, each (L0, FVU).

    NaN for an L0 that is not between theirs, and where they have the same.
    """
    (low, fvu_low), (high, fvu_high) = sorted([first, second])
    if low == high or not low <= l0 <= high:
        return float("nan")
    return float(np.exp(np.interp(np.log(l0), np.log([low, high]), np.log([fvu_low, fvu_high]))))
