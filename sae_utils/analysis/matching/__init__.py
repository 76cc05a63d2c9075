"""What dictionaries that differ in their seed have in common (paper A).

``matching``    pairs of latents of two dictionaries, one to one or nearest; a latent that both share
``overlap``     every pair of a stack compared, and summarised with intervals
``criteria``    published answers to "how much do they share?", and cycles, side by side
``membership``  in how many dictionaries a latent is found
``sweeps``      how the overlap moves with width, k, tokens, layer, site and architecture
``seed_parts``  what a seed is: other initialisation, other order, other text
``assignment``  the exact solver behind one-to-one matching of large dictionaries
"""

from sae_utils.analysis.matching.matching import THRESHOLD, Rows, compare, match, nearest
from sae_utils.analysis.matching.overlap import Pairs, figure_arrays, from_both_sides, pairwise

__all__ = [
    "THRESHOLD",
    "Pairs",
    "Rows",
    "compare",
    "figure_arrays",
    "from_both_sides",
    "match",
    "nearest",
    "pairwise",
]
