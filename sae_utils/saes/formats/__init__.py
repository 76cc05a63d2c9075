"""Dictionaries in the files of other libraries, read and written.

``read``                 one door: recognises the format of a folder, a file or a name on the hub
``published``            trained SAEs of others in the place of those that a notebook would train
``common``               what all formats share
``saelens``, ``sparsify``, ``dictionary_learning``, ``gemma_scope``   one format each; the first two are written too
``mapping``              home-made files, whose tensors a ``mapping.yaml`` beside them names
``saebench``             a dictionary or an ensemble as a custom SAE of SAEBench
"""

from sae_utils.saes.formats.published import Published, as_family, as_stack, read_published, with_unit_rows
from sae_utils.saes.formats.read import read_sae
from sae_utils.saes.formats.saebench import SAEBenchSAE
from sae_utils.saes.formats.saelens import write_saelens
from sae_utils.saes.formats.sparsify import write_sparsify

__all__ = [
    "Published",
    "SAEBenchSAE",
    "as_family",
    "as_stack",
    "read_published",
    "read_sae",
    "with_unit_rows",
    "write_saelens",
    "write_sparsify",
]
