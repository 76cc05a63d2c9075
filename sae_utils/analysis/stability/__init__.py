"""How reproducible a way of training is, compared where two ways are equally sparse or explain as much.

``frontier``      what is measured of dictionaries at one sparsity, and what lies between the points of a grid
``subspaces``     whether latents that two seeds do not share lie in a subspace that they do
``substitution``  whether a latent's partner in another seed does its work
``consensus``     one dictionary of the latents that several seeds find
``cost``          how fast a method trains
"""

from sae_utils.analysis.stability.consensus import consensus_of
from sae_utils.analysis.stability.cost import tokens_per_second
from sae_utils.analysis.stability.frontier import (
    EQUAL_EV,
    EQUAL_L0,
    across_methods,
    between,
    interval,
    less_of_both,
    matched,
    measure,
)

__all__ = [
    "EQUAL_EV",
    "EQUAL_L0",
    "across_methods",
    "between",
    "consensus_of",
    "interval",
    "less_of_both",
    "matched",
    "measure",
    "tokens_per_second",
]
