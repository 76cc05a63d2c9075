"""SAE stitching (paper B, Leask et al. 2025, arXiv 2502.04878): latents of one dictionary put into another.

=================  =====================================================================================
``insertion``      the change in MSE when one latent, or a set, of another SAE is inserted
``novelty``        novel and reconstruction latents, and how well the decoder cosine tells them apart
``width_pairs``    both, for all dictionaries of two widths, with a null and intervals
``swap_groups``    which latents of two SAEs stand for each other
``walk``           from a small SAE to a large one in steps: the error, L0 and dictionary after each
``together``       all novel latents at once: what of their sum is double, and what makes it add
``frankenstein``   novel latents of ever larger SAEs added up
``between_seeds``  latents inserted into a dictionary that differs in its seed alone
=================  =====================================================================================

The stitched dictionary itself, which can be used as an SAE, is ``sae_utils.saes.stitched``.
"""

from sae_utils.analysis.stitching.frankenstein import frankensteins, fvu_at, fvu_at_l0
from sae_utils.analysis.stitching.insertion import insert
from sae_utils.analysis.stitching.novelty import PAPER_THRESHOLDS
from sae_utils.analysis.stitching.swap_groups import KINDS
from sae_utils.analysis.stitching.together import code_the_residual, insert_together, residuals

__all__ = [
    "KINDS",
    "PAPER_THRESHOLDS",
    "code_the_residual",
    "frankensteins",
    "fvu_at",
    "fvu_at_l0",
    "insert",
    "insert_together",
    "residuals",
]
