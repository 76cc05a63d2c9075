"""What a method of training is: a configuration that says what its loss is, and what holds after each step."""

from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sae_utils.errors import InputError
from sae_utils.saes.losses import LossTerms, training_loss
from sae_utils.saes.sae import SAE, SAEConfig


@dataclass(frozen=True)
class Method(SAEConfig):
    """A configuration whose dictionary is trained by a method; a subclass says what the method changes.

    ``method`` is the name that a checkpoint has for it. Raises InputError for impossible values.
    """

    method: str = ""

    def __post_init__(self):
        super().__post_init__()
        (name,) = (field.default for field in fields(self) if field.name == "method")
        if self.method != name:
            raise InputError(f"method={self.method!r} must be {name!r}")

    def check_architecture(self, *allowed: str) -> None:
        """Refuse an architecture that the method is not for."""
        if self.architecture not in allowed:
            raise InputError(f"architecture={self.architecture!r} has no {self.method}; allowed: {', '.join(allowed)}")

    def loss(self, sae: SAE, x: Float[Tensor, "batch d_in"], dead: Bool[Tensor, "S n_latents"], step: int) -> LossTerms:
        """Loss of step number ``step``, from 0, on one normalised batch; ``losses.training_loss`` unless overridden."""
        return training_loss(sae, x, dead)

    def project(self, sae: SAE) -> None:
        """Make what must hold after each step hold, in place; here nothing must."""


def method_loss(sae: SAE, x, dead, step: int) -> LossTerms:
    """Loss of one normalised batch by the method of ``sae``; without one ``losses.training_loss``."""
    return sae.config.loss(sae, x, dead, step) if isinstance(sae.config, Method) else training_loss(sae, x, dead)


@torch.no_grad()
def after_step(sae: SAE) -> None:
    """What the method of ``sae``, if it has one, does after each step of the optimiser."""
    if isinstance(sae.config, Method):
        sae.config.project(sae)
