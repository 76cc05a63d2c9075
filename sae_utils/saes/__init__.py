"""Activations to dictionaries.

``base`` is what all dictionaries share; ``sae`` a stack of SAEs; ``stitched`` one dictionary of several SAEs' latents;
``kernels`` and ``losses`` the arithmetic of training; ``metrics`` how good a dictionary is. ``methods`` are ways of
training that are said to be more stable; ``training`` trains, stores and plans; ``ensembles`` makes several
dictionaries one; ``formats`` reads and writes those of other libraries.
"""

from sae_utils.saes.base import Dictionary, SparseCode
from sae_utils.saes.metrics import CrossEntropy, Evaluation, cross_entropy_recovered, evaluate
from sae_utils.saes.sae import ARCHITECTURES, SAE, SAEConfig
from sae_utils.saes.stitched import Part, Stitched

__all__ = [
    "ARCHITECTURES",
    "SAE",
    "CrossEntropy",
    "Dictionary",
    "Evaluation",
    "Part",
    "SAEConfig",
    "SparseCode",
    "Stitched",
    "cross_entropy_recovered",
    "evaluate",
]
