"""A dictionary stitched together from latents of several SAEs."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sae_utils.errors import InputError
from sae_utils.saes.base import Dictionary, SparseCode
from sae_utils.saes.sae import SAE


@dataclass(frozen=True)
class Part:
    """The latents of one SAE, a stack of one, that a stitched dictionary has."""

    sae: SAE
    kept: Bool[Tensor, " n_latents"]


@dataclass(frozen=True)
class StitchedConfig:
    """The sizes of a stitched dictionary; its parts may differ in all else."""

    d_in: int
    n_latents: int


class Stitched(Dictionary):
    """Latents of several SAEs of one hook point, with one decoder bias: one dictionary.

    In normalised units x_n, with z^p the code that SAE p gives x all by itself, by its own encoder, with *its own*
    ``b_enc`` and *its own* ``b_dec``::

        x_hat = (sum over parts p, sum over kept j of p:  z^p_j(x) d^p_j  +  b_dec) / scale + mean

    So ``b_dec`` counts once, whatever the number of parts, and no part's encoder sees another part's bias. In a TopK
    SAE a latent competes for the k places with *all* latents of its own SAE, in the stitched dictionary or not,
    and with none of the other parts: a latent keeps the activation that it had at home.

    ``encoder`` [1, n, d_in], ``W_dec`` [1, n, d_in], ``b_enc`` [1, n] and ``b_dec`` [1, d_in] are those of the whole,
    parts in order; each latent's own ``b_dec`` is folded into its ``b_enc``: (x - b_own) w + b = (x - b_dec) w + b',
    b' = b + (b_dec - b_own) w.
    """

    __call__ = Dictionary.forward

    def __init__(self, parts: Sequence[Part], b_dec: Float[Tensor, " d_in"]):
        self.parts = tuple(part for part in parts if part.kept.any())
        if not self.parts:
            raise InputError("a stitched dictionary needs at least one latent")
        first = self.parts[0].sae
        for part in self.parts:
            check_one(part.sae)
            check_same_activations(first, part.sae)
        self.hook_point, self.mean, self.scale = first.hook_point, first.mean, first.scale
        self.b_dec = b_dec.detach()[None]
        self.config = StitchedConfig(first.config.d_in, sum(int(part.kept.sum()) for part in self.parts))

    @cached_property
    def encoder(self) -> Float[Tensor, "1 n d_in"]:
        """Encoder rows of all latents."""
        return self._rows("encoder")

    @cached_property
    def W_dec(self) -> Float[Tensor, "1 n d_in"]:
        """Decoder rows of all latents."""
        return self._rows("W_dec")

    @cached_property
    def b_enc(self) -> Float[Tensor, "1 n"]:
        """Encoder biases that go with the one ``b_dec``."""
        shifts = torch.cat([(self.b_dec - part.sae.b_dec.detach()).expand(int(part.kept.sum()), -1)
                            for part in self.parts])  # fmt: skip
        return self._rows("b_enc") + (shifts * self.encoder[0]).sum(-1)

    def copy(self, **changes) -> "Stitched":
        """The same dictionary but for new ``parts`` or ``b_dec``; the parts' SAEs are shared, not copied."""
        return Stitched(**{"parts": self.parts, "b_dec": self.b_dec[0]} | changes)

    @torch.no_grad()
    def encode(self, x: Float[Tensor, "batch d_in"]) -> SparseCode:
        """Sparse code of raw activations, latents numbered as in ``W_dec``; slots of latents left out have value 0."""
        values, indices, start = [], [], 0
        for part in self.parts:
            code = part.sae.encode(x)
            place = start + part.kept.cumsum(0) - 1
            values.append(code.values * part.kept[code.indices])
            indices.append(place.clamp_min(0)[code.indices])
            start += int(part.kept.sum())
        return SparseCode(torch.cat(values, -1), torch.cat(indices, -1))

    def _rows(self, name: str) -> Tensor:
        return torch.cat([getattr(part.sae, name).detach()[:, part.kept] for part in self.parts], dim=1)


def whole(sae: SAE) -> Stitched:
    """A stack of one as a stitched dictionary: all of its latents and its bias."""
    kept = torch.ones(sae.config.n_latents, dtype=torch.bool, device=sae.W_dec.device)
    return Stitched([Part(sae, kept)], sae.b_dec[0])


def check_one(sae: SAE) -> None:
    """Raise InputError for a stack of more than one."""
    if sae.n_dictionaries != 1:
        raise InputError(f"a stack of {sae.n_dictionaries} dictionaries cannot be stitched: pass sae.dictionary(i)")


def check_same_activations(first: SAE | Stitched, other: SAE | Stitched) -> None:
    """Raise InputError where two dictionaries do not read the same activations in the same units.

    A dictionary does not name its model; another model shows in the hook point, the width or the normalisation.
    """
    if first.hook_point != other.hook_point:
        raise InputError(
            f"SAEs of different hook points cannot be stitched: {first.hook_point!r} and {other.hook_point!r}"
        )
    if first.config.d_in != other.config.d_in:
        raise InputError(
            f"SAEs of different models cannot be stitched: d_in={first.config.d_in} and d_in={other.config.d_in}"
        )
    if not (torch.equal(first.mean, other.mean) and torch.equal(first.scale, other.scale)):
        raise InputError(
            f"SAEs of different normalisation (of another model or text?) cannot be stitched: scale "
            f"{float(first.scale):.6g} and {float(other.scale):.6g}, means apart by "
            f"{float((first.mean - other.mean).abs().max()):.3g}; both must be equal"
        )


def check_pair(small: SAE | Stitched, large: SAE) -> None:
    """Raise InputError where ``large`` cannot be stitched to ``small``: other activations, or fewer latents."""
    check_same_activations(small, large)
    if small.config.n_latents > large.config.n_latents:
        raise InputError(
            f"widths are in the wrong order: the first SAE has {small.config.n_latents} latents, the second "
            f"{large.config.n_latents}; the smaller one comes first"
        )
