"""Which latents of two SAEs stand for each other: the groups that are swapped as a unit (paper B, arXiv 2502.04878).

Draw an edge between a latent of the smaller SAE and one of the larger where the cosine of their decoder rows is above
a threshold. A connected component with latents of both is a group: one for one (identical), one for several (a
split), several for one (merged), or several for several. A latent of the larger SAE without an edge is *novel*, one of
the smaller SAE without an edge is *lost*: nothing in the larger SAE stands for it.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from torch.nn.functional import normalize

from sae_utils.analysis.matching.matching import nearest
from sae_utils.errors import InputError

Kind = Literal["identical", "split", "merged", "many_to_many"]
KINDS: tuple[str, ...] = get_args(Kind)
BLOCK = 4096  # rows whose cosines are held at once


@dataclass(frozen=True)
class SwapGroup:
    """Latents of the smaller SAE and those of the larger that take their place; both ascend."""

    small: Int[np.ndarray, " n"]
    large: Int[np.ndarray, " m"]

    @property
    def kind(self) -> Kind:
        """What the smaller SAE's latents become in the larger one."""
        if len(self.small) == 1:
            return "identical" if len(self.large) == 1 else "split"
        return "merged" if len(self.large) == 1 else "many_to_many"


@dataclass(frozen=True)
class Relation:
    """How two dictionaries relate at one threshold: every latent that counts is in exactly one of the first three."""

    groups: tuple[SwapGroup, ...]
    novel: Int[np.ndarray, " n"]  # of the larger SAE
    lost: Int[np.ndarray, " m"]  # of the smaller SAE
    dead_small: Int[np.ndarray, " a"]  # left out
    dead_large: Int[np.ndarray, " b"]
    cosine: Float[np.ndarray, " m"]  # the largest of each latent of the larger SAE, to one of the smaller that counts

    def counts(self) -> dict[str, int]:
        """Groups of each kind, and novel and lost latents."""
        kinds = [group.kind for group in self.groups]
        return {kind: kinds.count(kind) for kind in KINDS} | {"novel": len(self.novel), "lost": len(self.lost)}


def relate(
    small: Float[Tensor, "n d"],
    large: Float[Tensor, "m d"],
    threshold: float,
    alive_small: Bool[np.ndarray, " n"] | None = None,
    alive_large: Bool[np.ndarray, " m"] | None = None,
) -> Relation:
    """Groups, novel and lost latents of two decoders (rows are latents, in any scale); dead latents are left out.

    Raises InputError for a threshold that is not a cosine.
    """
    if not -1 <= threshold <= 1:
        raise InputError(f"threshold={threshold} must be a cosine, from -1 to 1")
    n, m = len(small), len(large)
    small, large = small.detach().cpu(), large.detach().cpu()
    alive_small = np.ones(n, dtype=bool) if alive_small is None else np.asarray(alive_small)
    alive_large = np.ones(m, dtype=bool) if alive_large is None else np.asarray(alive_large)
    i, j = _edges(small, large, threshold)
    both = alive_small[i] & alive_large[j]
    graph = sparse.coo_matrix((np.ones(both.sum()), (i[both], n + j[both])), shape=(n + m, n + m))
    n_components, label = connected_components(graph, directed=False)
    order = np.argsort(label, kind="stable")
    components = np.split(order, np.searchsorted(label[order], np.arange(1, n_components)))
    # Each part ascends, and numbers from n on are the larger SAE's: it has latents of both, or is no group.
    groups = [SwapGroup(part[part < n], part[part >= n] - n) for part in components if part[0] < n <= part[-1]]
    grouped = np.zeros(n + m, dtype=bool)
    for group in groups:
        grouped[np.concatenate([group.small, n + group.large])] = True
    return Relation(
        tuple(groups),
        np.flatnonzero(alive_large & ~grouped[n:]),
        np.flatnonzero(alive_small & ~grouped[:n]),
        np.flatnonzero(~alive_small),
        np.flatnonzero(~alive_large),
        nearest(large, small[torch.from_numpy(alive_small)]).cosine if alive_small.any() else np.full(m, -1.0),
    )


def _edges(small: Float[Tensor, "n d"], large: Float[Tensor, "m d"], threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Pairs with a cosine above the threshold, some rows of ``small`` at a time."""
    a, b = (normalize(rows.to(torch.float64), dim=-1) for rows in (small, large))
    found = []
    for start in range(0, len(a), BLOCK):
        found.append((a[start : start + BLOCK] @ b.T > threshold).nonzero() + torch.tensor([start, 0]))
    i, j = torch.cat(found).numpy().T
    return i, j
