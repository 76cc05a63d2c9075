"""Language models, bundled, from a folder or from the Hugging Face hub.

- ``names``: what a model's name means and what its config.json says
- ``hub``: questions to the hub before anything slow
- ``language_model``: the model itself, through TransformerLens; import it from there, for it brings torch
"""

from sae_utils.data.models import hub, names
from sae_utils.data.models.names import BUNDLED, SITES

__all__ = ["BUNDLED", "SITES", "hub", "names"]
