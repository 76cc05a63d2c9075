"""What one can see of a dictionary without knowing its atoms: does it tell whether shared latents are composites?"""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize

from sae_utils.errors import InputError
from sae_utils.saes import Dictionary


def firing_correlation(
    dictionary: Dictionary, batches: Iterable[Float[Tensor, "batch d_in"]], index: int = 0
) -> Float[np.ndarray, "n n"]:
    """Pearson correlation of the firing (yes or no) of each two latents of one dictionary; 0 on the diagonal.

    It is 0 for a latent that never or always fires. Raises InputError where there are no activations.
    """
    n_tokens, together = 0, 0
    for x in batches:
        fires = (dictionary.encode(x).matrix(index, dictionary.W_dec.shape[1]) > 0).astype(np.float64)
        together = together + fires.T @ fires
        n_tokens += len(x)
    if not n_tokens:
        raise InputError("there are no activations to correlate firing on")
    both = np.asarray(together.todense()) / n_tokens
    frequency = both.diagonal()
    spread = np.sqrt(frequency * (1 - frequency))
    product = np.outer(spread, spread)
    correlation = np.divide(both - np.outer(frequency, frequency), product, np.zeros_like(both), where=product > 0)
    np.fill_diagonal(correlation, 0)
    return correlation


def closest_cofiring(
    dictionary: Dictionary,
    batches: Iterable[Float[Tensor, "batch d_in"]],
    chosen: Bool[np.ndarray, " n"],
    index: int = 0,
) -> dict[str, float]:
    """Means over the ``chosen`` latents of one dictionary; NaN where none is chosen.

    *top correlation*: the largest correlation of its firing with that of another latent. *top cosine*: the largest
    cosine of its decoder row with that of another latent that fires.
    """
    if not chosen.any():
        return {"top correlation": float("nan"), "top cosine": float("nan")}
    correlation = firing_correlation(dictionary, batches, index)
    rows = normalize(dictionary.W_dec[index].detach().cpu().double(), dim=-1).numpy()
    cosine = rows @ rows.T
    np.fill_diagonal(cosine, 0)
    fires = correlation.any(1)
    return {
        "top correlation": float(correlation[chosen].max(1).mean()),
        "top cosine": float(cosine[chosen][:, fires].max(1).mean()),
    }
