"""Does insertion call novel what the smaller dictionary lacks? (Paper B's stitching, where the atoms are known.)"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from sae_utils.analysis.known_truth.truth import Truth, auc_of
from sae_utils.analysis.matching import nearest
from sae_utils.analysis.stitching.insertion import insert
from sae_utils.saes import SAE


@dataclass(frozen=True)
class Novelty:
    """The latents of one larger dictionary that are atoms, against one smaller dictionary.

    An atom is *missing* if no latent of the smaller dictionary is that atom. Numbers are NaN where nothing or
    everything is missing.
    """

    missing: float  # share of those latents whose atom is missing
    named: float  # share that insertion names novel: alone, each lowers the smaller dictionary's MSE
    auc_cosine: float  # chance that a missing atom's latent has the smaller largest cosine to a smaller latent
    auc_insertion: float  # chance that it lowers MSE more, per token on which it fires
    change_missing: float  # of MSE, as a share of it, where all latents of missing atoms are inserted at once
    change_named: float  # where all are that insertion names novel, atoms or not


def novelty(
    small: SAE, large: SAE, truth_small: Truth, truth_large: Truth, batches: Iterable[Float[Tensor, "batch d_in"]]
) -> list[Novelty]:
    """Dictionary s of ``small`` with dictionary s + 1 of ``large``, the last with the first: two seeds each."""
    insertion = insert(small, large, batches, sets=True)
    found = []
    for s in range(small.n_dictionaries):
        t = (s + 1) % large.n_dictionaries
        atoms = truth_large.true[t]
        missing = atoms & ~truth_small.found[s][truth_large.atom[t]]
        cosine = nearest(large.W_dec[t], small.W_dec[s]).cosine
        named = insertion.novel[s, t] & insertion.alive[t]
        per_token = insertion.change[s, t] / np.maximum(insertion.firing_frequency[t], 1e-12)
        found.append(
            Novelty(
                float(missing[atoms].mean()) if atoms.any() else float("nan"),
                float(named[atoms].mean()) if atoms.any() else float("nan"),
                auc_of(missing[atoms], -cosine[atoms]),
                auc_of(missing[atoms], -per_token[atoms]),
                insertion.change_of_set(s, t, missing) / float(insertion.mse[s]),
                insertion.change_of_set(s, t, named) / float(insertion.mse[s]),
            )
        )
    return found
