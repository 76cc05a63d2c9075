"""Hook points as other libraries name them, in TransformerLens's names, and whether a dictionary fits one."""

import re
from collections.abc import Mapping

from sae_utils.errors import InputError
from sae_utils.saes.sae import SAE

MODULE = re.compile(r"(?:.*\.)?(?:layers|h)\.(\d+)(\.mlp)?")  # sparsify, dictionary_learning: a module of the model
SITE = re.compile(r"(resid_pre|resid_post|mlp_out)_layer_(\d+)")  # dictionary_learning's submodule_name


def hook_point_of(name: str) -> str:
    """``blocks.5.hook_mlp_out`` for ``layers.5.mlp``; TransformerLens names stay, others give ""."""
    if match := MODULE.fullmatch(name):
        return f"blocks.{match[1]}.hook_{'mlp_out' if match[2] else 'resid_post'}"
    if match := SITE.fullmatch(name):
        return f"blocks.{match[2]}.hook_{match[1]}"
    return name if name.startswith("blocks.") else ""


def check_fits(sae: SAE, d_in: Mapping[str, int]) -> None:
    """InputError unless ``sae.hook_point`` is among the hook points in ``d_in`` and has as many dimensions there."""
    if sae.hook_point not in d_in:
        raise InputError(f"hook point {sae.hook_point!r} of the SAE is not among the activations: {', '.join(d_in)}")
    if d_in[sae.hook_point] != sae.config.d_in:
        found = d_in[sae.hook_point]
        raise InputError(
            f"the SAE has d_in={sae.config.d_in}, but hook point {sae.hook_point!r} has {found} dimensions"
        )
