"""The one-to-one assignment of the largest total cosine, exact, without the matrix of cosines.

``assignment`` solves it from ``candidates`` (pairs that may matter) and proves it by ``duals`` (potentials checked
against all pairs); ``auction`` gives rough potentials to start from, ``products`` multiplies rows block by block.
"""

from sae_utils.analysis.matching.assignment.assignment import Assignment, assign

__all__ = ["Assignment", "assign"]
