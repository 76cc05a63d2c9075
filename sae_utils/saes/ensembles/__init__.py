"""Several dictionaries as one.

``ensemble`` is a bag or a boosted ensemble, read as one dictionary; ``boosting`` the residuals that boosted members
learn from; ``consensus`` one dictionary merged from those of several seeds. ``paper_c``, the cells of what paper C
compares, is imported by its own name: it rests on ``training.grid``, which rests on what is exported here.
"""

from sae_utils.saes.ensembles.boosting import HeldSource, ResidualSource, hold
from sae_utils.saes.ensembles.consensus import merge
from sae_utils.saes.ensembles.ensemble import Ensemble, load_ensemble, save_ensemble

__all__ = ["Ensemble", "HeldSource", "ResidualSource", "hold", "load_ensemble", "merge", "save_ensemble"]
