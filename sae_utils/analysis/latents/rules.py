"""How well the best simple rule about the text says when a latent fires, without a language model that explains.

A rule reads one label of the token: "the current token is one of T", "the previous token is one of T", "its role is
one of R". It is chosen by balanced accuracy on one part of the text and scored on another (paper A scores a language
model's explanations by the same measure). It may name any number of values: a limit would be a limit on how often a
latent may fire. Everything comes from counts, latent by label, in sparse matrices.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from scipy import sparse
from torch import Tensor

from sae_utils.analysis.directions import random_directions
from sae_utils.errors import InputError

MIN_FIRINGS = 20  # in each part; below, a score says more about the sample than about the latent


@dataclass(frozen=True)
class Kind:
    """A kind of rule: which label it reads, and how many values that may have."""

    label: str  # name of the label, as in Text.labels
    n_labels: int

    def __post_init__(self):
        if self.n_labels < 1:
            raise InputError(f"rule on {self.label!r}: n_labels={self.n_labels} must be 1 or more")


@dataclass(frozen=True)
class Text:
    """Labels of the tokens of one part of the text, by name; a negative label is unknown and in no rule."""

    labels: Mapping[str, Int[np.ndarray, " n"]]

    @staticmethod
    def of(
        rows: Int[np.ndarray, "n_rows context"],
        positions: Int[np.ndarray, " n"],
        roles: Int[np.ndarray, "n_rows context"] | None = None,
    ) -> "Text":
        """Labels ``token``, ``previous token`` and, where any is known, ``role`` of some positions of packed rows.

        ``positions`` count along the rows laid end to end. Raises InputError for the first of a row, which has no
        previous token.
        """
        if (positions % rows.shape[1] == 0).any():
            raise InputError("the first position of a row has no previous token: no rule can read it")
        labels = {"token": rows.ravel()[positions], "previous token": rows.ravel()[positions - 1]}
        if roles is not None and (roles.ravel()[positions] >= 0).any():
            labels["role"] = roles.ravel()[positions]
        return Text({name: values.astype(np.int64) for name, values in labels.items()})

    def part(self, chosen: Shaped[np.ndarray, " m"]) -> "Text":
        """The labels of the tokens that a mask or an index chooses."""
        return Text({name: values[chosen] for name, values in self.labels.items()})

    def shuffled(self, seed: int) -> "Text":
        """The tokens' labels dealt to other tokens: the null in which latents fire regardless of the text."""
        n = len(next(iter(self.labels.values())))
        return self.part(np.random.default_rng(seed).permutation(n))


@dataclass(frozen=True)
class Counts:
    """How often each latent fires beside each label, and how often there is each label, fired or not."""

    together: sparse.csr_matrix  # [n, n_labels]
    there: Int[np.ndarray, " n_labels"]
    fired: Int[np.ndarray, " n"]
    n_tokens: int

    def net_rate(self, together, there, fired):
        """Share of the firings less share of the other tokens: what one label adds to 2 (balanced accuracy) - 1."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return together / fired - (there - together) / (self.n_tokens - fired)


@dataclass(frozen=True)
class RuleScores:
    """The best rule of each latent, and its balanced accuracy; NaN without ``MIN_FIRINGS`` in both parts."""

    kinds: tuple[Kind, ...]
    best: Int[np.ndarray, " n"]  # index into kinds
    rules: tuple[sparse.csr_matrix, ...]  # by kind: what each value of its best rule adds, above 0 [n, n_labels]
    held_out: Float[np.ndarray, " n"]  # balanced accuracy on text where it was not chosen

    @property
    def scored(self) -> Bool[np.ndarray, " n"]:
        """Latents that have a score."""
        return ~np.isnan(self.held_out)

    def rule(self, latent: int) -> tuple[str, list[int]]:
        """Name of the label that a latent's best rule reads, and the values that it names, what adds most first."""
        kind = self.best[latent]
        values = self.rules[kind][latent]
        return self.kinds[kind].label, values.indices[np.argsort(-values.data, kind="stable")].tolist()


def score_rules(
    kinds: Sequence[Kind],
    finding: tuple[sparse.csr_matrix, Text],
    scoring: tuple[sparse.csr_matrix, Text],
) -> RuleScores:
    """Choose each latent's rule on ``finding`` and score it on ``scoring``: codes [n_tokens, n] and their labels.

    A latent fires where its code is not 0. Raises InputError where codes and labels differ in length.
    """
    rules, left_out, held_out = [], [], []
    for kind in kinds:
        counts = [count(codes, text.labels[kind.label], kind.n_labels) for codes, text in (finding, scoring)]
        rules.append(best_sets(counts[0]))
        left_out.append(left_out_accuracy(counts[0]))
        held_out.append(balanced_accuracy(rules[-1], counts[1]))
    # Of rules that are equally good, the first kind's: argmax takes it.
    best = np.argmax(np.nan_to_num(left_out), axis=0)
    enough = np.all([np.minimum(c.fired, c.n_tokens - c.fired) >= MIN_FIRINGS for c in counts], axis=0)
    score = np.where(enough, np.choose(best, held_out), np.nan)
    return RuleScores(tuple(kinds), best, tuple(rules), score)


def count(codes: sparse.csr_matrix, labels: Int[np.ndarray, " n_tokens"], n_labels: int) -> Counts:
    """Counts of a part of the text. Raises InputError where codes and labels differ in length."""
    there = np.bincount(labels[labels >= 0], minlength=n_labels)
    return Counts(cooccurrence(codes, labels, n_labels), there, codes.getnnz(axis=0), len(labels))


def cooccurrence(codes: sparse.csr_matrix, labels: Int[np.ndarray, " n_tokens"], n_labels: int) -> sparse.csr_matrix:
    """Tokens [n, n_labels] with each label on which each latent fires; labels below 0 are left out."""
    if codes.shape[0] != len(labels):
        raise InputError(f"codes of {codes.shape[0]} tokens do not belong to {len(labels)} labels")
    known = np.flatnonzero(labels >= 0)
    ones = np.ones(len(known), dtype=np.int32)
    has_label = sparse.csr_matrix((ones, (known, labels[known])), shape=(len(labels), n_labels))
    fires = sparse.csr_matrix((np.ones(codes.nnz, np.int32), codes.indices, codes.indptr), shape=codes.shape)
    return (fires.T.tocsr() @ has_label).tocsr()


def best_sets(counts: Counts) -> sparse.csr_matrix:
    """For each latent the labels with the largest balanced accuracy together: what each adds, above 0 [n, n_labels].

    Balanced accuracy is a sum over the labels of a set, so the best set holds each label that raises it; none for a
    latent that never fired.
    """
    together = counts.together.tocoo()
    gain = counts.net_rate(together.data, counts.there[together.col], counts.fired[together.row])
    taken = gain > 0
    return sparse.csr_matrix((gain[taken], (together.row[taken], together.col[taken])), shape=together.shape)


def balanced_accuracy(rules: sparse.csr_matrix, counts: Counts) -> Float[np.ndarray, " n"]:
    """Mean of the share of firings that each latent's rule covers and the share of other tokens that it does not.

    NaN for a latent that fires on no token, or on all.
    """
    named = rules.astype(bool)
    together = np.asarray(counts.together.multiply(named).sum(axis=1)).ravel()
    return (1 + counts.net_rate(together, named.astype(np.int64) @ counts.there, counts.fired)) / 2


def left_out_accuracy(counts: Counts) -> Float[np.ndarray, " n"]:
    """Balanced accuracy of each latent's best set, found anew for each token without that token.

    Of many labels some go with the firings by chance; a set that is scored where it was found would count them, the
    more, the more labels there are. NaN for a latent that fires on no token, or on all.
    """
    c = counts.together.tocoo()
    together, there, fired = c.data.astype(float), counts.there[c.col], counts.fired[c.row]
    silent, n_silent = there - together, counts.n_tokens - fired
    with np.errstate(invalid="ignore", divide="ignore"):
        hits = together * ((together - 1) / (fired - 1) > silent / n_silent)
        misses = silent * (together / fired > (silent - 1) / (n_silent - 1))
        hit, missed = (np.bincount(c.row, x, minlength=c.shape[0]) for x in (hits, misses))
        return (1 + hit / counts.fired - missed / (counts.n_tokens - counts.fired)) / 2


def rule_similarity(a: RuleScores, b: RuleScores, partner: Int[np.ndarray, " n"]) -> tuple[float, float]:
    """How alike are the best rules of matched latents, and of any two latents? Means over latents that have a score.

    Of two rules of one kind the share of values in common, |A and B| / sqrt(|A| |B|); of different kinds 0. NaN where
    no latent and its partner both have a score.
    """
    one, other = _rule_vectors(a), _rule_vectors(b)
    has = np.flatnonzero((partner >= 0) & a.scored & b.scored[partner])
    if not len(has):
        return float("nan"), float("nan")
    matched = one[has].multiply(other[partner[has]]).sum() / len(has)
    of_any = one[a.scored].sum(axis=0) @ other[b.scored].sum(axis=0).T / (a.scored.sum() * b.scored.sum())
    return float(matched), float(of_any.item())


def _rule_vectors(scores: RuleScores) -> sparse.csr_matrix:
    """Each latent's best rule as a vector of length 1 over the values of all kinds; 0 for an empty rule."""
    kinds = enumerate(scores.rules)
    blocks = [sparse.diags_array((scores.best == kind).astype(float)) @ rules.astype(bool) for kind, rules in kinds]
    vectors = sparse.csr_matrix(sparse.hstack(blocks))
    size = np.asarray(vectors.sum(axis=1)).ravel()
    return sparse.csr_matrix(sparse.diags_array(1 / np.sqrt(np.maximum(size, 1))) @ vectors)


def random_direction_codes(
    finding: Float[Tensor, "n d"], scoring: Float[Tensor, "m d"], frequency: Float[np.ndarray, " k"], seed: int
) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """The null of a latent's score: random directions that fire where they have a large cosine to the activation.

    Each fires on the ``frequency`` of the tokens of ``finding`` on which its cosine is largest, and above the same
    threshold on ``scoring``. By projection, all would choose tokens of large norm, which are a few and easily named.
    Gives 0/1 codes [n, k] and [m, k]. Pass activations about their mean.
    """
    finding, scoring = (torch.nn.functional.normalize(part, dim=1) for part in (finding, scoring))
    directions = random_directions(len(frequency), finding.shape[1], seed).to(finding.dtype)
    n_fire = np.rint(frequency * len(finding)).astype(int).clip(1, len(finding) - 1)
    parts: tuple[list, list] = [], []
    for start in range(0, len(directions), 64):  # bounds the projections that are held
        some = directions[start : start + 64].T
        chosen = (finding @ some).numpy()
        counts = n_fire[start : start + 64]
        threshold = np.array([np.partition(column, -n)[-n] for column, n in zip(chosen.T, counts, strict=True)])
        for part, projected in zip(parts, (chosen, (scoring @ some).numpy()), strict=True):
            part.append(sparse.csc_matrix(projected >= threshold))
    return sparse.hstack(parts[0], format="csr"), sparse.hstack(parts[1], format="csr")
