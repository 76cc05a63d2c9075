"""Meta-SAEs: BatchTopK dictionaries whose data are the decoder rows of another dictionary.

Leask et al. (arXiv 2502.04878, section on meta-SAEs; precursor LessWrong TMAmHh4DdMr4nCSr5) train one on the unit-norm
rows of ``W_dec`` of a wide SAE, so that each of its latents is written as a sum of a few meta-latents. Their settings,
as far as they are known: 4 meta-latents a row on average, hundreds of passes over the rows, AuxK with weight 1/16, no
encoder bias, no normalisation of the rows.

With a folder, trained meta-SAEs are read from it and written there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize

from sae_utils.analysis.matching.matching import nearest
from sae_utils.data.activations import TensorSource
from sae_utils.errors import InputError
from sae_utils.saes import SAE, SAEConfig
from sae_utils.saes.training import TrainingConfig, train, train_or_load

AUXK_COEFFICIENT = 1 / 16  # the authors' code
DEAD_AFTER = 100  # batches without firing, as in the authors' code


@dataclass(frozen=True)
class MetaTraining:
    """How meta-SAEs are trained, apart from their size.

    The rows are few, so that a large learning rate saves steps: on a trained dictionary 1,000 steps at 1e-2 explained
    as much as 3,000 at 3e-3, and more than 3,000 at 1e-3.
    """

    n_steps: int = 1000
    batch_size: int = 256
    lr: float = 1e-2
    data_seed: int = 0
    device: str = "cpu"  # where they are trained; rows and trained meta-SAEs are on the CPU

    def config(self) -> TrainingConfig:
        """The same as ``saes.training`` takes it."""
        return TrainingConfig(
            n_tokens=self.n_steps * self.batch_size,
            batch_size=self.batch_size,
            data_seed=self.data_seed,
            lr=self.lr,
            dead_after=DEAD_AFTER * self.batch_size,
        )


def unit_rows(rows: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Rows at unit length, float32 on the CPU. Raises InputError for a row that is zero or not finite."""
    rows = rows.detach().to("cpu", torch.float32)
    norms = rows.norm(dim=-1)
    if rows.ndim != 2 or not (norms.isfinite() & (norms > 0)).all():
        raise InputError(f"a meta-SAE needs rows [n, d] that are finite and not zero, not {tuple(rows.shape)}")
    return normalize(rows, dim=-1)


def new_stack(d_in: int, n_meta: int, k: int, seeds: Sequence[int] = (0,), condition: str = "decoder") -> SAE:
    """An untrained stack of meta-SAEs, one for each seed: BatchTopK, AuxK on, no encoder bias, rows as they are.

    ``condition`` names the rows that it is trained on.
    """
    auxk = min(512, max(1, n_meta // 2))
    config = SAEConfig(d_in, n_meta, "batch_topk", k, auxk=auxk, auxk_coefficient=AUXK_COEFFICIENT, encoder_bias=False)
    return SAE.create(config, seeds, condition)


def train_together(
    conditions: Mapping[str, Float[Tensor, "n d"]],
    stacks: Sequence[SAE],
    training: MetaTraining,
    folder: Path | None = None,
) -> list[SAE]:
    """Train every stack, in lockstep, on the rows of the condition that its ``hook_point`` names, all as many.

    Raises InputError where rows cannot be trained on, or are fewer than a batch.
    """
    source = TensorSource({name: unit_rows(rows) for name, rows in conditions.items()})
    if source.n_tokens < training.batch_size:
        raise InputError(f"batch_size={training.batch_size} is more than the {source.n_tokens} decoder rows")
    stacks = [stack.to(training.device) for stack in stacks]
    if folder is not None:
        stacks = train_or_load(stacks, source, training.config(), folder, progress=False)
    else:
        train(stacks, source, training.config(), progress=False)
    return [stack.cpu() for stack in stacks]


def train_meta(
    decoder_rows: Float[Tensor, "n d"],
    n_meta: int,
    k: int = 4,
    seeds: Sequence[int] = (0,),
    training: MetaTraining = MetaTraining(),
    folder: Path | None = None,
) -> SAE:
    """Meta-SAEs of one dictionary, one for each seed: ``n_meta`` meta-latents, ``k`` of them a row on average.

    Leave dead latents out of ``decoder_rows`` beforehand. Raises InputError as ``train_together`` does.
    """
    stack = new_stack(decoder_rows.shape[1], n_meta, k, seeds)
    return train_together({"decoder": decoder_rows}, [stack], training, folder)[0]


@torch.no_grad()
def meta_codes(meta: SAE, rows: Float[Tensor, "n d"], index: int = 0) -> Float[Tensor, "n n_meta"]:
    """Weight of each meta-latent in each row, at inference (above the threshold), of one meta-SAE of the stack."""
    one = meta.dictionary(index)
    return one.encode(unit_rows(rows).to(one.W_dec.device)).dense(one.config.n_latents)[:, 0].cpu()


@torch.no_grad()
def reconstruct(meta: SAE, rows: Float[Tensor, "n d"], index: int = 0) -> Float[Tensor, "n d"]:
    """Each row, at unit length, as its meta-latents write it."""
    return meta.dictionary(index)(unit_rows(rows).to(meta.W_dec.device))[:, 0].cpu()


def used(meta: SAE, rows: Float[Tensor, "n d"], index: int = 0) -> Bool[Tensor, " n_meta"]:
    """Meta-latents that are active for at least one row."""
    return (meta_codes(meta, rows, index) > 0).any(0)


def explained_variance(rows: Float[Tensor, "n d"], approximation: Float[Tensor, "n d"]) -> float:
    """1 - squared error / total variance about the mean row, summed over rows and dimensions, rows at unit length.

    So no row can own it as a token of huge norm owns that of activations, and it needs no trimmed one beside it.
    """
    rows = unit_rows(rows).double()
    error = (rows - approximation.double()).square().sum()
    return float(1 - error / (rows - rows.mean(0)).square().sum())


@dataclass(frozen=True)
class MetaQuality:
    """How well a stack of meta-SAEs describes the rows, at inference; one entry for each meta-SAE."""

    explained_variance: tuple[float, ...]
    l0: tuple[float, ...]  # active meta-latents per row
    dead_fraction: tuple[float, ...]  # of the meta-latents, on these rows


def quality(meta: SAE, rows: Float[Tensor, "n d"]) -> MetaQuality:
    """Each meta-SAE of the stack on the rows."""
    each = range(meta.n_dictionaries)
    active = [meta_codes(meta, rows, s) > 0 for s in each]
    return MetaQuality(
        tuple(explained_variance(rows, reconstruct(meta, rows, s)) for s in each),
        tuple(float(code.float().sum(1).mean()) for code in active),
        tuple(float(code.any(0).logical_not().float().mean()) for code in active),
    )


@torch.no_grad()
def with_decoder(meta: SAE, directions: Float[Tensor, "m d"], hook_point: str, index: int = 0) -> SAE:
    """An untrained copy of one meta-SAE whose decoder rows are the nearest of ``directions``, frozen (paper B, B.5).

    Its encoder starts where the meta-SAE's is: training refits it. Several rows may be one direction.
    """
    one, directions = meta.dictionary(index), unit_rows(directions)
    rows = directions[nearest(one.W_dec[0], directions).partner]
    out = one.copy(hook_point=hook_point, W_dec=rows[None], threshold=torch.zeros_like(one.threshold))
    out.W_dec.requires_grad_(False)
    return out
