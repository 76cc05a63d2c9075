"""Activations whose features are known: atoms that fire by a known rule, in fewer dimensions than there are atoms.

``firing`` has the rules, ``worlds`` puts them together with atoms, magnitudes and noise.
"""

from sae_utils.data.synthetic.firing import Circles, Copula, Hierarchy, Independent, Pairs, zipf
from sae_utils.data.synthetic.worlds import KINDS, Sample, World, WorldConfig

__all__ = [
    "KINDS",
    "Circles",
    "Copula",
    "Hierarchy",
    "Independent",
    "Pairs",
    "Sample",
    "World",
    "WorldConfig",
    "zipf",
]
