"""The metrics of paper C for several ensembles of one kind, each against the number of members, with intervals."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_utils.analysis import diversity
from sae_utils.analysis.ensembles import Profile, profile
from sae_utils.analysis.insertion import code_matrix
from sae_utils.analysis.intervals import Interval
from sae_utils.analysis.novelty import over_seeds
from sae_utils.analysis.nulls import UNIFORM, second_moment
from sae_utils.dictionary.ensemble import Ensemble
from sae_utils.dictionary.rivals import Rivals
from sae_utils.dictionary.sae import SAE

BATCH = 512
CONNECTIVITY_TOKENS = 1_000  # with many more, every two latents of a dictionary of hundreds meet on some token
FITTED = ("mse", "fvu", "explained_variance")


def profiles(ensembles: Sequence[Ensemble], x: Float[Tensor, "n d_in"]) -> list[Profile]:
    """``profile`` of each on raw activations."""
    return [profile(ensemble, x.split(BATCH)) for ensemble in ensembles]


def reconstruction(
    evaluated: Sequence[Profile], fitted: Sequence[Profile] | None = None
) -> dict[str, Float[np.ndarray, "R J"]]:
    """MSE, FVU, paper C's explained variance, L0 and relative sparsity of the first 1, 2, .. J members.

    With ``fitted``, profiles of the same ensembles on other tokens, at the least-squares weights of those tokens.
    """
    out: dict[str, list] = {name: [] for name in FITTED}
    for i, p in enumerate(evaluated):
        weights = [fitted[i].least_squares(n) if fitted else p.weights(n) for n in range(1, p.n_members + 1)]
        for name in FITTED:
            out[name].append([getattr(p, name)(w) for w in weights])
    l0 = np.array([p.l0 for p in evaluated])
    return {name: np.array(rows) for name, rows in out.items()} | {
        "l0": l0,
        "relative_sparsity": l0 / np.cumsum(evaluated[0].widths),
    }


def dictionary_metrics(
    ensembles: Sequence[Ensemble], evaluated: Sequence[Profile], x: Float[Tensor, "n d_in"]
) -> dict[str, Float[np.ndarray, "R J"]]:
    """Connectivity, diversity and stability of the alive latents of the first 1, 2, .. J members.

    Beside ``stability``, two nulls of as many random directions: ``stability_uniform``, and ``stability_decoders``,
    which point where the decoder rows of these ensembles point as a whole.
    """
    alive = [p.firing_frequency > 0 for p in evaluated]
    rows = [e.W_dec[0, torch.from_numpy(a)].cpu() for e, a in zip(ensembles, alive, strict=True)]
    members = [p.member_of_latent[a] for p, a in zip(evaluated, alive, strict=True)]
    codes = [
        code_matrix(e.encode(x[:CONNECTIVITY_TOKENS]), 0, len(a))[:, a] for e, a in zip(ensembles, alive, strict=True)
    ]
    return {
        "connectivity": np.array([diversity.connectivity(c, m) for c, m in zip(codes, members, strict=True)]),
        "diversity": np.array([diversity.diversity(r, m) for r, m in zip(rows, members, strict=True)]),
        "alive": np.array([np.bincount(m).cumsum() for m in members]),
        "stability": diversity.stability(rows, members),
        f"stability_{UNIFORM}": diversity.stability_null(members, torch.eye(rows[0].shape[1])),
        "stability_decoders": diversity.stability_null(members, second_moment(torch.cat(rows))),
    }


def interval_rows(values: Float[np.ndarray, "R J"]) -> Float[np.ndarray, "J 3"]:
    """Mean over ensembles with Student's interval, for each number of members: estimate, low, high."""
    return np.array([[i.estimate, i.low, i.high] for i in (over_seeds(column) for column in np.asarray(values).T)])


def last(metrics: Mapping[str, Float[np.ndarray, "R J"]], name: str) -> Float[np.ndarray, " R"]:
    """A metric of the whole ensembles."""
    return np.asarray(metrics[name])[:, -1]


def lead(
    one: Mapping[str, Float[np.ndarray, "R J"]], other: Mapping[str, Float[np.ndarray, "R J"]], name: str
) -> Interval:
    """By how much the whole ensembles of ``one`` are above those of ``other`` in a metric, ensemble by ensemble."""
    return over_seeds(last(one, name) - last(other, name))


def as_ensembles(rivals: Rivals) -> dict[str, list[Ensemble]]:
    """Naive bagging, boosting and the expanded SAE, that as an ensemble of one; ``n_ensembles`` of each."""
    size = rivals.n_members
    return {
        "bagging": [Ensemble.bag(rivals.single, range(r * size, (r + 1) * size)) for r in range(rivals.n_ensembles)],
        "boosting": rivals.boosting,
        "expanded": singles(rivals.expanded),
    }


def singles(stack: SAE) -> list[Ensemble]:
    """Each dictionary of a stack as an ensemble of one."""
    return [Ensemble([stack.member(i)]) for i in range(stack.n_members)]
