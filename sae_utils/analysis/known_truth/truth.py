"""What each latent of a dictionary is, where the atoms of the activations are known."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy import sparse
from sklearn.metrics import roc_auc_score
from torch import Tensor

from sae_utils.data.synthetic import Circles, Sample, World
from sae_utils.saes import Dictionary

CLOSE = 0.9  # cosine to an atom, or of a row with its projection on a family's span
ATOM, COMPOSITE, TILE, OTHER, DEAD = KINDS = ("atom", "composite", "tile", "other", "dead")


@dataclass(frozen=True)
class Truth:
    """Each latent of S dictionaries, by what its decoder row is.

    *atom*: its cosine to one atom is at least CLOSE. *composite*: it is none, and at least CLOSE of its length lies in
    the span of atoms that belong together (parent and child, or a pair). *tile*: at least CLOSE of its length lies in
    the plane of one circle, which has no atoms. *other*: none of these. *dead*: it fires on no token.
    """

    kind: np.ndarray  # [S, n], one of KINDS
    atom: Int[np.ndarray, "S n"]  # the nearest
    f1: Float[np.ndarray, "S n"]  # of firing, against that atom's; 0 for dead latents
    found: Bool[np.ndarray, "S features"]  # atoms that a latent is; of circles, planes that have a tile

    @property
    def alive(self) -> Bool[np.ndarray, "S n"]:
        """Latents that fire."""
        return self.kind != DEAD

    @property
    def true(self) -> Bool[np.ndarray, "S n"]:
        """Latents that are atoms."""
        return self.kind == ATOM

    @property
    def recall(self) -> Float[np.ndarray, " S"]:
        """Share of the features that each dictionary has."""
        return self.found.mean(1)

    @property
    def precision(self) -> Float[np.ndarray, " S"]:
        """Share of each dictionary's alive latents that are features: atoms, or tiles where there are circles."""
        return self.share(ATOM) + self.share(TILE)

    def share(self, kind: str) -> Float[np.ndarray, " S"]:
        """Share of each dictionary's alive latents that are of one kind."""
        return (self.kind == kind).sum(1) / self.alive.sum(1)


@torch.no_grad()
def truth_of(dictionaries: Dictionary, world: World, sample: Sample) -> Truth:
    """Every latent against the atoms of its world; firing is compared on the tokens of ``sample``."""
    rows = torch.nn.functional.normalize(dictionaries.W_dec.detach().cpu(), dim=-1)
    cosines = rows @ world.atoms.T
    cosine, atom = (x.numpy() for x in cosines.max(-1))
    code = dictionaries.encode(sample.x)
    f1 = np.stack([_firing_f1(code.matrix(s, rows.shape[1]) > 0, sample) for s in range(len(rows))])
    own_f1 = np.take_along_axis(f1, atom[..., None], 2)[..., 0]
    alive = (f1 > 0).any(2)
    in_family = _length_in_span(rows, world)

    kind = np.where(in_family.max(2, initial=0) >= CLOSE, COMPOSITE, OTHER).astype("<U9")
    if isinstance(world.rule, Circles):
        kind[kind == COMPOSITE] = TILE
        found = ((in_family >= CLOSE) & alive[..., None]).any(1)
    else:
        kind[cosine >= CLOSE] = ATOM
        found = ((cosines.numpy() >= CLOSE) & alive[..., None]).any(1)
    kind[~alive] = DEAD
    return Truth(kind, atom, own_f1, found)


def auc_of(has: Bool[np.ndarray, " n"], score: Float[np.ndarray, " n"]) -> float:
    """The chance that what has a property has the larger score than what has not; NaN where all or none have it."""
    return float(roc_auc_score(has, score)) if has.any() and not has.all() else float("nan")


def _firing_f1(fires: sparse.csr_matrix, sample: Sample) -> Float[np.ndarray, "n atoms"]:
    """F1 of each latent's firing [tokens, n] against each atom's."""
    there = (sample.coefficients != 0).float().numpy()
    both = fires.T.astype(np.float32) @ there
    return 2 * both / np.maximum(np.asarray(fires.sum(0)).reshape(-1, 1) + there.sum(0), 1)


def _length_in_span(rows: Float[Tensor, "S n d"], world: World) -> Float[np.ndarray, "S n families"]:
    """Length of each unit row's projection on the span of each family of atoms."""
    families = world.rule.families
    if not families:
        return np.zeros((*rows.shape[:2], 0))
    span = torch.linalg.qr(world.atoms[torch.tensor(families)].mT).Q  # [families, d, atoms of one]
    return torch.einsum("snd,fdk->snfk", rows, span).norm(dim=-1).numpy()
