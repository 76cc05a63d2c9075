"""What one latent is like: how often and how strongly it fires, on what, and which way it points."""

from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import sparse
from torch import Tensor

from sae_utils.analysis.latents.rules import cooccurrence
from sae_utils.errors import InputError


@dataclass(frozen=True)
class LatentProperties:
    """One value per latent; NaN where a latent that never fired has none."""

    firing_frequency: Float[np.ndarray, " n"]  # share of the tokens on which it is active
    mean_activation: Float[np.ndarray, " n"]  # over those tokens, in normalised units
    encoder_decoder_cosine: Float[np.ndarray, " n"]
    pc_alignment: Float[np.ndarray, " n"]  # share of the decoder row's squared length in the top components
    token_entropy: Float[np.ndarray, " n"]  # of the tokens on which it fires: 0 one token, 1 all equally often
    loss_contribution: Float[np.ndarray, " n"]  # rise of the FVU if it were always 0

    def __post_init__(self):
        shapes = {field.name: getattr(self, field.name).shape for field in fields(self)}
        if len(set(shapes.values())) != 1:
            raise InputError(f"properties must have one value per latent, not shapes {shapes}")


def latent_properties(
    codes: sparse.csr_matrix,
    tokens: Int[np.ndarray, " n_tokens"],
    n_vocab: int,
    encoder: Float[Tensor, "n d"],
    decoder: Float[Tensor, "n d"],
    components: Float[Tensor, "m d"],
    loss_rise: Float[np.ndarray, " n"],
) -> LatentProperties:
    """Properties of every latent of a dictionary from its ``codes`` [n_tokens, n] (see ``firing.encode_text``).

    ``tokens`` are the token ids that the codes belong to, ``components`` orthonormal rows (see ``top_components``).
    """
    together = cooccurrence(codes, tokens, n_vocab)
    encoder, decoder = encoder.detach().cpu().double(), decoder.detach().cpu().double()
    fired = codes.getnnz(axis=0)
    with np.errstate(invalid="ignore"):
        mean = np.asarray(codes.sum(axis=0, dtype=np.float64)).ravel() / fired
    return LatentProperties(
        firing_frequency=fired / len(tokens),
        mean_activation=mean,
        encoder_decoder_cosine=torch.nn.functional.cosine_similarity(encoder, decoder, dim=1).numpy(),
        pc_alignment=subspace_share(decoder, components),
        token_entropy=label_entropy(together, len(np.unique(tokens))),
        loss_contribution=loss_rise,
    )


def top_components(activations: Float[Tensor, "n d"], share: float = 0.5) -> Float[Tensor, "m d"]:
    """The fewest principal components, largest first, that together hold ``share`` of the variance; unit rows.

    Raises InputError for activations that are not finite or do not vary.
    """
    if not 0 < share <= 1:
        raise InputError(f"share={share} must be above 0 and at most 1")
    centred = (activations - activations.mean(0)).double()
    if not (centred.isfinite().all() and centred.any()):
        raise InputError(f"activations {tuple(activations.shape)} without finite variance have no principal components")
    variance, vectors = torch.linalg.eigh(centred.T @ centred)
    held = variance.flip(0).cumsum(0) / variance.sum()
    return vectors.flip(1).T[: int((held < share - 1e-12).sum()) + 1]


def subspace_share(rows: Float[Tensor, "n d"], components: Float[Tensor, "m d"]) -> Float[np.ndarray, " n"]:
    """Share of each row's squared length that lies in the span of the components; a random direction has m / d."""
    rows, components = rows.detach().cpu().double(), components.cpu().double()
    return ((rows @ components.T).square().sum(1) / rows.square().sum(1)).numpy()


def label_entropy(counts: sparse.csr_matrix, n_labels: int) -> Float[np.ndarray, " n"]:
    """Entropy of each row's distribution over labels, over log ``n_labels``, at most 1; NaN for an empty row.

    With Miller and Madow's correction for small samples, + (labels seen - 1) / 2n nats. It is not enough where a
    latent fired a few times: n firings show n labels at most, so the value cannot exceed about log n / log n_labels.
    """
    total = np.asarray(counts.sum(axis=1), dtype=np.float64).ravel()
    seen = np.diff(counts.indptr)
    data = counts.data.astype(np.float64)
    rows = np.repeat(np.arange(counts.shape[0]), seen)
    with np.errstate(invalid="ignore", divide="ignore"):
        weighted = np.bincount(rows, data * np.log(data), minlength=len(total))
        nats = np.log(total) - weighted / total + (seen - 1) / (2 * total)
    return np.minimum(nats / np.log(max(2, n_labels)), 1.0)
