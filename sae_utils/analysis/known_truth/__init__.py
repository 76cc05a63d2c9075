"""Agreement, novelty and ensembles held against features that are known (``data.synthetic``).

``truth``        what each latent is: atom, composite, tile of a circle, other
``agreement``    P(atom | found in c of S seeds), its AUC, and the null that deals the atoms out anew
``novelty``      insertion against what the smaller dictionary lacks
``observables``  what can be seen without the truth
"""

from sae_utils.analysis.known_truth.agreement import Agreement, found_in
from sae_utils.analysis.known_truth.novelty import novelty
from sae_utils.analysis.known_truth.observables import closest_cofiring
from sae_utils.analysis.known_truth.truth import COMPOSITE, truth_of

__all__ = ["COMPOSITE", "Agreement", "closest_cofiring", "found_in", "novelty", "truth_of"]
