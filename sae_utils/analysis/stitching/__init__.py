"""SAE stitching (paper B, Leask et al. 2025, arXiv 2502.04878): the functions of its five steps in one place.

==================  ===================================================================================
``insertion``       the change in MSE when one latent, or a set, of another SAE is inserted
``novelty``         novel and reconstruction latents, and how well the decoder cosine tells them apart
``swap_groups``     which latents of two SAEs stand for each other
``interpolation``   the walk from a small SAE to a large one
``frankenstein``    novel latents of ever larger SAEs added up
``stitched``        a dictionary made of latents of several SAEs, used as an SAE
==================  ===================================================================================
"""

from sae_utils.analysis.stitching.frankenstein import frankensteins, fvu_at
from sae_utils.analysis.stitching.insertion import Insertion, insert, insert_competing
from sae_utils.analysis.stitching.novelty import (
    PAPER_THRESHOLDS,
    Association,
    Separation,
    accuracy_at,
    associate,
    over_chains,
    over_latents,
    over_ordered_pairs,
    over_seeds,
    over_widths,
    separation,
)
from sae_utils.analysis.stitching.swap_groups import KINDS, Relation, SwapGroup, relate
from sae_utils.analysis.stitching.walk import (
    PairError,
    Step,
    Walk,
    dictionary_after,
    direction,
    pair_error,
    walk,
    walk_steps,
)
from sae_utils.saes.stitched import Part, Stitched, check_pair, whole

__all__ = [
    "KINDS",
    "PAPER_THRESHOLDS",
    "Association",
    "Insertion",
    "PairError",
    "Part",
    "Relation",
    "Separation",
    "Step",
    "Stitched",
    "SwapGroup",
    "Walk",
    "accuracy_at",
    "associate",
    "check_pair",
    "dictionary_after",
    "direction",
    "frankensteins",
    "fvu_at",
    "insert",
    "insert_competing",
    "over_chains",
    "over_latents",
    "over_ordered_pairs",
    "over_seeds",
    "over_widths",
    "pair_error",
    "relate",
    "separation",
    "walk",
    "walk_steps",
    "whole",
]
