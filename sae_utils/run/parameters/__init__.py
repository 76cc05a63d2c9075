"""What a notebook is told: its parameters, checked before anything runs, and the presets that set them.

``checks``        ``check``, which a notebook calls; what is wrong is said in one line; ``parameters_cell``
``schemas``       the parameters of notebooks 00 to 05, 08 and 09, with ranges, defaults and help
``concepts``      those of 06 and 07    ``known_truth``   of 10    ``reproducible``   of 11
``rules``         types, ranges and checks that several notebooks' parameters share
``presets``       reads the files of parameters in notebooks/presets
"""

from sae_utils.run.parameters.checks import check, parameters_cell

__all__ = ["check", "parameters_cell"]
