"""Several dictionaries as one.

``ensemble`` is a bag or a boosted ensemble, read as one dictionary; ``paper_c`` what paper C compares, as cells to
train and as what they make once trained.
"""

from sae_utils.saes.ensembles.ensemble import Ensemble, load_ensemble, save_ensemble
from sae_utils.saes.ensembles.paper_c import Rivals

__all__ = ["Ensemble", "Rivals", "load_ensemble", "save_ensemble"]
