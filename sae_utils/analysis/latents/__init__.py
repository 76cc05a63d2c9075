"""One latent at a time: where it fires, what it is like, and whether other seeds find it.

``firing``            codes of a text, laid beside its tokens
``contexts``          windows of text around a latent's firings
``properties``        frequency, activation, token entropy, direction, loss contribution
``rules``             the best simple rule for when a latent fires, and its score
``shared_or_orphan``  what tells latents that other seeds find from those that none finds
``pages``             what the explorer shows of each latent, as arrays
"""

from sae_utils.analysis.latents import pages, rules, shared_or_orphan
from sae_utils.analysis.latents.contexts import Window, choose_contexts
from sae_utils.analysis.latents.firing import encode_text
from sae_utils.analysis.latents.properties import LatentProperties, latent_properties, top_components

__all__ = [
    "LatentProperties",
    "Window",
    "choose_contexts",
    "encode_text",
    "latent_properties",
    "pages",
    "rules",
    "shared_or_orphan",
    "top_components",
]
