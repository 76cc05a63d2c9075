"""Consensus dictionaries, of the latents that several seeds share."""

from collections.abc import Sequence

from jaxtyping import Bool
from torch import Tensor

from sae_utils.analysis.matching.groups import groups
from sae_utils.analysis.matching.overlap import overlap_of_pairs
from sae_utils.saes import SAE
from sae_utils.saes.ensembles import merge


def halves(n_seeds: int) -> list[range]:
    """Positions of the first and of the second half of the seeds; the last one is left out if their number is odd."""
    half = n_seeds // 2
    return [range(half), range(half, 2 * half)]


def consensus_of(stack: SAE, alive: Bool[Tensor, "S n_latents"], positions: Sequence[int], at_least: int) -> SAE:
    """The latents that ``at_least`` of the dictionaries at ``positions`` share (strict, paper A), merged; not refitted.

    Raises InputError where fewer latents are shared than are active on a token.
    """
    pairs = overlap_of_pairs(stack.encoder, stack.W_dec, alive, among=positions)
    return merge(stack, groups(pairs, alive.cpu().numpy(), positions, at_least), seed=min(positions))
