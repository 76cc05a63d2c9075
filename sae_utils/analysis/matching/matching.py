"""Which latents of two dictionaries are the same latent: the matchings and criteria of paper A.

Paulo & Belrose (arXiv 2501.16615) match the decoders and, separately, the encoders of two dictionaries one to
one, so that the total cosine is largest, and call a latent shared if both matchings find it a close partner.
Cosines are signed and computed in float64 on the CPU. Rows are latents, in any scale: ``encoder[s]`` and ``W_dec[s]``.
Indices are those of the full dictionaries, also where dead latents were left out.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from sae_utils.analysis.matching.assignment import assign
from sae_utils.errors import InputError

THRESHOLD = 0.7  # the cosine from which paper A calls two latents the same
DENSE_PAIRS = 4096**2  # up to as many pairs the dense solver's matrix is held; beyond, the sparse one is faster


@dataclass(frozen=True)
class Rows:
    """The latents of one dictionary, in any scale; those that are not ``alive`` are left out of what is compared."""

    encoder: Float[Tensor, "n d"]
    decoder: Float[Tensor, "n d"]
    alive: Bool[Tensor, " n"] | None = None  # None: all of them

    @property
    def counted(self) -> Bool[Tensor, " n"]:
        """``alive``, on the CPU."""
        return torch.ones(len(self.decoder), dtype=torch.bool) if self.alive is None else self.alive.cpu()


@dataclass(frozen=True)
class Matching:
    """The partner of each latent and the cosine to it; -1 and NaN where a latent has none.

    ``gap``: how far the total cosine may be from the best one, proven, where the sparse solver was used.
    """

    partner: Int[np.ndarray, " n"]
    cosine: Float[np.ndarray, " n"]
    gap: float | None = None

    def inverse(self, m: int) -> "Matching":
        """The same one-to-one matching, seen from the ``m`` latents of the other side."""
        has = self.partner >= 0
        partner, cosine = np.full(m, -1), np.full(m, np.nan)
        partner[self.partner[has]] = has.nonzero()[0]
        cosine[self.partner[has]] = self.cosine[has]
        return Matching(partner, cosine, self.gap)


@dataclass(frozen=True)
class SeedOverlap:
    """What two dictionaries share, seen from the first; every array has one entry per latent of the first.

    ``decoder`` and ``encoder`` are one-to-one matchings; the ``nearest`` pair are row maxima, where several
    latents may name the same partner. Latents that are not ``counted`` (dead) have no partner in any of them.
    """

    decoder: Matching
    encoder: Matching
    decoder_nearest: Matching
    encoder_nearest: Matching
    counted: Bool[np.ndarray, " n"]
    threshold: float = THRESHOLD

    @property
    def agree(self) -> Bool[np.ndarray, " n"]:
        """Latents for which the decoder and the encoder matching name the same partner ("equal" in paper A)."""
        return (self.decoder.partner == self.encoder.partner) & (self.decoder.partner >= 0)

    def shared(self, criterion: str = "strict") -> Bool[np.ndarray, " n"]:
        """Latents that are shared by one of ``DEFINITIONS``."""
        if criterion not in DEFINITIONS:
            raise InputError(f"criterion={criterion!r} is unknown; allowed: {', '.join(DEFINITIONS)}")
        return DEFINITIONS[criterion](self)

    def fraction(self, mask: Bool[np.ndarray, " n"]) -> float:
        """The share of the counted latents that are in ``mask``."""
        return float(mask[self.counted].mean())


DEFINITIONS: dict[str, Callable[[SeedOverlap], Bool[np.ndarray, " n"]]] = {
    # the paper's text: one partner in both matchings, and both cosines reach the threshold
    "strict": lambda o: o.agree & (o.decoder.cosine >= o.threshold) & (o.encoder.cosine >= o.threshold),
    # the authors' notebook: each matching's own cosine, no equality test
    "notebook": lambda o: (o.decoder.cosine > o.threshold) & (o.encoder.cosine > o.threshold),
    # the authors' bar charts of models and architectures
    "decoder_only": lambda o: o.decoder.cosine > o.threshold,
    # paper B: the nearest decoder row, many to one
    "max_decoder": lambda o: o.decoder_nearest.cosine > o.threshold,
    # row maxima in place of matchings
    "max_cosine": lambda o: (o.decoder_nearest.cosine > o.threshold) & (o.encoder_nearest.cosine > o.threshold),
}


def match(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Matching:
    """One-to-one matching with the largest total cosine; with n > m, n - m latents of ``a`` stay without a partner.

    Exact: the Hungarian method up to ``DENSE_PAIRS`` pairs, beyond ``assignment.assign``, which never holds the
    matrix of cosines. Raises InputError for rows that are not finite.
    """
    a, b = _pair_of_unit_rows(a, b)
    if len(a) * len(b) > DENSE_PAIRS:
        found = assign(a, b)
        return Matching(found.partner, found.cosine, found.gap)
    cosine = (a @ b.T).numpy()
    rows, columns = linear_sum_assignment(cosine, maximize=True)
    partner = np.full(len(cosine), -1)
    partner[rows] = columns
    return Matching(partner, np.where(partner >= 0, cosine[np.arange(len(cosine)), partner], np.nan))


def nearest(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Matching:
    """For each latent of ``a`` the latent of ``b`` with the largest cosine; many may share one."""
    a, b = _pair_of_unit_rows(a, b)
    partner, cosine = [], []
    # Some rows at a time: no more of the matrix than the dense solver may hold.
    for part in a.split(max(1, DENSE_PAIRS // max(1, len(b)))):
        block = (part @ b.T).numpy()
        partner.append(block.argmax(axis=1))
        cosine.append(block.max(axis=1))
    return Matching(np.concatenate(partner), np.concatenate(cosine))


def compare(first: Rows, second: Rows) -> SeedOverlap:
    """Match two dictionaries by decoder and by encoder; dead latents of either side are left out beforehand.

    Raises InputError if the shapes do not fit or a side has no alive latent.
    """
    if any(rows.encoder.shape != rows.decoder.shape for rows in (first, second)):
        shapes = [tuple(rows.shape) for side in (first, second) for rows in (side.encoder, side.decoder)]
        raise InputError(f"encoder and decoder of a dictionary must have the same shape [latents, d_in], not {shapes}")
    _check_alive(first, "first")
    _check_alive(second, "second")
    matched, close = (_by_decoder_and_encoder(how, first, second) for how in (match, nearest))
    return SeedOverlap(*matched, *close, counted=first.counted.numpy())


def seen_from_second(overlap: SeedOverlap, first: Rows, second: Rows) -> SeedOverlap:
    """``compare`` with its two dictionaries swapped, from what it gave: the matchings are turned round, not solved."""
    n = len(second.decoder)
    close = _by_decoder_and_encoder(nearest, second, first)
    return SeedOverlap(
        overlap.decoder.inverse(n), overlap.encoder.inverse(n), *close, second.counted.numpy(), overlap.threshold
    )


def _by_decoder_and_encoder(how, first: Rows, second: Rows) -> tuple[Matching, Matching]:
    """The decoders' matching and the encoders'; of tied dictionaries both are the same, and found once."""
    counted = first.counted, second.counted
    decoder = _among_counted(how, first.decoder, second.decoder, *counted)
    if torch.equal(first.encoder, first.decoder) and torch.equal(second.encoder, second.decoder):
        return decoder, decoder
    return decoder, _among_counted(how, first.encoder, second.encoder, *counted)


def _among_counted(how: Callable[[Tensor, Tensor], Matching], a, b, counted_a, counted_b) -> Matching:
    """Rows of the counted latents given to ``how``; its answer in the indices of the full dictionaries."""
    found = how(a.detach().cpu()[counted_a], b.detach().cpu()[counted_b])
    has = found.partner >= 0
    rows, columns = counted_a.nonzero()[:, 0].numpy(), counted_b.nonzero()[:, 0].numpy()
    partner, cosine = np.full(len(a), -1), np.full(len(a), np.nan)
    partner[rows[has]] = columns[found.partner[has]]
    cosine[rows] = found.cosine
    return replace(found, partner=partner, cosine=cosine)


def _pair_of_unit_rows(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> tuple[Tensor, Tensor]:
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or not (len(a) and len(b)):
        shapes = f"{tuple(a.shape)} and {tuple(b.shape)}"
        raise InputError(f"cannot match dictionaries of shapes {shapes}; both must be [latents, d_in] with one d_in")
    return _unit_rows(a), _unit_rows(b)


def _unit_rows(rows: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    rows = rows.detach().to("cpu", torch.float64)
    if not rows.isfinite().all():
        first = int((~rows.isfinite().all(dim=1)).nonzero()[0, 0])
        raise InputError(f"latent {first} has a weight that is not finite; the dictionary cannot be matched")
    norm = rows.norm(dim=1, keepdim=True)
    return rows / torch.where(norm > 0, norm, 1.0)  # a zero row has cosine 0 with everything


def _check_alive(rows: Rows, which: str) -> None:
    n, alive = len(rows.decoder), rows.counted
    if alive.dtype != torch.bool or alive.shape != (n,):
        raise InputError(f"alive of the {which} dictionary must be bool [{n}], not {alive.dtype} {alive.shape}")
    if not alive.any():
        raise InputError(f"the {which} dictionary has no alive latent: nothing to match")
