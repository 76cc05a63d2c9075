"""What the later members of a boosted ensemble learn: something new, something found before, or noise.

The measure is paper B's, of stitching (arXiv 2502.04878): a latent is *novel* if inserting it alone lowers the error.
Here member j's latent is inserted into the ensemble of the members before it, with the activation it has on their
residual, beside that member's bias: a latent is not to be praised for the part of the residual that is always there.
With r what bias and members before leave, z the activation in raw units and d the decoder row, the change in MSE is
E|z d|^2 - 2 E z <r, d>.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sae_utils.analysis.ensembles.diversity import THRESHOLD, nearest_by_group
from sae_utils.analysis.stitching.insertion import active, sum_by_latent
from sae_utils.errors import InputError
from sae_utils.saes.ensembles.ensemble import Ensemble

KINDS = ("dead", "noise", "repeated", "found again", "orphan")


@dataclass(frozen=True)
class Insertions:
    """By latent of the ensemble: the change in MSE, raw units, if it alone is inserted into the members before its own.

    The bias of its own member is there already; a latent of the first member is inserted into that alone.
    """

    change: Float[np.ndarray, " n"]
    null: Float[np.ndarray, " n"]  # the same activations on other tokens: what a latent does that knows no token
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
    n, members = 0, list(ensemble.members)
    widths = [member.config.n_latents for member in members]
    change, null, fired = (torch.zeros(sum(widths), dtype=torch.float64, device=ensemble.W_dec.device) for _ in "123")
    for x in batches:
        rest = x.to(ensemble.W_dec.device)
        n += len(rest)
        sums = zip(*(t.split(widths) for t in (change, null, fired)), strict=True)
        for (code, output), member, (own, by_chance, count) in zip(ensemble.parts(rest), members, sums, strict=True):
            tokens, latents, values = active(code, 0)
            values, rows = values / member.scale.double(), member.W_dec[0].double()
            bias = member.mean.double() + member.b_dec[0].double() / member.scale.double()
            square = torch.zeros_like(own).scatter_add_(0, latents, values.square()) * rows.square().sum(-1)
            for total, residual in ((own, rest), (by_chance, rest.roll(1, 0))):
                moment = sum_by_latent(residual.double() - bias, tokens, latents, values, len(own))
                total += square - 2 * (moment * rows).sum(-1)
            count += torch.bincount(latents, minlength=len(own))
            rest = rest - output
    if not n:
        raise InputError("there are no activations to measure the insertion on")
    return Insertions(*(t.div_(n).cpu().numpy() for t in (change, null, fired)))


def kinds(
    ensembles: Sequence[Ensemble], measured: Sequence[Insertions], threshold: float = THRESHOLD
) -> list[np.ndarray]:
    """For each ensemble, the number in ``KINDS`` of every latent; cosines above ``threshold`` count as the same latent.

    *Noise* fires, and lowers no error when inserted. Of what is novel, a *repeated* latent is close to one of an
    earlier member of its own ensemble, one *found again* is close to any latent of another ensemble, and an *orphan*
    is neither. Raises InputError with fewer than two ensembles.
    """
    if len(ensembles) < 2:
        raise InputError("whether a latent is found again needs two ensembles or more")
    rows = [ensemble.W_dec[0][torch.from_numpy(m.alive)] for ensemble, m in zip(ensembles, measured, strict=True)]
    members = [member_of_latent(ensemble) for ensemble in ensembles]
    out = []
    for i, m in enumerate(measured):
        member, alive = members[i][m.alive], m.alive
        to_own = nearest_by_group(rows[i], rows[i], member, same=True)
        earlier = np.where(np.arange(to_own.shape[1]) < member[:, None], to_own, -np.inf).max(axis=1)
        others = torch.cat([other for j, other in enumerate(rows) if j != i])
        elsewhere = nearest_by_group(rows[i], others, np.zeros(len(others), dtype=int))[:, 0]
        kind = np.zeros(len(alive), dtype=int)
        novel = np.where(earlier > threshold, 2, np.where(elsewhere > threshold, 3, 4))
        kind[alive] = np.where(m.change[alive] < 0, novel, 1)
        out.append(kind)
    return out


def shares(kind: np.ndarray, member: np.ndarray) -> Float[np.ndarray, "J kinds"]:
    """The share of each member's latents that are of each kind."""
    return np.stack([np.bincount(kind[member == j], minlength=len(KINDS)) / (member == j).sum() for j in set(member)])


def member_of_latent(ensemble: Ensemble) -> np.ndarray:
    """Number of the member that each latent of an ensemble belongs to."""
    return np.repeat(np.arange(len(ensemble.members)), [m.config.n_latents for m in ensemble.members])
