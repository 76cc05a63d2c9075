"""What the later members of a boosted ensemble learn: something new, something found before, or noise.

The measure is that of paper B's stitching (arXiv 2502.04878): a latent is *novel* if inserting it alone lowers the
error. Here member j's latent is inserted into the ensemble of the members before it, with its activation on their
residual, beside member j's bias, so that no latent is credited with the constant part of the residual. With r what
bias and members before leave, z the activation in raw units and d the decoder row, the change in MSE is
E|z d|^2 - 2 E z <r, d>.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_utils.analysis.ensembles.diversity import THRESHOLD, nearest_by_group
from sae_utils.errors import InputError
from sae_utils.saes import kernels
from sae_utils.saes.ensembles import Ensemble

KINDS = ("dead", "noise", "repeated", "found again", "orphan")
DEAD, NOISE, REPEATED, FOUND_AGAIN, ORPHAN = range(len(KINDS))


@dataclass(frozen=True)
class Insertions:
    """By latent of an ensemble: the change in MSE, raw units, if it alone is inserted into the members before its own.

    The bias of its own member is there already; a latent of the first member is inserted into that alone.
    """

    member: Int[np.ndarray, " n"]  # number of the member that the latent belongs to
    change: Float[np.ndarray, " n"]
    null: Float[np.ndarray, " n"]  # the change with the same activations dealt to other tokens
    firing_frequency: Float[np.ndarray, " n"]

    @property
    def alive(self) -> Bool[np.ndarray, " n"]:
        """Latents that fire."""
        return self.firing_frequency > 0


@torch.no_grad()
def insertions(ensemble: Ensemble, batches: Iterable[Float[Tensor, "batch d_in"]]) -> Insertions:
    """One pass over raw activations in random order. Raises InputError for a bag and where there are no activations."""
    if not ensemble.sequential:
        raise InputError("the members of a bag do not come one after another; pass a boosted ensemble")
    widths = [member.config.n_latents for member in ensemble.members]
    sums = torch.zeros(3, sum(widths), dtype=torch.float64, device=ensemble.W_dec.device)
    n_tokens = 0
    for x in batches:
        rest = x.to(sums.device)
        n_tokens += len(rest)
        by_member = zip(ensemble.parts(rest), ensemble.members, sums.split(widths, dim=1), strict=True)
        for (code, output), member, (change, null, fired) in by_member:
            tokens, latents, values = code.active(0)
            values, rows = values / member.scale.double(), member.W_dec[0].double()
            bias = member.mean.double() + member.b_dec[0].double() / member.scale.double()
            square = torch.zeros_like(change).scatter_add_(0, latents, values.square()) * rows.square().sum(-1)
            for total, residual in ((change, rest), (null, rest.roll(1, 0))):
                moment = kernels.sum_by_latent(residual.double() - bias, tokens, latents, values, len(change))
                total += square - 2 * (moment * rows).sum(-1)
            fired += torch.bincount(latents, minlength=len(change))
            rest = rest - output
    if not n_tokens:
        raise InputError("there are no activations to measure the insertion on")
    member = np.repeat(np.arange(len(widths)), widths)
    return Insertions(member, *sums.div_(n_tokens).cpu().numpy())


def kinds(ensembles: Sequence[Ensemble], measured: Sequence[Insertions]) -> list[Int[np.ndarray, " n"]]:
    """For each ensemble, the number in ``KINDS`` of every latent; cosines above ``THRESHOLD`` count as the same latent.

    *Noise* fires, and lowers no error when inserted. Of what is novel, a *repeated* latent is close to one of an
    earlier member of its own ensemble, one *found again* is close to any latent of another ensemble, and an *orphan*
    is neither. Raises InputError with fewer than two ensembles.
    """
    if len(ensembles) < 2:
        raise InputError("whether a latent is found again needs two ensembles or more")
    rows = [ensemble.W_dec[0][torch.from_numpy(m.alive)] for ensemble, m in zip(ensembles, measured, strict=True)]
    found = []
    for i, m in enumerate(measured):
        member, noise = m.member[m.alive], m.change[m.alive] >= 0
        to_own = nearest_by_group(rows[i], rows[i], member, same=True)
        earlier = np.where(np.arange(to_own.shape[1]) < member[:, None], to_own, -np.inf).max(axis=1)
        others = torch.cat(rows[:i] + rows[i + 1 :])
        elsewhere = nearest_by_group(rows[i], others, np.zeros(len(others), dtype=int))[:, 0]
        kind = np.full(len(m.alive), DEAD)
        conditions = [noise, earlier > THRESHOLD, elsewhere > THRESHOLD]
        kind[m.alive] = np.select(conditions, [NOISE, REPEATED, FOUND_AGAIN], ORPHAN)
        found.append(kind)
    return found


def shares(kind: Int[np.ndarray, " n"], member: Int[np.ndarray, " n"]) -> Float[np.ndarray, "J kinds"]:
    """The share of each member's latents that are of each kind."""
    of_members = [kind[member == j] for j in np.unique(member)]
    return np.stack([np.bincount(k, minlength=len(KINDS)) / len(k) for k in of_members])
