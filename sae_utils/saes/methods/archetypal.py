"""Relaxed archetypal SAEs: each decoder row is a mixture of points of the data, and a little more."""

from dataclasses import dataclass
from types import SimpleNamespace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sae_utils.data.activations import check_number, check_whole
from sae_utils.errors import InputError
from sae_utils.memory import ADAM, MemoryPlan, check_fits, free_memory
from sae_utils.saes.losses import LossTerms, training_loss
from sae_utils.saes.methods.method import Method
from sae_utils.saes.sae import MOST, SAE

SHARED = 0  # seed of the centroids that all dictionaries of all stacks begin with


@dataclass(frozen=True)
class Archetypal(Method):
    """RA-SAE (Fel et al. 2025, 2502.12892, section 4 and figure 5; the authors' library overcomplete)::

        W_dec = (A C + R) exp(m)     rows of A at least 0 with sum 1, each row of R at most delta long

    C [n_points, d_in] are centroids of activations and stay. A begins as the identity, R and m at 0; all three learn.
    As in figure 5 each step ends with negative entries of A at 0, its rows divided by their sums, and rows of R
    that are too long shortened; the text bounds |R|^2. A row of A without an entry above 0 has none to divide: it is 0
    until a step gives it one. The scalar m is the library's (``multiplier=False``: m = 0). A learns at ``mixture_rate``
    times the learning rate: Adam's steps are as large whatever the gradient, and as many entries as there are points,
    each of the size of one step, outweigh the 1 that a row begins with.
    The encoder begins as that of any dictionary of the seed; how theirs does in relation to C was not found, and their
    inputs are standardised by dimension, ours as always. The stack must be begun with ``begin`` or ``start``.
    """

    method: str = "archetypal"
    n_points: int | None = None
    delta: float = 1.0
    multiplier: bool = True
    mixture_rate: float = 1.0

    def __post_init__(self):
        super().__post_init__()
        self.check_architecture("topk", "batch_topk")
        check_whole("n_points", self.n_points, self.n_latents)  # each latent begins at a point of its own
        check_number("delta", self.delta, 0, MOST)
        check_number("mixture_rate", self.mixture_rate, 1 / MOST, 1)
        if not isinstance(self.multiplier, bool):
            raise InputError(f"multiplier={self.multiplier!r} must be True or False")
        if self.unit_norm_decoder:
            raise InputError("unit_norm_decoder=True has no archetypal: its rows are where the data is; set False")

    def extend(self, sae: SAE) -> None:
        """Give a new stack what its decoder is made of, and freeze the decoder, which is made anew after each step.

        Raises InputError where memory does not hold A and R with their gradients and Adam's moments.
        """
        learned = 4 * len(sae.seeds) * self.n_latents * (self.n_points + self.d_in)
        check_fits(MemoryPlan(dictionaries=learned, optimiser=len(ADAM) * learned), free_memory("cpu"), "cpu")
        sizes = {
            "mixture": (self.n_latents, self.n_points),
            "relaxation": (self.n_latents, self.d_in),
            "points": (self.n_points, self.d_in),
            "log_multiplier": (1,),
        }
        for name, size in sizes.items():
            learns = name != "points" and (name != "log_multiplier" or self.multiplier)
            setattr(sae, name, nn.Parameter(torch.zeros(len(sae.seeds), *size), requires_grad=learns))
        sae.W_dec.requires_grad_(False)

    def loss(self, sae: SAE, x, dead, step: int) -> LossTerms:
        """The loss without a method of the decoder that A, R and m make. InputError for step 0 without points."""
        if step == 0 and not sae.points.any():
            raise InputError("archetypal: the stack has no points yet; call begin(sae, activations) before training")
        parts = {name: getattr(sae, name) for name in ("config", "encoder", "b_enc", "b_dec", "n_dictionaries")}
        return training_loss(SimpleNamespace(**parts, W_dec=decoder(sae)), x, dead)

    def project(self, sae: SAE) -> None:
        """Make A a mixture and R short enough again, and the decoder, though it is frozen, what they make."""
        mixture = weights(sae).relu()
        sae.mixture.copy_(mixture / (mixture.sum(-1, keepdim=True) + 1e-8) / self.mixture_rate)
        length = sae.relaxation.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(mixture.dtype).tiny)
        sae.relaxation.mul_((self.delta / length).clamp_max(1))
        sae.W_dec.copy_(decoder(sae))


def weights(sae: SAE) -> Float[Tensor, "S n_latents n_points"]:
    """A of each dictionary; the parameter is A over its rate, so that a step of the optimiser moves A by less."""
    return sae.mixture * sae.config.mixture_rate


def own_share(sae: SAE) -> Float[Tensor, "S n_latents"]:
    """How much of each decoder row's mixture is the point that it began at; 1 before training."""
    return weights(sae).detach().diagonal(dim1=1, dim2=2)


def decoder(sae: SAE) -> Float[Tensor, "S n_latents d_in"]:
    """(A C + R) exp(m) of each dictionary."""
    with torch.autocast(sae.mixture.device.type, enabled=False):  # bfloat16 is for the encoder's product alone
        return (torch.bmm(weights(sae), sae.points) + sae.relaxation) * sae.log_multiplier.exp()[..., None]


@torch.no_grad()
def start(sae: SAE, points: Float[Tensor, "S n_points d_in"]) -> None:
    """Begin a new stack at ``points``, in normalised units: latent i of each dictionary at its point i."""
    sae.points.copy_(points)
    sae.mixture.copy_(torch.eye(*sae.mixture.shape[1:]) / sae.config.mixture_rate)
    sae.config.project(sae)


@torch.no_grad()
def rescale(sae: SAE) -> None:
    """Set m so that a begun stack's decoder rows are one long on average, as those of other dictionaries begin.

    Centroids may be far longer, and then what the encoder first asks of them overshoots, and many latents die of it.
    """
    sae.log_multiplier.sub_(sae.W_dec.norm(dim=-1).mean(-1, keepdim=True).log())
    sae.config.project(sae)


def begin(sae: SAE, x: Float[Tensor, "batch d_in"], shared: bool = True) -> None:
    """Begin a new stack at the centroids of raw activations, clustered once for all, or for each seed by itself.

    The paper's are ``shared``, to which Brzozowski and Chung (2026, 2606.02061) attribute its stability; how they
    began without it could not be read. Raises InputError for fewer activations than points.
    """
    from sklearn.cluster import MiniBatchKMeans  # here, since whatever reads an SAE imports this file

    if len(x) < sae.config.n_points:
        raise InputError(f"archetypal needs at least n_points={sae.config.n_points} activations, not {len(x)}")
    data = sae.normalise(x).cpu().numpy()
    seeds = [SHARED] if shared else [seed % 2**32 for seed in sae.seeds]
    found = [MiniBatchKMeans(sae.config.n_points, random_state=seed, n_init=1).fit(data) for seed in seeds]
    start(sae, torch.stack([torch.as_tensor(kmeans.cluster_centers_) for kmeans in found]).expand_as(sae.points))
