"""Concepts in labelled text, as SAEBench measures them.

``probing``   how well one, two or five latents of a dictionary tell a concept
``spurious``  removal of a spurious attribute from a probe, latent by latent
"""

from sae_utils.analysis.concepts import probing, spurious

__all__ = ["probing", "spurious"]
