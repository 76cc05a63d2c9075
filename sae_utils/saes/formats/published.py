"""SAEs that somebody trained before, in the place of those that a notebook would train itself.

They are read in any known format (``formats.read``) and checked against each other and against the hook point
before a language model is loaded. What their files do not say is not guessed: seeds are their places in the list.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from sae_utils.data.models.language_model import LanguageModel
from sae_utils.errors import InputError
from sae_utils.saes.formats.common import row_norms, site_of, stack_saes
from sae_utils.saes.formats.gemma_scope import layer_of
from sae_utils.saes.formats.read import Format, local, read_sae, recognise
from sae_utils.saes.formats.saelens import is_centred
from sae_utils.saes.sae import SAE

UNIT = 0.02  # how far the norm of a decoder row may be from 1, as it is in files of bfloat16


@dataclass(frozen=True)
class Published:
    """Dictionaries of one architecture on one hook point, a stack of one each, for raw activations; or none."""

    saes: tuple[SAE, ...] = ()
    lines: tuple[str, ...] = ()  # what was read, a line for each of the names
    centred: bool = False  # trained on activations less their mean over dimensions (``saelens.centred``)
    trained_at: tuple[str, ...] = ()  # hook points that their files name

    def __bool__(self) -> bool:
        return bool(self.saes)

    @property
    def architecture(self) -> str:
        """Of all of them; there is at least one."""
        return self.saes[0].config.architecture

    def activations(self, x: Float[Tensor, "... d_in"]) -> Float[Tensor, "... d_in"]:
        """Raw activations as the dictionaries were trained on them: what their reconstructions are compared with."""
        return x - x.mean(-1, keepdim=True) if self.centred else x

    def check_fits(self, hook_point: str, model: LanguageModel) -> None:
        """InputError unless the model's hook point has the dictionaries' dimensions and is where they were trained."""
        for sae in self.saes:
            if sae.config.d_in != model.d_model:
                raise InputError(
                    f"the SAE has d_in={sae.config.d_in}, but hook point {hook_point!r} has {model.d_model} dimensions"
                )
        points = model.bridge.hook_dict
        for name in self.trained_at:
            # Two names of one point are one object; HookedTransformer has only its own.
            if points.get(name, points[hook_point]) is not points[hook_point]:
                raise InputError(
                    f"saes were trained at {name}, the output of the MLP itself; in {model.name} that is not yet what "
                    f"the MLP adds to the residual stream, {hook_point}: a norm comes between, as in Gemma-2"
                )


def opened(names: Sequence[str]) -> Iterator[tuple[Path, Format, SAE, bool]]:
    """Under each name: path, format, what ``read_sae`` finds, and whether that reads centred activations."""
    for name in names:
        path = local(os.path.expanduser(name))
        format = recognise(path)
        found = read_sae(path, format)
        yield path, format, found, format == "saelens" and is_centred(path if path.is_dir() else path.parent)


def read_published(names: Sequence[str], site: str, layer: int, device: str = "cpu") -> Published:
    """What ``read_sae`` finds under each of ``names``; no names give none. Stacks come as their dictionaries, in order.

    Where a file names no hook point it is ``site`` of ``layer``. Latents come in raw units. Raises InputError, in one
    line, as ``read_sae`` does, for another hook point than this one, and for dictionaries that differ in d_in, in
    architecture, or in whether they were trained on centred activations. Models are not compared: libraries call one
    model by several names.
    """
    hook_point, saes, lines, centred, trained_at = f"blocks.{layer}.hook_{site}", [], [], [], []
    for name, (path, format, found, is_of_centred) in zip(names, opened(names), strict=True):
        lines.append(f"{name}: {described(found, format)}")
        trained_at += [found.hook_point] if found.hook_point else []
        if site_of(found.hook_point) not in ("", hook_point):
            raise InputError(f"saes: {name} was trained at {found.hook_point}; layer and site say {hook_point}")
        if format == "gemma_scope" and layer_of(path) not in (None, layer):
            raise InputError(f"saes: {name} was trained at layer {layer_of(path)}; layer says {layer}")
        centred.append(is_of_centred)
        saes += [found.dictionary(i).fold_normalisation() for i in range(found.n_dictionaries)]
    for what, values in (
        ("d_in", [sae.config.d_in for sae in saes]),
        ("architecture", [sae.config.architecture for sae in saes]),
        ("answer to whether they were trained on centred activations", centred),
    ):
        _check_one(what, values)
    for i, sae in enumerate(saes):
        sae.hook_point, sae.seeds = hook_point, (i,)
        sae.to(device)
    return Published(tuple(saes), tuple(lines), any(centred), tuple(trained_at))


def as_stack(published: Published) -> SAE:
    """All dictionaries as one stack. Raises InputError for fewer than two, and for several widths or k."""
    saes = published.saes
    if len(saes) < 2:
        raise InputError(f"saes hold {len(saes)} dictionary; to compare dictionaries takes two or more of one width")
    for what in ("n_latents", "k"):
        _check_one(what, [getattr(sae.config, what) for sae in saes])
    for sae in saes:  # in what else settings differ, only training asks
        sae.config = saes[0].config
    return stack_saes(saes)


def as_family(published: Published) -> list[SAE]:
    """The dictionaries from narrow to wide. Raises InputError for fewer than two, and where widths do not rise."""
    widths = [sae.config.n_latents for sae in published.saes]
    if len(widths) < 2 or widths != sorted(set(widths)):
        raise InputError(f"saes must be two or more, from narrow to wide, each of its own width; found widths {widths}")
    return list(published.saes)


@torch.no_grad()
def with_unit_rows(sae: SAE) -> SAE:
    """The same function of x with decoder rows of norm 1, whose norms latents, biases and thresholds take up.

    Raises InputError for TopK and BatchTopK with rows of other norms: they would choose other latents.
    """
    norms = sae.W_dec.norm(dim=-1)
    if (norms - 1).abs().max() <= UNIT:
        return sae
    if sae.config.architecture in ("topk", "batch_topk"):
        raise InputError(
            f"decoder rows of {sae.config.architecture} dictionaries must have norm 1 here; "
            f"found {float(norms.min()):.3g} to {float(norms.max()):.3g}"
        )
    norms = row_norms(sae.W_dec)
    out = sae.copy(replace(sae.config, unit_norm_decoder=True))
    out.encoder.mul_(norms[..., None])
    out.W_dec.div_(norms[..., None])
    out.b_enc.mul_(norms)
    if sae.config.architecture == "gated":
        out.b_mag.mul_(norms)
    if sae.config.architecture == "jump_relu":
        out.log_threshold.add_(norms.log())
    return out


def described(sae: SAE, format: Format) -> str:
    """``gemma_scope, 16,384 latents, jump_relu, hook point not recorded``."""
    several = f"{sae.n_dictionaries} of " if sae.n_dictionaries > 1 else ""
    k = f" (k {sae.config.k})" if sae.config.k is not None else ""
    where = sae.hook_point or "hook point not recorded"
    return f"{format}, {several}{sae.config.n_latents:,} latents, {sae.config.architecture}{k}, {where}"


def _check_one(what: str, values: Sequence) -> None:
    found = list(dict.fromkeys(values))
    if len(found) > 1:
        raise InputError(f"saes must have one {what}; found {', '.join(map(str, found))}")
