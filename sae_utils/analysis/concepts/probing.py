"""Sparse probing: how well do one, two or five latents of a dictionary tell a concept?

Codes are averaged over the tokens of a text, the k latents whose means differ most between the classes are chosen on
the training texts, and a logistic regression on them is scored on the test texts: by accuracy in SAEBench (Karvonen et
al. 2025, arXiv 2503.09532; its code, ``evals/sparse_probing``), which paper C takes, and by the area under the ROC
curve in sae-probes (Kantamneni et al. 2025, arXiv 2502.16681). One probe gives both here. What differs: features are
standardised before the regression, because its penalty would otherwise depend on the units of a dictionary's codes (a
bag of J divides them by J), where sae-probes chooses the penalty on part of the training texts; and the baseline of raw
activations is fitted by the same solver.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.special import expit
from scipy.stats import rankdata
from torch import Tensor
from tqdm import tqdm

from sae_utils.data.activations import forward, kept_positions, rows_in_a_pass
from sae_utils.data.labelled import Task
from sae_utils.data.models.language_model import LanguageModel
from sae_utils.errors import InputError
from sae_utils.saes import SAE

TOKENS = 1024  # encoded at once: the pre-activations of a wide ensemble are large
ALL = slice(None)
NEWTON_STEPS = 50  # at most; ten do


@dataclass(frozen=True)
class Pooled:
    """Means over the kept positions of each window: raw activations, and each dictionary's codes."""

    activations: Float[np.ndarray, "n d"]
    codes: dict[str, Float[np.ndarray, "n S n_latents"]]


@torch.no_grad()
def pool(
    model: LanguageModel,
    tokens: Int[np.ndarray, "n context"],
    hook_point: str,
    dictionaries: Mapping[str, SAE],
) -> Pooled:
    """Run the language model once over the windows and pool what every dictionary makes of them.

    Left out, as in training: first positions and end-of-text tokens, with which short texts are filled up. A
    dictionary is anything that encodes as ``SAE`` does: a ``SparseCode`` whose indices are below ``config.n_latents``.
    Raises InputError for a window of which nothing is kept.
    """
    keep = kept_positions(tokens, model.tokenizer.eos_token_id)
    if not keep.any(1).all():
        raise InputError(f"{int((~keep.any(1)).sum())} windows have no token but their first and the end-of-text token")
    raw, codes = [], {name: [] for name in dictionaries}
    kept_parts = torch.from_numpy(keep).split(rows_in_a_pass(model, tokens.shape[1]))
    parts = zip(forward(model, tokens, [hook_point]), kept_parts, strict=True)
    for part, kept in tqdm(parts, desc="pooling", total=len(kept_parts), unit="batch"):
        kept = kept.to(part[hook_point].device)
        x, window, counts = part[hook_point][kept].float(), kept.nonzero()[:, 0], kept.sum(1)
        raw.append(torch.zeros(len(counts), x.shape[1], device=x.device).index_add_(0, window, x) / counts[:, None])
        for name, dictionary in dictionaries.items():
            codes[name].append((_code_sums(dictionary, x, window, len(counts)) / counts[:, None, None]).cpu().numpy())
    return Pooled(torch.cat(raw).cpu().numpy(), {name: np.concatenate(found) for name, found in codes.items()})


def _code_sums(
    dictionary: SAE, x: Float[Tensor, "tokens d"], window: Int[Tensor, " tokens"], n: int
) -> Float[Tensor, "n S n_latents"]:
    """Codes of the tokens, summed over those of each window."""
    n_latents, sums = dictionary.config.n_latents, None
    for part, home in zip(x.split(TOKENS), window.split(TOKENS), strict=True):
        code = dictionary.encode(part)
        stack = torch.arange(code.values.shape[1], device=x.device)[:, None]
        if sums is None:
            sums = torch.zeros(n * len(stack) * n_latents, device=x.device)
        place = (home[:, None, None] * len(stack) + stack) * n_latents + code.indices
        sums.index_add_(0, place.flatten(), code.values.flatten().to(sums.dtype))
    return sums.view(n, -1, n_latents)


def bags(codes: Float[np.ndarray, "n S n_latents"], size: int) -> Float[np.ndarray, "n bags size*n_latents"]:
    """Codes of naive bags of ``size`` members each, from the codes of the members: side by side, divided by ``size``.

    Paper C, proposition 3.1. Members are taken in order; those left over are in no bag. Raises InputError where there
    are fewer than ``size``.
    """
    n, n_dictionaries, n_latents = codes.shape
    count = n_dictionaries // size
    if count < 1:
        raise InputError(f"a bag of {size} cannot be made of {n_dictionaries} dictionaries")
    return (codes[:, : count * size] / size).reshape(n, count, size * n_latents)


def mean_difference(
    x: Float[np.ndarray, "n features"], labels: Bool[np.ndarray, " n"]
) -> Float[np.ndarray, " features"]:
    """Mean of the positive less mean of the negative windows, by feature, in float64."""
    return x[labels].mean(0, dtype=np.float64) - x[~labels].mean(0, dtype=np.float64)


def probe(
    x: Float[np.ndarray, "n features"], task: Task, features: Int[np.ndarray, " k"] | slice = ALL
) -> Float[np.ndarray, " n_test"]:
    """The log odds that a probe on these features gives each test window; on all raw activations, the ceiling."""
    few = x[:, features]
    train, test = few[task.train].astype(np.float64), few[task.test]
    mean, spread = train.mean(0), train.std(0)
    spread[spread == 0] = 1
    design = np.column_stack([(train - mean) / spread, np.ones(len(train))])
    weights, penalty = np.zeros(design.shape[1]), np.append(np.ones(train.shape[1]), 0)
    # Newton's method: of a few features thirteen times as fast as scikit-learn's solver, for the same optimum.
    for _ in range(NEWTON_STEPS):
        p = expit(design @ weights)
        hessian = (design.T * (p * (1 - p))) @ design + np.diag(penalty)
        step = np.linalg.solve(hessian, design.T @ (p - task.train_labels) + penalty * weights)
        weights -= step
        if np.abs(step).max() < 1e-6:
            break
    return (test - mean) / spread @ weights[:-1] + weights[-1]


def sparse_probes(
    x: Float[np.ndarray, "n features"],
    task: Task,
    ks: Sequence[int],
    among: Sequence[Int[np.ndarray, " candidates"] | slice] = (ALL,),
) -> Float[np.ndarray, "draws ks n_test"]:
    """Log odds of a probe on the best k features, for each k, with each of the sets of candidates."""
    size = np.abs(mean_difference(x[task.train], task.train_labels))
    features = np.arange(len(size))
    found = []
    for candidates in among:
        best = features[candidates][np.argsort(-size[candidates], kind="stable")]
        found.append(np.stack([probe(x, task, best[:k]) for k in ks]))
    return np.stack(found)


def probe_dictionaries(
    codes: Float[np.ndarray, "n S features"], task: Task, ks: Sequence[int]
) -> Float[np.ndarray, "S ks n_test"]:
    """Sparse probes of every dictionary."""
    return np.stack([sparse_probes(x, task, ks)[0] for x in codes.swapaxes(0, 1)])


def right(log_odds: Float[np.ndarray, "... n_test"], task: Task) -> Bool[np.ndarray, "... n_test"]:
    """Which test windows a probe tells: those whose log odds are above 0 and that have the concept, and the others."""
    return (log_odds > 0) == task.test_labels


def accuracy(log_odds: Float[np.ndarray, "... n_test"], task: Task) -> Float[np.ndarray, "..."]:
    """The share of the test windows that a probe tells: SAEBench's score."""
    return right(log_odds, task).mean(-1)


def auc(log_odds: Float[np.ndarray, "... n_test"], task: Task) -> Float[np.ndarray, "..."]:
    """The area under the ROC curve: how often a window with the concept has the larger log odds; ties count half."""
    ranks = rankdata(log_odds, axis=-1)
    n_with = task.test_labels.sum()
    return (ranks[..., task.test_labels].mean(-1) - (n_with + 1) / 2) / (len(task.test_labels) - n_with)


SCORES = {"accuracy": accuracy, "AUC": auc}


def scores_of(
    log_odds: Sequence[Float[np.ndarray, "S ... n_test"]], tasks: Sequence[Task], score: str
) -> Float[np.ndarray, "S ... tasks"]:
    """One of ``SCORES`` on every task."""
    return np.stack([SCORES[score](found, task) for found, task in zip(log_odds, tasks, strict=True)], axis=-1)


def probe_subsets(
    codes: Float[np.ndarray, "n S features"], task: Task, ks: Sequence[int], size: int, n_draws: int = 2
) -> Float[np.ndarray, "S draws ks n_test"]:
    """As ``probe_dictionaries``, but the best features are chosen among ``size`` that are drawn at random.

    A wider dictionary has more chances of a good feature; this gives it as many as a narrower one has.
    """
    found = []
    for s, x in enumerate(codes.swapaxes(0, 1)):
        rng = np.random.default_rng((0, s))
        draws = [rng.choice(x.shape[1], size, replace=False) for _ in range(n_draws)]
        found.append(sparse_probes(x, task, ks, draws))
    return np.stack(found)


def probe_random_latents(
    codes: Float[np.ndarray, "n S features"], task: Task, ks: Sequence[int], n_draws: int = 3
) -> Float[np.ndarray, "S draws ks n_test"]:
    """The floor: probes on latents drawn at random from those that fire on the training windows."""
    found = []
    for s, x in enumerate(codes.swapaxes(0, 1)):
        rng = np.random.default_rng((0, s))
        alive = np.flatnonzero((x[task.train] != 0).any(0))
        draws = [rng.permutation(alive)[: max(ks)] for _ in range(n_draws)]
        found.append(np.stack([[probe(x, task, some[:k]) for k in ks] for some in draws]))
    return np.stack(found)
