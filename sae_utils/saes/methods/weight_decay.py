"""Weight decay: a penalty on the squared weights, under which latents that are not needed collapse."""

from dataclasses import dataclass, replace

from jaxtyping import Float
from torch import Tensor

from sae_utils.data.activations import check_number
from sae_utils.saes.losses import LossTerms, training_loss
from sae_utils.saes.methods.method import Method
from sae_utils.saes.sae import MOST, SAE


@dataclass(frozen=True)
class WeightDecay(Method):
    """L2 regularisation of encoder and decoder (Jedryszek and Crook 2026, 2603.04198; their trainer ``top_k_l2``)::

        loss = mean over tokens of |x - x_hat|^2 + decay * (sum W_enc^2 + sum W_dec^2), and AuxK

    divided by the batch's variance per token, as all losses here. With decoder rows of length one, their setting for
    MNIST, only the encoder can shrink; for language models they leave the rows free: ``unit_norm_decoder=False``.
    Their decay is 1e-4. Where activations have a mean square norm of 1, to which their library can scale them, d_in
    times as much is the same here; whether they did is not known. Biases do not decay. Their k falls to its value
    during the first 1 % of the steps, which is left out.
    """

    method: str = "weight_decay"
    decay: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        check_number("decay", self.decay, 0, MOST)

    def loss(self, sae: SAE, x, dead, step: int) -> LossTerms:
        """The loss without a method and the penalty."""
        terms = training_loss(sae, x, dead)
        return replace(terms, loss=terms.loss + self.decay * squared_weights(sae) * len(x) / terms.variance)


def squared_weights(sae: SAE) -> Float[Tensor, " S"]:
    """Sum of the squares of each dictionary's encoder and decoder weights."""
    return sae.encoder.pow(2).sum((1, 2)) + sae.W_dec.pow(2).sum((1, 2))
