"""A consensus dictionary of each half of some seeds: two that share no seed, so that both say something of others."""

from collections.abc import Sequence
from itertools import combinations

from jaxtyping import Bool
from torch import Tensor

from sae_utils.analysis.matching.groups import groups
from sae_utils.analysis.matching.matching import compare
from sae_utils.data.activations.source import ActivationSource
from sae_utils.saes.ensembles.consensus import merge, refit
from sae_utils.saes.sae import SAE
from sae_utils.saes.training.training import TrainingConfig


def halves(n_seeds: int) -> list[range]:
    """Positions of the first and of the second half of the seeds; the last one is left out if their number is odd."""
    half = n_seeds // 2
    return [range(half), range(half, 2 * half)]


def consensus_of(
    stack: SAE,
    alive: Bool[Tensor, "S n_latents"],
    members: Sequence[int],
    at_least: int,
    source: ActivationSource,
    config: TrainingConfig,
) -> SAE:
    """Latents that ``at_least`` of the ``members`` share (strict, paper A), merged, with the encoder refitted.

    As in notebook 05. Raises InputError where fewer latents are shared than are active on a token.
    """
    encoders, decoders = stack.W_enc.mT, stack.W_dec
    pairs = {
        (i, j): compare(encoders[i], decoders[i], encoders[j], decoders[j], alive[i], alive[j])
        for i, j in combinations(sorted(members), 2)
    }
    merged = merge(stack, groups(pairs, alive.cpu().numpy(), members, at_least), seed=min(members))
    return refit(merged, source, config, progress=False)
