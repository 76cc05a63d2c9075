"""Which latents fire on which token of which text: sparse codes laid beside the tokens they belong to."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import sparse
from torch import Tensor

from sae_utils.data.activations import ActivationSource
from sae_utils.errors import InputError
from sae_utils.saes import SAE, SparseCode

CHUNK_VALUES = 2**25  # dense pre-activations that are held together (134 MB): 8,192 tokens of a stack of 8 x 512


@dataclass(frozen=True)
class TextCodes:
    """Activations of every latent of a stack on the first rows of a source, in the order of the text.

    Tokens are the positions that SAEs are trained on: not the first of a row, and no end-of-text token.
    """

    positions: Int[np.ndarray, " n"]  # of each token in the rows laid end to end
    codes: tuple[sparse.csr_matrix, ...]  # of each dictionary [n, n_latents], in normalised units
    loss_rise: Float[np.ndarray, "S n_latents"]  # of the FVU if the latent were always 0, all else as it is
    activations: Float[Tensor, "n d_in"]  # normalised, float32, on the CPU

    @property
    def n_tokens(self) -> int:
        """Tokens that were encoded."""
        return len(self.positions)


@torch.no_grad()
def encode_text(sae: SAE, source: ActivationSource, n_rows: int) -> TextCodes:
    """Encode the first ``n_rows`` rows of ``source`` with every dictionary of a stack.

    Holds activations and codes in memory: 4 (d_in + 2 S k) bytes a token. Raises InputError where the source has
    fewer rows.
    """
    if not 1 <= n_rows <= len(source.order.keep):
        raise InputError(f"n_rows={n_rows} must be 1 to the {len(source.order.keep)} rows that there are")
    keep = source.order.keep[:n_rows]
    rows_per_chunk = max(1, CHUNK_VALUES // (sae.b_enc.numel() * keep.shape[1]))
    parts, activations = [], []
    rise = torch.zeros(sae.b_enc.shape, dtype=torch.float64, device=sae.W_dec.device)
    for start in range(0, n_rows, rows_per_chunk):
        rows = np.arange(start, min(n_rows, start + rows_per_chunk))
        x = source.read(rows)[sae.hook_point][torch.from_numpy(keep[rows])].to(sae.W_dec.device).float()
        code = sae.encode(x)
        rise += _error_rise(sae, x, code)
        parts.append([code.matrix(s, sae.config.n_latents) for s in range(sae.n_dictionaries)])
        activations.append(sae.normalise(x).cpu())
    whole = torch.cat(activations)
    variance = float((whole - whole.mean(0)).double().square().sum())
    codes = tuple(sparse.vstack(part, format="csr", dtype=np.float32) for part in zip(*parts, strict=True))
    return TextCodes(np.flatnonzero(keep), codes, rise.cpu().numpy() / variance, whole)


def _error_rise(sae: SAE, x: Float[Tensor, "n d_in"], code: SparseCode) -> Float[Tensor, "S n_latents"]:
    """Sum over tokens of ||r + z d||^2 - ||r||^2, normalised units: r the residual, z d the latent's part."""
    residual = (x[:, None] - sae.decode(code)) * sae.scale
    along = torch.einsum("nsd,sld->nsl", residual, sae.W_dec).gather(2, code.indices)
    squared_norm = sae.W_dec.square().sum(-1).expand(len(x), -1, -1).gather(2, code.indices)
    rise = (2 * along + code.values * squared_norm) * code.values
    out = rise.new_zeros(sae.b_enc.shape, dtype=torch.float64)
    return out.scatter_add_(1, code.indices.transpose(0, 1).flatten(1), rise.double().transpose(0, 1).flatten(1))
