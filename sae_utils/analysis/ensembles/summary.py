"""The metrics of paper C for several ensembles of one kind, each against the number of members, with intervals."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_utils.analysis.directions import DECODERS, UNIFORM, second_moment
from sae_utils.analysis.ensembles import diversity
from sae_utils.analysis.ensembles.profile import Profile, profile
from sae_utils.analysis.statistics import Interval, over_seeds
from sae_utils.saes import SAE, SAEConfig
from sae_utils.saes.ensembles import Ensemble
from sae_utils.saes.ensembles.paper_c import Rivals

BATCH = 512
CONNECTIVITY_TOKENS = 100  # with many more, every two latents of a dictionary of hundreds meet on some token
OF_WEIGHTS = ("mse", "fvu", "explained_variance")  # methods of Profile

Metrics = Mapping[str, Float[np.ndarray, "R J"]]  # of R ensembles, of their first 1, 2, .. J members
Runs = Float[np.ndarray, "R+1 J"]  # of all ensembles together, and of all but each (``diversity.stability``)


def profiles(ensembles: Sequence[Ensemble], x: Float[Tensor, "n d_in"]) -> list[Profile]:
    """``profile`` of each on raw activations."""
    return [profile(ensemble, x.split(BATCH)) for ensemble in ensembles]


def reconstruction(evaluated: Sequence[Profile], fitted: Sequence[Profile] | None = None) -> Metrics:
    """MSE, FVU, paper C's explained variance, L0 and relative sparsity of the first 1, 2, .. J members.

    With ``fitted``, profiles of the same ensembles on other tokens, at the least-squares weights of those tokens.
    """
    out: dict[str, list] = {name: [] for name in OF_WEIGHTS}
    for i, p in enumerate(evaluated):
        weights = [fitted[i].least_squares(n) if fitted else p.weights(n) for n in range(1, p.n_members + 1)]
        for name in OF_WEIGHTS:
            out[name].append([getattr(p, name)(w) for w in weights])
    l0 = np.array([p.l0 for p in evaluated])
    return {name: np.array(rows) for name, rows in out.items()} | {
        "l0": l0,
        "relative_sparsity": l0 / np.cumsum(evaluated[0].widths),
    }


def share_of_independent(evaluated: Sequence[Profile]) -> Float[np.ndarray, " R"]:
    """The error that each bag takes away from its members, as a share of what it would were their errors independent.

    Averaging J errors without correlation leaves 1 / J of their mean MSE; equal ones lose nothing.
    """
    parts = np.array([p.ambiguity(p.n_members) for p in evaluated])
    return parts[:, 1] / parts[:, 0] / (1 - 1 / evaluated[0].n_members)


def single_members(evaluated: Sequence[Profile]) -> dict[str, Float[np.ndarray, "R 1"]]:
    """The metrics of ``reconstruction`` for a member by itself: the mean over the members of each bag."""
    out = {
        name: [np.mean([getattr(p, name)(w) for w in np.eye(p.n_members)]) for p in evaluated] for name in OF_WEIGHTS
    }
    out["l0"] = [p.l0[-1] / p.n_members for p in evaluated]
    out["relative_sparsity"] = [p.l0[-1] / sum(p.widths) for p in evaluated]
    return {name: np.array(values)[:, None] for name, values in out.items()}


def dictionary_metrics(
    ensembles: Sequence[Ensemble], evaluated: Sequence[Profile], x: Float[Tensor, "n d_in"]
) -> Metrics:
    """Connectivity and diversity of the alive latents of the first 1, 2, .. J members, and how many are alive.

    ``connectivity_null`` is that of latents which fire independently, as often as these on the evaluated tokens.
    """
    tokens = x[:CONNECTIVITY_TOKENS]
    out: dict[str, list] = {name: [] for name in ("connectivity", "connectivity_null", "diversity", "alive")}
    for e, p, rows, member in zip(ensembles, evaluated, *_alive_latents(ensembles, evaluated), strict=True):
        alive = p.firing_frequency > 0
        code = e.encode(tokens).matrix(0, len(alive))[:, alive]
        out["connectivity"].append(diversity.connectivity(code, member))
        out["connectivity_null"].append(diversity.connectivity_null(p.firing_frequency[alive], member, len(tokens)))
        out["diversity"].append(diversity.diversity(rows, member))
        out["alive"].append(np.bincount(member).cumsum())
    return {name: np.array(values) for name, values in out.items()}


def stabilities(ensembles: Sequence[Ensemble], evaluated: Sequence[Profile]) -> dict[str, Runs]:
    """Relaxed stability of the alive latents of ensembles of one kind, of the first 1, 2, .. J members (``stability``).

    Beside it two nulls of as many random directions: ``stability_uniform``, and ``stability_decoders``, which point
    where the decoder rows of these ensembles point as a whole. ``stability_excess`` is what is above the second.
    """
    return _with_nulls(*_alive_latents(ensembles, evaluated))


def member_stabilities(ensembles: Sequence[Ensemble], evaluated: Sequence[Profile]) -> dict[str, Runs]:
    """``stabilities`` of each member alone: its latents against those of the same member of the other ensembles.

    A null's directions point where the rows of these members point, and column j is of member j.
    """
    rows, members = _alive_latents(ensembles, evaluated)
    of_members = []
    for j in range(evaluated[0].n_members):
        own = [r[torch.from_numpy(member == j)] for r, member in zip(rows, members, strict=True)]
        of_members.append(_with_nulls(own, [np.zeros(len(r), dtype=int) for r in own]))
    return {name: np.concatenate([found[name] for found in of_members], axis=1) for name in of_members[0]}


def _with_nulls(rows: Sequence[Float[Tensor, "n d"]], members: Sequence[Int[np.ndarray, " n"]]) -> dict[str, Runs]:
    own = diversity.stability(rows, members)
    null = diversity.stability_null(members, second_moment(torch.cat(list(rows))))
    return {
        "stability": own,
        f"stability_{UNIFORM}": diversity.stability_null(members, torch.eye(rows[0].shape[1])),
        f"stability_{DECODERS}": null,
        "stability_excess": own - null,
    }


def _alive_latents(
    ensembles: Sequence[Ensemble], evaluated: Sequence[Profile]
) -> tuple[list[Float[Tensor, "n d"]], list[Int[np.ndarray, " n"]]]:
    """Decoder rows and member numbers of the latents that fire."""
    alive = [p.firing_frequency > 0 for p in evaluated]
    rows = [e.W_dec[0, torch.from_numpy(a)].cpu() for e, a in zip(ensembles, alive, strict=True)]
    return rows, [p.member_of_latent[a] for p, a in zip(evaluated, alive, strict=True)]


def interval_rows(values: Float[np.ndarray, "R J"]) -> Float[np.ndarray, "J 3"]:
    """Mean over ensembles with Student's interval, for each number of members: estimate, low, high."""
    return np.array([over_seeds(column).ends for column in np.asarray(values).T])


def run_rows(values: Runs) -> Float[np.ndarray, "J 3"]:
    """``interval_rows`` for what ``stabilities`` gives, with the jackknife over ensembles."""
    return np.array([interval.ends for interval in diversity.over_runs(values)])


def intervals_of(
    found: Mapping[str, Metrics], rows: Callable[[np.ndarray], Float[np.ndarray, "J 3"]] = interval_rows
) -> dict[str, dict[str, Float[np.ndarray, "J 3"]]]:
    """The intervals of every metric of every method, by method and name; ``run_rows`` for what is over runs."""
    return {method: {name: rows(values) for name, values in metrics.items()} for method, metrics in found.items()}


def costs(
    metrics: Metrics, config: SAEConfig, n_tokens: int, sequential: bool = False
) -> list[tuple[float, float, float]]:
    """Total L0, operations of training and MSE of the first 1, 2, .. J members, means over the ensembles.

    ``config`` is that of a member, and ``n_tokens`` what each is trained on. Operations are those of dense products, 6
    per weight and token and 2 for a frozen pass: residuals are kept between the stages of boosting, so that each token
    passes once through each member but the last. Sparse kernels do less, the same share of it everywhere.
    """
    l0, mse = metrics["l0"].mean(0), metrics["mse"].mean(0)
    weights = 2 * config.d_in * config.n_latents  # of encoder and decoder
    found = []
    for j in range(len(mse)):
        operations = n_tokens * weights * (6 * (j + 1) + (2 * j if sequential else 0))
        found.append((float(l0[j]), float(operations), float(mse[j])))
    return found


def last(metrics: Metrics, name: str) -> Float[np.ndarray, " R"]:
    """A metric of the whole ensembles."""
    return np.asarray(metrics[name])[:, -1]


def difference(one: Metrics, other: Metrics, name: str) -> Interval:
    """By how much the whole ensembles of ``one`` are above those of ``other`` in a metric, ensemble by ensemble."""
    return over_seeds(last(one, name) - last(other, name))


def run_difference(one: Runs, other: Runs) -> Interval:
    """``difference`` for what ``stabilities`` gives, with the jackknife over ensembles."""
    return diversity.over_runs(one[:, -1:] - other[:, -1:])[0]


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
    return [Ensemble([stack.dictionary(i)]) for i in range(stack.n_dictionaries)]
