"""Novel and reconstruction latents, and whether the decoder alone tells which is which (paper B, arXiv 2502.04878).

A latent of the larger SAE is *novel* if its insertion lowers the smaller SAE's MSE, a *reconstruction* latent if not:
the smaller SAE has it already. The cheap proxy asks the weights only: novel if the largest cosine of its decoder row
to a decoder row of the smaller SAE is at most a threshold (0.7 for GPT-2, 0.4 for Gemma Scope in the paper).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from sklearn.metrics import roc_curve

from sae_utils.errors import InputError

PAPER_THRESHOLDS = {"GPT-2": 0.7, "Gemma Scope": 0.4}


@dataclass(frozen=True)
class Separation:
    """How well the proxy tells novel from reconstruction latents, over all thresholds and at the best one."""

    false_positive_rate: Float[np.ndarray, " t"]  # of reconstruction latents, the share called novel
    true_positive_rate: Float[np.ndarray, " t"]  # of novel latents, the share called novel
    auc: float  # chance that a novel latent has the smaller cosine of the two, ties counted half; 0.5 knows nothing
    threshold: float  # with the largest balanced accuracy, midway between the cosines that it parts
    balanced_accuracy: float  # at that threshold: the mean of the two shares that are called right


def separation(max_cosine: Float[np.ndarray, " n"], change: Float[np.ndarray, " n"]) -> Separation:
    """The proxy (novel: cosine at most a threshold) against the sign of the change in MSE (novel: below 0).

    Pass alive latents alone: what never fires is neither. Numbers are NaN where all latents are of one kind.
    """
    novel = change < 0
    if novel.all() or not novel.any():
        nothing = np.array([0.0, 1.0])
        return Separation(nothing, nothing, float("nan"), float("nan"), float("nan"))
    wrong, right, scores = roc_curve(novel, -max_cosine, drop_intermediate=False)
    best = int((right - wrong).argmax())
    above = max_cosine[max_cosine > -scores[best]]
    threshold = (-scores[best] + above.min()) / 2 if best and len(above) else float(max_cosine.min() - 1e-9)
    auc = float(np.trapezoid(right, wrong))
    return Separation(wrong, right, auc, float(threshold), float((1 + right[best] - wrong[best]) / 2))


def accuracy_at(threshold: float, max_cosine: Float[np.ndarray, " n"], change: Float[np.ndarray, " n"]) -> float:
    """Balanced accuracy of the proxy at a given threshold; NaN where all latents are of one kind."""
    novel, called = change < 0, max_cosine <= threshold
    if novel.all() or not novel.any():
        return float("nan")
    return float((called[novel].mean() + (~called[~novel]).mean()) / 2)


@dataclass(frozen=True)
class Association:
    """Two yes-or-no properties of the same latents."""

    table: tuple[tuple[int, int], tuple[int, int]]  # rows: first yes, no; columns: second yes, no

    @property
    def log_odds_ratio(self) -> float:
        """Natural logarithm; 0 is no association. With Haldane's 0.5 in each cell, so that it is always finite."""
        (a, b), (c, d) = np.asarray(self.table) + 0.5
        return float(np.log(a * d / (b * c)))


def associate(first: Bool[np.ndarray, " n"], second: Bool[np.ndarray, " n"]) -> Association:
    """The contingency table of two properties. Raises InputError for arrays of different length."""
    if first.shape != second.shape:
        raise InputError(f"properties of {first.shape} and {second.shape} latents cannot be compared")
    yes = int((first & second).sum()), int((first & ~second).sum())
    no = int((~first & second).sum()), int((~first & ~second).sum())
    return Association((yes, no))
