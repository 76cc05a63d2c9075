"""What all dictionaries have in common: SAEs, ensembles of them, and what is stitched together from their latents."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from jaxtyping import Float, Int
from scipy import sparse
from torch import Tensor

from sae_utils.data.activations import Normalisation
from sae_utils.errors import InputError
from sae_utils.saes import kernels


@dataclass(frozen=True)
class SparseCode:
    """Active latents of each token and dictionary; slots that hold no latent have value 0."""

    values: Float[Tensor, "batch S k"]
    indices: Int[Tensor, "batch S k"]

    def dense(self, n_latents: int) -> Float[Tensor, "batch S n_latents"]:
        """The same code with its zeros."""
        zeros = self.values.new_zeros(*self.values.shape[:2], n_latents)
        # Not scatter_: an empty slot may repeat the index of a full one, and 0 must not overwrite it.
        return zeros.scatter_add_(2, self.indices, self.values)

    def active(self, index: int) -> tuple[Int[Tensor, " nnz"], Int[Tensor, " nnz"], Float[Tensor, " nnz"]]:
        """Tokens, latents and float64 values of the active slots of one dictionary of the stack, sorted by latent."""
        values, indices = self.values[:, index], self.indices[:, index]
        tokens, slots = (values > 0).nonzero(as_tuple=True)
        latents, order = indices[tokens, slots].sort(stable=True)
        return tokens[order], latents, values[tokens, slots][order].double()

    def matrix(self, index: int, n_latents: int) -> sparse.csr_matrix:
        """The code [batch, n_latents] of one dictionary of the stack, float64, without its zeros."""
        tokens, latents, values = (t.cpu().numpy() for t in self.active(index))
        return sparse.csr_matrix((values, (tokens, latents)), shape=(len(self.values), n_latents))


class Dictionary(ABC):
    """One or more dictionaries that read one hook point, stacked; S is their number, 1 for all but an ``SAE``.

    A code z, in normalised units x_n = (x - mean) * scale, decodes to ``x_hat = (z W_dec + b_dec) / scale + mean``. A
    subclass says how a code is made. ``config`` has at least ``d_in`` and ``n_latents``.
    """

    hook_point: str
    encoder: Float[Tensor, "S n_latents d_in"]
    b_enc: Float[Tensor, "S n_latents"]
    W_dec: Float[Tensor, "S n_latents d_in"]
    b_dec: Float[Tensor, "S d_in"]
    mean: Float[Tensor, " d_in"]
    scale: Float[Tensor, ""]

    @abstractmethod
    def encode(self, x: Float[Tensor, "batch d_in"]) -> SparseCode:
        """Sparse code of raw activations."""

    @abstractmethod
    def copy(self, **changes) -> "Dictionary":
        """The same kind of dictionary, but for what is given."""

    @property
    def n_dictionaries(self) -> int:
        """S, the number of dictionaries."""
        return len(self.W_dec)

    @property
    def W_enc(self) -> Float[Tensor, "S d_in n_latents"]:
        """Encoder as a matrix per dictionary: a view of ``encoder``."""
        return self.encoder.transpose(1, 2)

    @property
    def normalisation(self) -> Normalisation:
        """The map from raw to normalised activations."""
        return Normalisation(self.mean, float(self.scale))

    def normalise(self, x: Float[Tensor, "batch d_in"]) -> Float[Tensor, "batch d_in"]:
        """Raw activations in the units of the weights."""
        if x.shape[-1] != self.config.d_in:
            raise InputError(f"activations have {x.shape[-1]} dimensions, the SAE has d_in={self.config.d_in}")
        return (x - self.mean) * self.scale

    def decode(self, code: SparseCode) -> Float[Tensor, "batch S d_in"]:
        """Reconstruction in raw units."""
        values, pattern = kernels.keep_top_k(code.values, code.indices, self.config.n_latents)
        sums = kernels.sparse_decode(values, self.W_dec, pattern).unflatten(0, code.values.shape[:2])
        return (sums + self.b_dec) / self.scale + self.mean

    def forward(self, x: Float[Tensor, "batch d_in"]) -> Float[Tensor, "batch S d_in"]:
        """Reconstruction of raw activations by every dictionary."""
        return self.decode(self.encode(x))

    def dictionary(self, index: int) -> "Dictionary":
        """One of the S dictionaries: where there is one, this itself. Raises InputError for an index beyond."""
        if index != 0:
            raise InputError(f"dictionary({index}) does not exist: this {type(self).__name__} is one dictionary, 0")
        return self
