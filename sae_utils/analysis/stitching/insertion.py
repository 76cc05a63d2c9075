"""What inserting latents of one SAE does to the error of another: all latents at once, from one pass.

Paper B (Leask et al. 2025, arXiv 2502.04878), SAE stitching. Insert the set J of latents of the larger SAE (1) into
the smaller one (0). In normalised units x_n = (x - mean) * scale, which must be the same for both::

    x_hat_0  = (sum_i z0_i d0_i + b0_dec) / scale + mean              the smaller SAE, with its decoder bias
    z_j      = activation_1((x_n - b1_dec) W1_enc + b1_enc)_j         the larger SAE's own encoder and own biases
    x_hat_J  = x_hat_0 + sum_{j in J} z_j d_j / scale                 b0_dec stays and counts once; b1_dec is not added

With the smaller SAE's error e = x - x_hat_0, the error becomes e - sum_j z_j d_j / scale, so that the mean squared
error is a quadratic function of what is inserted, whose coefficients are means over tokens::

    MSE(J) - MSE = -2 sum_{j in J} a_j + sum_{i, j in J} H_ij
    a_j  = mean(z_j <e, d_j>) / scale            H_ij = mean(z_i z_j) <d_i, d_j> / scale^2

One latent alone changes it by -2 a_j + H_jj. Bias treatment matters: a reviewer found b_dec missing in the paper's
equation. A latent of a TopK SAE brings the activation that it has in its own SAE, where it competes with that SAE's
latents; it does not compete with the smaller SAE's for its k places, so that L0 rises. Sums are in float64.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_utils.errors import InputError
from sae_utils.saes import SAE, Stitched, kernels
from sae_utils.saes.stitched import check_one, check_pair


@dataclass(frozen=True)
class Insertion:
    """Coefficients of the change in MSE for each pair of a small (s) and a large (t) dictionary, in raw units."""

    mse: Float[np.ndarray, " S"]  # of the small dictionaries, per token, summed over dimensions
    linear: Float[np.ndarray, "S T n"]  # a_j
    square: Float[np.ndarray, "T n"]  # H_jj
    firing_frequency: Float[np.ndarray, "T n"]
    replaced: Mapping[str, Float[np.ndarray, "S T n"]] = field(default_factory=dict)  # a_j with other decoder rows
    quadratic: Float[np.ndarray, "T n n"] | None = None  # H_ij, where sets were asked for

    @property
    def change(self) -> Float[np.ndarray, "S T n"]:
        """Change in MSE when one latent is inserted alone."""
        return self.square - 2 * self.linear

    @property
    def novel(self) -> Bool[np.ndarray, "S T n"]:
        """Latents whose insertion lowers MSE; of the others, those that are alive are reconstruction latents."""
        return self.change < 0

    @property
    def alive(self) -> Bool[np.ndarray, "T n"]:
        """Latents that fire; for the others, insertion is no change."""
        return self.firing_frequency > 0

    def change_replaced(self, name: str) -> Float[np.ndarray, "S T n"]:
        """``change`` with the rows ``name``, of the same norms, in the place of the latents' own."""
        return self.square - 2 * self.replaced[name]

    def change_of_set(self, s: int, t: int, chosen: Bool[np.ndarray, " n"]) -> float:
        """Change in MSE of small dictionary ``s`` when all ``chosen`` latents of large dictionary ``t`` go in."""
        quadratic = self._quadratic(t)
        return float(quadratic[np.ix_(chosen, chosen)].sum() - 2 * self.linear[s, t][chosen].sum())

    def greedy(self, s: int, t: int, allowed: Bool[np.ndarray, " n"]) -> Int[np.ndarray, " m"]:
        """The ``allowed`` latents in the order in which each lowers MSE most, or raises it least, after the others."""
        quadratic, marginal = self._quadratic(t), self.change[s, t].copy()
        marginal[~allowed] = np.inf
        order = []
        for _ in range(int(allowed.sum())):
            j = int(marginal.argmin())
            order.append(j)
            marginal += 2 * quadratic[j]
            marginal[j] = np.inf
        return np.array(order, dtype=int)

    def along(self, s: int, t: int, order: Int[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
        """Total change in MSE after each of the latents of large dictionary ``t`` is inserted in this order."""
        quadratic = self._quadratic(t)[np.ix_(order, order)]
        return (self.change[s, t][order] + 2 * np.tril(quadratic, -1).sum(1)).cumsum()

    def _quadratic(self, t: int) -> Float[np.ndarray, "n n"]:
        if self.quadratic is None:
            raise InputError("sets need mean products of activations: call insert with sets=True")
        return self.quadratic[t]


@torch.no_grad()
def insert(
    small: SAE | Stitched,
    large: SAE,
    batches: Iterable[Float[Tensor, "batch d_in"]],
    replacements: Mapping[str, Float[Tensor, "T n d_in"]] | None = None,
    sets: bool = False,
) -> Insertion:
    """Insertion of every latent of every dictionary of ``large`` into every one of ``small``, in one pass.

    ``replacements`` are decoder rows to be tried in place of ``large``'s own (a null); with ``sets``, the products
    that sets of latents need are summed too, T n^2 numbers. Raises InputError for SAEs that do not fit together, for
    widths in the wrong order and without activations.
    """
    check_pair(small, large)
    device, shape = large.W_dec.device, large.b_enc.shape
    rows = {"": large.W_dec, **(replacements or {})}
    rows = {name: r.detach().to(device, torch.float64) for name, r in rows.items()}
    n_tokens, error_sum = 0, torch.zeros(small.n_dictionaries, dtype=torch.float64, device=device)
    products = {name: torch.zeros(small.n_dictionaries, *shape, dtype=torch.float64, device=device) for name in rows}
    squares, fired = (torch.zeros(shape, dtype=torch.float64, device=device) for _ in range(2))
    together = np.zeros((shape[0], shape[1], shape[1])) if sets else None
    for x in batches:
        x = x.to(device)
        error, code = (x[:, None] - small(x)).double(), large.encode(x)
        n_tokens += len(x)
        error_sum += error.square().sum((0, 2))
        for t in range(large.n_dictionaries):
            tokens, latents, values = code.active(t)
            moment = kernels.sum_by_latent(error.flatten(1), tokens, latents, values, shape[1])
            moment = moment.unflatten(1, error.shape[1:])
            for name, decoder in rows.items():
                products[name][:, t] += torch.einsum("nsd,nd->sn", moment, decoder[t])
            squares[t].scatter_add_(0, latents, values.square())
            fired[t] += torch.bincount(latents, minlength=shape[1])
            if sets:
                matrix = code.matrix(t, shape[1])
                together[t] += (matrix.T @ matrix).toarray()
    if not n_tokens:
        raise InputError("there are no activations to measure the insertion on")
    scale = float(large.scale.double())
    mean = {name: (p / (n_tokens * scale)).cpu().numpy() for name, p in products.items()}
    norms = rows[""].square().sum(-1)
    if sets:
        gram = torch.einsum("tid,tjd->tij", rows[""], rows[""]).cpu().numpy()
        together *= gram / (n_tokens * scale**2)
    return Insertion(
        (error_sum / n_tokens).cpu().numpy(),
        mean.pop(""),
        (squares * norms / (n_tokens * scale**2)).cpu().numpy(),
        (fired / n_tokens).cpu().numpy(),
        mean,
        together,
    )


def check_two(small: SAE, large: SAE) -> None:
    """Raise InputError unless both are stacks of one that can be stitched, ``large`` no narrower than ``small``."""
    check_one(small)
    check_one(large)
    check_pair(small, large)
