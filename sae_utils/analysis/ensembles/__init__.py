"""Ensembles of SAEs, in the terms of paper C (Gadgil et al., arXiv 2505.16077).

``profile``          error by number and weights of members
``diversity``        connectivity, diversity and stability of their latents
``summary``          both for several ensembles of one kind, with intervals
``bagging_gain``     the gain of bagging, told from what the members share
``boosting_stages``  what later members learn
"""

from sae_utils.analysis.ensembles import bagging_gain, boosting_stages, summary
from sae_utils.analysis.ensembles.profile import on_frontier, principal_components

__all__ = ["bagging_gain", "boosting_stages", "on_frontier", "principal_components", "summary"]
