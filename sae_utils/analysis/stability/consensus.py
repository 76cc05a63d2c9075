"""A consensus dictionary: the latents that several seeds find, each the mean of its versions, and frequent others.

2606.12138 pools the unique features of several seeds, too; how could not be read. What comes together here was not
trained together: it explains little until it is trained on.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from sae_utils.analysis.directions import covariance
from sae_utils.analysis.matching.membership import membership
from sae_utils.analysis.matching.metric import in_metric
from sae_utils.analysis.matching.overlap import from_both_sides
from sae_utils.saes import SAE, Evaluation, evaluate
from sae_utils.saes.formats.common import stack_saes

BATCH = 4096

Group = Sequence[tuple[int, int]]  # versions of one latent: (position in the stack, latent)


def consensus(
    stack: SAE, members: Sequence[Sequence[int]], evaluation: Evaluation, spread: Float[Tensor, "d d"]
) -> tuple[SAE, list[int]]:
    """A stack with a consensus of each of ``members``, positions in ``stack``; and how many latents of each have two
    versions or more. Seeds are those of the first members.

    It is as wide as its members. Latents that more of them share (strictly, encoders in the metric of ``spread``)
    go first, among equals those that fire more often: where the shared ones are too few, the rest are of one member.
    """
    groups = [_groups(stack, list(some), evaluation, spread) for some in members]
    merged = [_merge(stack, some) for some in groups]
    tensors = {name: torch.cat([one[name] for one in merged]) for name in merged[0]}
    found = [sum(len(group) > 1 for group in some) for some in groups]
    return stack.copy(seeds=[stack.seeds[some[0]] for some in members], **tensors), found


def consensus_of(own: SAE, more: SAE, x: Float[Tensor, "tokens d_in"]) -> tuple[SAE, list[int]]:
    """A consensus of each of ``own`` dictionaries with its share of ``more``, on raw activations, as ``consensus``."""
    stack, n = stack_saes([own, more]), own.n_dictionaries
    share = more.n_dictionaries // n
    members = [[s, *range(n + s * share, n + (s + 1) * share)] for s in range(n)]
    return consensus(stack, members, evaluate(stack, x.split(BATCH)), covariance(x.split(BATCH)))


def _groups(stack: SAE, some: list[int], evaluation: Evaluation, spread) -> list[Group]:
    """As many groups of versions as a dictionary has latents, the most shared first."""
    pairs = from_both_sides(
        in_metric(stack.encoder[some], spread), stack.W_dec[some].detach(), evaluation.alive[some].cpu()
    )
    found = membership(pairs, "strict")
    frequency = evaluation.firing_frequency[some].cpu().tolist()
    counts, n = found.counts.tolist(), stack.config.n_latents
    each = [(i, latent) for i in range(len(some)) for latent in range(n)]
    each.sort(key=lambda at: (counts[at[0]][at[1]], frequency[at[0]][at[1]]), reverse=True)
    groups, taken = [], set()
    for i, latent in each:
        if (i, latent) not in taken and len(groups) < n:
            others = [(j, int(pairs[i, j].decoder.partner[latent])) for j in found.found[i, :, latent].nonzero()[0]]
            group = [(i, latent), *(other for other in others if other not in taken)]
            taken.update(group)
            groups.append([(some[i], latent) for i, latent in group])
    return groups


@torch.no_grad()
def _merge(stack: SAE, groups: Sequence[Group]) -> dict[str, Tensor]:
    """The tensors of one dictionary with a latent for each group: means, of decoder rows at unit length."""
    owner = torch.tensor([i for i, group in enumerate(groups) for _ in group])
    positions, latents = torch.tensor([version for group in groups for version in group]).T
    sizes = torch.bincount(owner).to(stack.W_dec)
    merged = {"threshold": stack.threshold[positions.unique()].mean()[None]}
    for name, parameter in stack.named_parameters():
        if name == "b_dec":
            merged[name] = parameter[positions.unique()].mean(0)[None]
            continue
        rows = parameter[positions, latents]
        rows = F.normalize(rows, dim=-1) if name == "W_dec" else rows
        sums = rows.new_zeros(len(groups), *rows.shape[1:]).index_add_(0, owner.to(rows.device), rows)
        mean = sums / sizes.view(-1, *[1] * (rows.ndim - 1))
        merged[name] = (F.normalize(mean, dim=-1) if name == "W_dec" else mean)[None]
    return merged
