"""What a language model is known by: every byte of its weights, and what its configuration makes of them."""

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from torch import Tensor, uint8

from sae_utils.files import sha256_of

# Of a configuration, what says where the model came from and where it runs, not what it computes.
NOT_COMPUTED = {"_name_or_path", "_commit_hash", "transformers_version", "architectures", "dtype", "torch_dtype"}
NOT_COMPUTED |= {"use_cache", "return_dict", "output_attentions", "output_hidden_states", "device", "n_devices"}
AT_ONCE = 8  # weights that are hashed, each by a thread; what is on another device is copied for it


def fingerprint(tensors: Mapping[str, Tensor], config: Mapping) -> str:
    """sha256 over the tensors' bytes, names, shapes and dtypes, and over the settings that change what is computed."""
    with ThreadPoolExecutor(AT_ONCE) as threads:
        hashes = list(threads.map(_sha256, tensors.values()))
    weights = zip(tensors.items(), hashes, strict=True)
    about = [f"{name} {tensor.dtype} {list(tensor.shape)} {hashed}" for (name, tensor), hashed in weights]
    return sha256_of([json.dumps(_computed(config), sort_keys=True, default=str), *about])


def _sha256(tensor: Tensor) -> str:
    return sha256_of([tensor.detach().cpu().contiguous().view(-1).view(uint8).numpy()])


def _computed(settings: object) -> object:
    """Without the settings of NOT_COMPUTED, in a configuration and in those inside it."""
    if not isinstance(settings, Mapping):
        return settings
    return {str(key): _computed(value) for key, value in settings.items() if key not in NOT_COMPUTED}
