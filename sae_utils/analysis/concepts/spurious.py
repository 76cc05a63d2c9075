"""Spurious correlation removal (SCR): take out of a biased probe what it knows of an attribute it should not use.

SAEBench's version of SHIFT (Marks et al. 2024, section 4; Karvonen et al. 2025, arXiv 2503.09532, section on SCR; code
``evals/scr_and_tpp``). A *target* and a *spurious* attribute always agree in the data of a *biased* probe, so it
learns both. Latents are ranked by their effect on a probe of the spurious attribute (fitted on balanced data), the
first n are set to zero, and the biased probe is scored on a balanced test set:

    S = (accuracy after ablation - accuracy before) / (accuracy of a probe fitted on balanced data - accuracy before)

S is 1 where the bias is gone and the target whole, 0 where nothing changed, below 0 where the target was harmed. What
differs here: probes are logistic regressions fitted to convergence. SAEBench takes 20 epochs of AdamW with an L1
penalty and keeps the epoch that is best on the test set, so its probes have seen it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from sae_utils.analysis.concepts.probing import mean_difference
from sae_utils.data.labelled import Quadrants
from sae_utils.errors import InputError
from sae_utils.saes import SAE, SparseCode

Eraser = Callable[[Float[np.ndarray, "... d"]], Float[np.ndarray, "... d"]]

LEAST_HARM = 0.05  # accuracy that the bias must cost: S divides by it, and hundreds of texts tell two or three points


@dataclass(frozen=True)
class LinearProbe:
    """Says 1 where ``x @ weight + bias`` is above 0."""

    weight: Float[np.ndarray, " d"]
    bias: float

    @staticmethod
    def fit(x: Float[np.ndarray, "n d"], labels: Bool[np.ndarray, " n"]) -> "LinearProbe":
        """Logistic regression on standardised features (scikit-learn's penalty: L2, C = 1), for raw activations."""
        scaler = StandardScaler().fit(x)
        regression = LogisticRegression(max_iter=1000).fit(scaler.transform(x), labels)
        weight = regression.coef_[0] / scaler.scale_
        return LinearProbe(weight, float(regression.intercept_[0] - weight @ scaler.mean_))

    def predict(self, x: Float[np.ndarray, "... d"]) -> Bool[np.ndarray, "..."]:
        """The class of each row."""
        return x @ self.weight + self.bias > 0


@dataclass(frozen=True)
class Setting:
    """One target and one spurious attribute: its probes, and the accuracy of two of them on the balanced test set.

    Accuracies are by quadrant [target, spurious]. ``biased`` is fitted where both agree, ``clean`` on as many windows
    of all four quadrants, ``spurious`` on all windows of all four.
    """

    quadrants: Quadrants
    biased: LinearProbe
    spurious: LinearProbe
    before: Float[np.ndarray, "2 2"]
    clean: Float[np.ndarray, "2 2"]

    @property
    def harm(self) -> float:
        """Accuracy that the bias costs: what S divides by."""
        return float(self.clean.mean() - self.before.mean())

    def score(self, after: Float[np.ndarray, "... 2 2"]) -> Float[np.ndarray, "..."]:
        """S of accuracies by quadrant; not a number where the bias costs less than LEAST_HARM."""
        gain = after.mean((-1, -2)) - self.before.mean()
        return gain / self.harm if self.harm >= LEAST_HARM else gain * np.nan


def setting(x: Float[np.ndarray, "n d"], quadrants: Quadrants) -> Setting:
    """Fit the probes; ``x`` are pooled raw activations, the first attribute is the target, the second spurious.

    The clean probe sees half of the windows of each quadrant, the biased one all of two: equally many, because S would
    count a gain from more windows as a cost of the bias. Of an odd number in a quadrant both leave out the last.
    """
    rows, half = quadrants.train, quadrants.train.shape[2] // 2
    biased = _target_probe(x, rows[[0, 1], [0, 1], : 2 * half])
    clean = _target_probe(x, rows[..., :half].reshape(2, -1))
    spurious = LinearProbe.fit(x[rows].reshape(-1, x.shape[1]), _spurious_labels(rows))
    test = x[quadrants.test]
    return Setting(quadrants, biased, spurious, quadrant_accuracy(biased, test), quadrant_accuracy(clean, test))


def _target_probe(x: Float[np.ndarray, "n d"], rows: Int[np.ndarray, "2 n_rows"]) -> LinearProbe:
    """Fitted to the target, of which ``rows`` are the windows without (first) and with it."""
    return LinearProbe.fit(x[rows.ravel()], np.repeat([False, True], rows.shape[1]))


def worth_scoring(settings: Sequence[Setting]) -> list[Setting]:
    """Those in which the bias costs LEAST_HARM or more; raises InputError where they are of fewer than two pairs."""
    found = [s for s in settings if s.harm >= LEAST_HARM]
    if len(_pairs(found)) < 2:
        raise InputError("the bias costs five points in fewer than two pairs: nothing to score")
    return found


def quadrant_accuracy(probe: LinearProbe, x: Float[np.ndarray, "2 2 n d"]) -> Float[np.ndarray, "2 2"]:
    """Accuracy on the target (first axis) in each quadrant. The smallest is the worst group's."""
    return (probe.predict(x) == np.array([False, True])[:, None, None]).mean(-1)


def latent_directions(dictionary: SAE) -> Float[np.ndarray, "S n_latents d"]:
    """What one unit of each latent adds to what ``decode`` gives: with normalisation and an ensemble's weights."""
    device = dictionary.W_dec.device
    with torch.no_grad():
        n_dictionaries = dictionary.encode(torch.zeros(1, dictionary.config.d_in, device=device)).values.shape[1]
        latents = torch.arange(dictionary.config.n_latents, device=device)
        which = latents[:, None, None].expand(-1, n_dictionaries, 1).contiguous()
        ones = torch.ones(which.shape, device=device)
        with_latent = dictionary.decode(SparseCode(ones, which))
        without = dictionary.decode(SparseCode(torch.zeros_like(ones[:1]), which[:1]))
    return (with_latent - without).transpose(0, 1).cpu().numpy()


def effects(
    setting: Setting, codes: Float[np.ndarray, "n n_latents"], directions: Float[np.ndarray, "n_latents d"]
) -> Float[np.ndarray, " n_latents"]:
    """Of each latent on the spurious attribute's probe: |difference of its means between classes * (w . direction)|.

    On the balanced training windows. ``codes`` are pooled.
    """
    rows = setting.quadrants.train
    gap = mean_difference(codes[rows.ravel()], _spurious_labels(rows))
    return np.abs(gap * (directions @ setting.spurious.weight))


def ablate(
    x: Float[np.ndarray, "... d"],
    codes: Float[np.ndarray, "... n_latents"],
    directions: Float[np.ndarray, "n_latents d"],
    latents: Int[np.ndarray, " n"],
    level: Float[np.ndarray, " n_latents"] | float = 0.0,
) -> Float[np.ndarray, "... d"]:
    """Activations with the latents at ``level``: the reconstruction of such a code, plus the error that it had.

    Decoding is linear, so pooled activations and pooled codes give the mean of what single tokens would give.
    """
    level = np.broadcast_to(level, directions.shape[:1])
    return x - (codes[..., latents] - level[latents]) @ directions[latents]


def removal_curve(
    setting: Setting,
    x: Float[np.ndarray, "n d"],
    codes: Float[np.ndarray, "n n_latents"],
    directions: Float[np.ndarray, "n_latents d"],
    ns: Sequence[int],
    order: Int[np.ndarray, " n_latents"] | None = None,
    to_mean: bool = False,
) -> Float[np.ndarray, "ns 2 2"]:
    """Accuracy of the biased probe by quadrant, with the first n latents ablated, for each n.

    The order is by their effect, largest first, unless another is given. Latents without any effect are left alone.
    They are set to zero, as in SAEBench, or ``to_mean``: to their mean over the balanced training windows. Where a
    latent fires for one class alone, zero moves that class towards the other, and with it the probe's share of positive
    answers; the mean does not.
    """
    size = effects(setting, codes, directions)
    if order is None:
        order = np.argsort(-size, kind="stable")[: int((size > 0).sum())]
    rows = setting.quadrants
    level = codes[rows.train].mean((0, 1, 2)) if to_mean else 0.0
    test, test_codes = x[rows.test], codes[rows.test]
    changed = (ablate(test, test_codes, directions, order[:n], level) for n in ns)
    return np.stack([quadrant_accuracy(setting.biased, part) for part in changed])


def random_order(
    codes: Float[np.ndarray, "n n_latents"], rows: Int[np.ndarray, "2 2 n"], seed: int
) -> Int[np.ndarray, " alive"]:
    """The null: latents that fire on the training windows, in random order."""
    alive = np.flatnonzero((codes[rows.ravel()] != 0).any(0))
    return np.random.default_rng(seed).permutation(alive)


def removal_curves(
    settings: Sequence[Setting],
    x: Float[np.ndarray, "n d"],
    codes: Float[np.ndarray, "n S n_latents"],
    directions: Float[np.ndarray, "S n_latents d"],
    ns: Sequence[int],
    to_mean: bool = False,
    random_seed: int | None = None,
) -> Float[np.ndarray, "S ns settings 2 2"]:
    """``removal_curve`` of every dictionary of a stack in every setting; with ``random_seed`` in ``random_order``."""
    curves = []
    for z, rows in zip(codes.swapaxes(0, 1), directions, strict=True):
        orders = [None if random_seed is None else random_order(z, s.quadrants.train, random_seed) for s in settings]
        found = [removal_curve(s, x, z, rows, ns, o, to_mean) for s, o in zip(settings, orders, strict=True)]
        curves.append(np.stack(found, axis=1))
    return np.stack(curves)


def pair_scores(
    settings: Sequence[Setting], after: Float[np.ndarray, "... settings 2 2"]
) -> Float[np.ndarray, "... pairs"]:
    """S of every pair of attributes: the mean over its directions that are among the settings.

    Both directions have the same windows, so they are no independent tries: what intervals are over is pairs.
    """
    found = np.stack([s.score(after[..., i, :, :]) for i, s in enumerate(settings)], axis=-1)
    return np.stack([found[..., directions].mean(-1) for directions in _pairs(settings)], axis=-1)


def _pairs(settings: Sequence[Setting]) -> list[list[int]]:
    """Positions of the settings of each pair of attributes, whichever is the target."""
    positions: dict[frozenset[str], list[int]] = {}
    for i, found in enumerate(settings):
        positions.setdefault(frozenset(found.quadrants.attributes), []).append(i)
    return list(positions.values())


def leace(x: Float[np.ndarray, "n d"], labels: Bool[np.ndarray, " n"]) -> Eraser:
    """The affine map that erases a label with two values from activations and moves these as little as possible.

    Belrose et al. 2023 (arXiv 2306.03819), theorem 4.3: x - Sigma^(1/2) u u^T Sigma^(-1/2) (x - mean), with u the unit
    vector along Sigma^(-1/2) s, Sigma the covariance of x and s that of x and the label. For one label this is
    x - s (s^T Sigma^+ (x - mean)) / (s^T Sigma^+ s). No linear probe then beats a constant on this data.
    """
    x = np.asarray(x, dtype=np.float64)
    mean = x.mean(0)
    centred, z = x - mean, labels - labels.mean()
    s = centred.T @ z / len(x)
    whitened = np.linalg.pinv(centred.T @ centred / len(x), hermitian=True) @ s
    v = whitened / (s @ whitened)
    return lambda rows: rows - ((rows - mean) @ v)[..., None] * s


def erased_accuracy(setting: Setting, x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "2 2"]:
    """Accuracy of the biased probe by quadrant after LEACE of the spurious attribute, fitted on balanced windows."""
    rows = setting.quadrants
    erase = leace(x[rows.train].reshape(-1, x.shape[1]), _spurious_labels(rows.train))
    return quadrant_accuracy(setting.biased, erase(x[rows.test]))


def _spurious_labels(rows: Int[np.ndarray, "2 2 n"]) -> Bool[np.ndarray, " 4n"]:
    """The spurious attribute of every window of the four quadrants [target, spurious], laid end to end."""
    return np.indices(rows.shape)[1].ravel() == 1
