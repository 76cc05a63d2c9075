"""Sources of activations for training: on disk, in memory, or computed as they are asked for.

``source``          the interface; activations in memory, and from a language model as they are asked for
``cache``           activations on disk, resumable and checksummed, or a stream where they do not fit
``order``           which activation comes when: a closed form of the data seed
``shuffle_buffer``  blocks of a stream, shuffled on the training device
``prefetch``        the thread that fills one buffer while the other is read
"""

from sae_utils.data.activations.cache import ActivationCache, build_cache, open_source
from sae_utils.data.activations.order import Order, kept_positions
from sae_utils.data.activations.source import (
    ActivationSource,
    ActivationStream,
    Normalisation,
    TensorSource,
    check_number,
    check_rows,
    check_whole,
    forward,
    rows_in_a_pass,
)

__all__ = [
    "ActivationCache",
    "ActivationSource",
    "ActivationStream",
    "Normalisation",
    "Order",
    "TensorSource",
    "build_cache",
    "check_number",
    "check_rows",
    "check_whole",
    "forward",
    "kept_positions",
    "open_source",
    "rows_in_a_pass",
]
