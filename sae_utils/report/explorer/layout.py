"""What a results file must hold for the explorer, and how it is laid out as one run of bytes for the page.

``FIELDS`` gives each array's dimensions by name: n latents, c contexts, v tokens of the vocabulary, m meta-latents, o
latents of the other seed's dictionary and d contexts of those; after ``<`` comes the name of what an array's indices
count (-1 stands for none, where it may). Equal names are equal lengths.
"""

import json
from collections.abc import Mapping

import numpy as np

from sae_utils.errors import InputError

FIELDS = {
    "firings_frequency": "n",
    "firings_mean": "n",
    "firings_maximum": "n",
    "firings_histogram": "n bins",
    "firings_token": "n t < v or none",
    "firings_token_share": "n t",
    "promotes_raised": "n p < v",
    "promotes_raised_logit": "n p",
    "promotes_lowered": "n p < v",
    "promotes_lowered_logit": "n p",
    "neighbours_latent": "n nearest < n or none",
    "neighbours_cosine": "n nearest",
    "contexts_latent": "c < n",
    "contexts_group": "c",
    "contexts_tokens": "c window < v",
    "contexts_values": "c window",
    "contexts_peak": "c < window",
    "contexts_copies": "c",
    "vocabulary_utf8": "bytes",
    "vocabulary_end": "v",
    "partners_decoder_latent": "n < o or none",
    "partners_decoder_cosine": "n",
    "partners_encoder_latent": "n < o or none",
    "partners_encoder_cosine": "n",
    "partners_strict": "n",
    "partners_shared_with": "n",
    "other_firings_frequency": "o",
    "other_firings_maximum": "o",
    "other_firings_token": "o t < v or none",
    "other_promotes_raised": "o p < v",
    "other_contexts_latent": "d < o",
    "other_contexts_group": "d",
    "other_contexts_tokens": "d window < v",
    "other_contexts_values": "d window",
    "other_contexts_peak": "d < window",
    "other_contexts_copies": "d",
    "other_overlap_decoder": "n",
    "other_overlap_encoder": "n",
    "rules_kind": "n < rule_kinds or none",
    "rules_token": "n r < v or none",
    "rules_role": "n r < roles or none",
    "rules_size": "n",
    "rules_score": "n",
    "rules_random": "n",
    "other_rules_kind": "o < rule_kinds or none",
    "other_rules_token": "o r < v or none",
    "other_rules_role": "o r < roles or none",
    "other_rules_size": "o",
    "other_rules_score": "o",
    "together_latent": "n f < n or none",
    "together_correlation": "n f",
    "together_share": "n f",
    "novelty_novel": "n",
    "novelty_nearest": "n",
    "novelty_cosine": "n",
    "novelty_mse_change": "n",
    "composition_latent": "n a < m or none",
    "composition_weight": "n a",
    "meta_raised": "m q < v",
    "meta_raised_logit": "m q",
    "meta_lowered": "m q < v",
    "meta_lowered_logit": "m q",
}
FACTS = ("model", "hook_point", "dictionary", "n_tokens", "n_parts", "n_others", "seed", "partner_seed", "n_smaller")
LISTS = ("rule_kinds", "roles")  # facts, too, whose entries arrays point to
INTEGERS = (np.uint8, np.int8, np.uint16, np.int16, np.int32)
ALIGNMENT = 8  # bytes: what a typed array in the page asks for


def check(facts: Mapping, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The explorer's arrays among ``arrays``, in the types of the page.

    Raises InputError for a fact or an array that is missing, for lengths that do not fit together and for an index
    that points nowhere.
    """
    missing = [fact for fact in (*FACTS, *LISTS) if facts.get(fact) is None]
    if missing:
        raise InputError(f"results without the fact {missing[0]!r} cannot be explored")
    lengths = {name: (len(facts[name]), name) for name in LISTS}
    for name, shape in FIELDS.items():
        if name not in arrays:
            raise InputError(f"results without the array {name!r} cannot be explored: run notebook 09 again")
        _check_shape(name, arrays[name], shape.partition(" < ")[0].split(), lengths)
    for name, shape in FIELDS.items():
        counted, _, none = shape.partition(" < ")[2].partition(" or ")
        if counted:
            _check_indices(name, arrays[name], -1 if none else 0, lengths[counted][0] - 1)
    for name in ("contexts_latent", "other_contexts_latent"):
        if (np.diff(arrays[name].astype(np.int64)) < 0).any():
            raise InputError(f"array {name!r} must ascend")
    return {name: _compact(name, arrays[name]) for name in FIELDS}


def pack(facts: Mapping, arrays: Mapping[str, np.ndarray]) -> bytes:
    """Four bytes with the header's length, the header (JSON: facts; name, type, shape and place of each array), arrays.

    Little-endian; places count from the end of the header, which is filled up to a multiple of ``ALIGNMENT``.
    """
    about, body = [], bytearray()
    for name, values in arrays.items():
        place = {"name": name, "type": values.dtype.name, "shape": values.shape, "start": len(body)}
        about.append(place)
        body += values.astype(values.dtype.newbyteorder("<")).tobytes()
        body += bytes(-len(body) % ALIGNMENT)
    header = json.dumps({"facts": facts, "arrays": about}, allow_nan=False).encode()
    header += b" " * (-(len(header) + 4) % ALIGNMENT)
    return len(header).to_bytes(4, "little") + header + bytes(body)


def _check_shape(name: str, values: np.ndarray, names: list[str], lengths: dict[str, tuple[int, str]]) -> None:
    if values.ndim != len(names):
        raise InputError(f"array {name!r} has {values.ndim} dimensions; it must have {len(names)}")
    for dimension, length in zip(names, values.shape, strict=True):
        known, first = lengths.setdefault(dimension, (length, name))
        if known != length:
            raise InputError(
                f"array {name!r} is of shape {list(values.shape)}, which does not fit {known} in {first!r}"
            )


def _check_indices(name: str, values: np.ndarray, least: int, most: int) -> None:
    if not np.issubdtype(values.dtype, np.integer):
        raise InputError(f"array {name!r} must hold whole numbers, not {values.dtype}")
    if values.size and not (values.min() >= least and values.max() <= most):
        raise InputError(f"array {name!r} holds {values.min()} to {values.max()}; allowed are {least} to {most}")


def _compact(name: str, values: np.ndarray) -> np.ndarray:
    """Booleans as bytes, whole numbers in the smallest type that holds them, others as float32."""
    if values.dtype == bool:
        return values.astype(np.uint8)
    if np.issubdtype(values.dtype, np.integer):
        low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
        fits = [t for t in INTEGERS if np.iinfo(t).min <= low and high <= np.iinfo(t).max]
        if not fits:
            raise InputError(f"array {name!r} holds {low} to {high}, more than 32 bits")
        return values.astype(fits[0])
    if not np.issubdtype(values.dtype, np.floating):
        raise InputError(f"array {name!r} must hold numbers, not {values.dtype}")
    return values.astype(np.float32)
