"""Methods that are said to make dictionaries more stable, each a configuration of its own in a file of its own.

``method`` is what they have in common: a loss, and what holds after each step. Any of them is trained, stored and read
as an architecture is.
"""

from collections.abc import Mapping

from sae_utils.saes.methods.aligned import Aligned
from sae_utils.saes.methods.archetypal import Archetypal
from sae_utils.saes.methods.matryoshka import Matryoshka
from sae_utils.saes.methods.method import Method
from sae_utils.saes.methods.ordered import Ordered
from sae_utils.saes.methods.ortsae import OrtSAE
from sae_utils.saes.methods.weight_decay import WeightDecay
from sae_utils.saes.sae import SAEConfig

METHODS: dict[str, type[Method]] = {
    cls.method: cls for cls in (Aligned, Archetypal, Matryoshka, Ordered, OrtSAE, WeightDecay)
}

__all__ = [
    "METHODS",
    "Aligned",
    "Archetypal",
    "Matryoshka",
    "Method",
    "Ordered",
    "OrtSAE",
    "WeightDecay",
    "stored_config",
]


def stored_config(values: Mapping) -> SAEConfig:
    """The configuration that a checkpoint holds. Raises KeyError for an unknown method, TypeError for other names."""
    return METHODS[values["method"]](**values) if "method" in values else SAEConfig(**values)
