"""Ensembles of dictionaries as one dictionary: naive bagging and boosting (paper C, Gadgil et al. 2505.16077)."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sae_utils.errors import InputError
from sae_utils.saes.base import Dictionary, SparseCode
from sae_utils.saes.sae import SAE, SAEConfig
from sae_utils.saes.training.checkpoints import below, read_tensors, stored_sae, write_tensors


class Ensemble(Dictionary, nn.Module):
    """J trained members read as one dictionary: their latents side by side, their outputs summed with ``weights``.

    ``x_hat = sum_j weights[j] * member_j(input_j)``; the input of each member is x, or with ``sequential`` (boosting)
    what the members before it leave of x. By Proposition 3.1 of paper C this is one dictionary with the members'
    decoder rows side by side: coefficients are scaled by the weights, and the bias is the weighted sum of the biases.
    So it has the attributes and methods of an ``SAE`` that is a stack of one, and goes wherever that goes.

    A member with a negative weight keeps positive coefficients, and its decoder rows change sign. Members of a
    sequential ensemble subtract each other's whole output, as in training, whatever the weights: only the sum uses
    those. Codes are in normalised units of the first member (``mean``, ``scale``); ``encoder`` and ``b_enc`` are the
    members' own, each in that member's units. The members are frozen: the decoder rows are copied once.
    """

    def __init__(self, members: Sequence[SAE], weights: Sequence[float] | None = None, sequential: bool = False):
        super().__init__()
        _check_members(members, sequential)
        first, n = members[0], len(members)
        self.members, self.sequential = nn.ModuleList(members).requires_grad_(False), sequential
        self.hook_point, self.seeds = first.hook_point, first.seeds
        self.config = _joint_config([member.config for member in members])
        self.register_buffer("weights", _checked_weights(weights, n, sequential).to(first.W_dec))
        self.register_buffer("mean", first.mean.clone())
        self.register_buffer("scale", first.scale.clone())
        signs = torch.where(self.weights < 0, -1.0, 1.0)
        rows = [sign * member.W_dec for sign, member in zip(signs, members, strict=True)]
        self.register_buffer("W_dec", torch.cat(rows, dim=1))
        self.register_buffer("b_dec", self._weighted_bias())

    @classmethod
    def bag(cls, stack: SAE, seeds: Sequence[int] | None = None, weights: Sequence[float] | None = None) -> "Ensemble":
        """Naive bagging of a stack's members, or of those at the positions ``seeds``: the mean of their outputs."""
        positions = range(stack.n_dictionaries) if seeds is None else seeds
        return cls([stack.dictionary(i) for i in positions], weights)

    @property
    def encoder(self) -> Float[Tensor, "1 n_latents d_in"]:
        """The members' encoder rows side by side, each in its member's units."""
        return torch.cat([member.encoder for member in self.members], dim=1)

    @property
    def b_enc(self) -> Float[Tensor, "1 n_latents"]:
        """The members' encoder biases side by side, each in its member's units."""
        return torch.cat([member.b_enc for member in self.members], dim=1)

    @torch.no_grad()
    def parts(self, x: Float[Tensor, "batch d_in"]) -> Iterator[tuple[SparseCode, Float[Tensor, "batch d_in"]]]:
        """Each member in turn: its own code, in its own units, and its output in raw units, without its weight."""
        rest = x
        for member in self.members:
            code = member.encode(rest)
            output = member.decode(code)[:, 0]
            yield code, output
            if self.sequential:
                rest = rest - output

    @torch.no_grad()
    def outputs(self, x: Float[Tensor, "batch d_in"]) -> Float[Tensor, "batch J d_in"]:
        """What each member gives, without its weight, in raw units."""
        return torch.stack([output for _, output in self.parts(x)], dim=1)

    @torch.no_grad()
    def joined(self, codes: Sequence[SparseCode]) -> SparseCode:
        """The members' own codes as the ensemble's: numbered through, scaled by weight, in the ensemble's units."""
        values, indices, offset = [], [], 0
        for code, member, weight in zip(codes, self.members, self.weights, strict=True):
            values.append(code.values * (weight.abs() * self.scale / member.scale))
            indices.append(code.indices + offset)
            offset += member.config.n_latents
        return SparseCode(torch.cat(values, dim=-1), torch.cat(indices, dim=-1))

    @torch.no_grad()
    def encode(self, x: Float[Tensor, "batch d_in"]) -> SparseCode:
        """Sparse code [batch, 1, slots] of raw activations over the latents of all members."""
        return self.joined([code for code, _ in self.parts(x)])

    def copy(self, **changes) -> "Ensemble":
        """The same ensemble but for new ``members``, ``weights`` or ``sequential``; members that stay are shared."""
        own = {"members": list(self.members), "weights": self.weights.tolist(), "sequential": self.sequential}
        return Ensemble(**own | changes)

    def fold_normalisation(self) -> "Ensemble":
        """The same function of raw activations with mean 0 and scale 1."""
        return self.copy(members=[member.fold_normalisation() for member in self.members])

    def _weighted_bias(self) -> Float[Tensor, "1 d_in"]:
        """The weighted sum of what the members give for an empty code, less ``mean``, in normalised units."""
        empty = torch.stack([(m.b_dec[0] / m.scale + m.mean).double() for m in self.members])
        bias = (self.weights.double() @ empty - self.mean.double()) * self.scale.double()
        return bias.to(self.W_dec.dtype)[None]


def _check_members(members: Sequence[SAE], sequential: bool) -> None:
    if not members:
        raise InputError("members=[] must hold at least one dictionary")
    first = members[0]
    for j, member in enumerate(members):
        if member.n_dictionaries != 1:
            raise InputError(
                f"member {j} is a stack of {member.n_dictionaries}; take one of them with .dictionary(index)"
            )
        for what, here, there in (
            ("hook point", member.hook_point, first.hook_point),
            ("d_in", member.config.d_in, first.config.d_in),
            ("architecture", member.config.architecture, first.config.architecture),
        ):
            if here != there:
                raise InputError(f"member {j} has {what} {here!r}, member 0 has {there!r}; they must have the same")
        # Members of a boosted ensemble read residuals, each with units of its own.
        same = torch.equal(member.mean, first.mean) and torch.equal(member.scale, first.scale)
        if not (sequential or same):
            raise InputError(f"member {j} has another normalisation than member 0; train them on the same activations")


def _joint_config(configs: Sequence[SAEConfig]) -> SAEConfig:
    """Of the first member, less its method, as wide as all together; k is the active latents of all members."""
    k = sum(config.k for config in configs) if configs[0].k is not None else None
    first = {field.name: getattr(configs[0], field.name) for field in fields(SAEConfig)}
    return SAEConfig(**first | {"n_latents": sum(config.n_latents for config in configs), "k": k, "auxk": None})


def _checked_weights(weights: Sequence[float] | None, n: int, sequential: bool) -> Tensor:
    if weights is None:
        return torch.full((n,), 1.0 if sequential else 1.0 / n)
    weights = torch.as_tensor(weights, dtype=torch.float32)
    if weights.shape != (n,) or not weights.isfinite().all():
        raise InputError(f"weights={weights.tolist()} must be {n} finite numbers, one for each member")
    return weights


def save_ensemble(ensemble: Ensemble, path: Path) -> None:
    """Write an ensemble with each member's config, seed and normalisation, and the weights."""
    about = {
        "configs": [asdict(member.config) for member in ensemble.members],
        "seeds": [member.seeds for member in ensemble.members],
        "hook_point": ensemble.hook_point,
        "sequential": ensemble.sequential,
    }
    tensors = {f"{j}.{name}": t for j, member in enumerate(ensemble.members) for name, t in member.state_dict().items()}
    write_tensors(Path(path), "ensemble", {**tensors, "weights": ensemble.weights}, about)


def load_ensemble(path: Path, device: str = "cpu") -> Ensemble:
    """The ensemble that ``save_ensemble`` wrote. Raises InputError as ``read_tensors`` does."""
    tensors, about = read_tensors(Path(path), "ensemble")
    of_members = enumerate(zip(about["configs"], about["seeds"], strict=True))
    members = [stored_sae(path, *own, about["hook_point"], below(tensors, f"{j}.")) for j, own in of_members]
    return Ensemble(members, tensors["weights"].tolist(), about["sequential"]).to(device)
