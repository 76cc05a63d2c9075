"""What a notebook is told: its parameters, checked before anything runs, and the presets that set them.

``checks``        ``check``, which a notebook calls; refusals in one line; ``parameters_cell``
``schemas``       each notebook's parameters; ``rules``: what parameters share
``concepts``, ``known_truth``, ``reproducible``   those of notebooks 05 to 07, 10 and 11
``presets``       files of parameters
"""

from sae_utils.run.parameters.checks import check, parameters_cell

__all__ = ["check", "parameters_cell"]
