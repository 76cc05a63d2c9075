"""Encode and decode with sparse gradients, for a whole stack of dictionaries at once.

A dictionary of 4,096 latents with k = 32 uses 1 in 128 of its products after the encoder. So only the
encoder's forward product is dense here; the decoder, and all gradients, touch only the active latents.
The stack is one table of S * n_latents rows, and one sorted list of (token, latent) pairs serves both
weight gradients. ``bags.py`` has the sums.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_utils.memory import CPU_CHUNK, CPU_LATENTS, CUDA_HELD, SEARCHED
from sae_utils.saes.bags import bag_dots, bag_sum, count

GROUP = {"cpu": 8, "cuda": 32}  # values of which top_k looks at the largest first


class Pattern:
    """Which latents are active for which token: the positions of a sparse code, without its values.

    ``latents`` holds flat latent numbers (dictionary * n_latents + latent), in the order of ``bags``; a bag is one
    (token, dictionary) pair, numbered token * S + dictionary, and bag i starts at ``starts[i]``.
    """

    def __init__(self, latents: Int[Tensor, " nnz"], starts: Int[Tensor, " bags"], bags: Int[Tensor, " nnz"]):
        self.latents, self.starts, self.bags = latents, starts, bags
        self._transposed = None

    def transposed(self, n_rows: int) -> tuple[Int[Tensor, " nnz"], Int[Tensor, " nnz"], Int[Tensor, " rows"]]:
        """The same pairs sorted by latent: (order of the pairs, their bags, where each latent starts)."""
        if self._transposed is None:
            # As int32 on CUDA, whose sort takes a time for each byte.
            keys = self.latents.int() if self.latents.is_cuda else self.latents
            order = keys.argsort(stable=True)
            counts = count(self.latents, n_rows)
            self._transposed = order, self.bags[order], counts.cumsum(0) - counts
        return self._transposed


def top_k(values: Float[Tensor, "*rows n"], k: int) -> tuple[Float[Tensor, "*rows k"], Int[Tensor, "*rows k"]]:
    """The k largest of each row and where they are, in no particular order.

    In two stages: the k largest all lie in the k groups with the largest maxima, and a row of n in groups of 8 has
    n/8 maxima and 8k candidates to search instead of n. Against ``torch.topk`` on one core: 1.8 times faster at
    n = 512, k = 16; 1.7 at 1,024, 32; 1.2 at 4,096, 32; the same at 1,024, 16. On an H100: 2.3 times at 32,768, 32.
    """
    n, size = values.shape[-1], GROUP.get(values.device.type, 8)
    if n % size or n // size < 4 * k:
        found = values.topk(k, dim=-1, sorted=False)
        return found.values, found.indices
    groups = values.unflatten(-1, (size, n // size))
    best = groups.amax(-2).topk(k, dim=-1, sorted=False).indices
    offsets = torch.arange(0, n, n // size, device=values.device)
    candidates = (best[..., None, :] + offsets[:, None]).flatten(-2)
    found = values.gather(-1, candidates).topk(k, dim=-1, sorted=False)
    return found.values, candidates.gather(-1, found.indices)


def pre_activations(
    x: Float[Tensor, "batch d_in"],
    encoder: Float[Tensor, "S n_latents d_in"],
    b_enc: Float[Tensor, "S n_latents"],
    b_dec: Float[Tensor, "S d_in"],
) -> Float[Tensor, "batch S n_latents"]:
    """(x - b_dec) W_enc + b_enc for every dictionary, as one product."""
    bias = b_enc - torch.einsum("snd,sd->sn", encoder, b_dec)
    return torch.addmm(bias.flatten(), x, encoder.flatten(0, 1).T).unflatten(1, b_enc.shape)


def encode_top_k(x, encoder, b_enc, b_dec, k: int, search: torch.dtype | None = None):
    """The k largest pre-activations of each token and dictionary: (values, latents), both [batch, S, k], no gradient.

    In chunks of rows and of dictionaries that share one buffer: no matrix of all pre-activations is held and, on the
    CPU, what top_k reads and the encoder that the next rows need are still in the cache. ``search`` is the dtype of the
    product, by default bfloat16 on CUDA where a row is wide. One lower than that of ``x`` finds ``candidates``, whose
    values are then computed in the dtype of ``x``.
    """
    n_dictionaries, n_latents = b_enc.shape
    search = search or search_dtype(x, n_latents)
    offered = k if search == x.dtype else candidates(k, n_latents)
    bias = b_enc - torch.einsum("snd,sd->sn", encoder, b_dec)
    values = x.new_empty(len(x), n_dictionaries, k)
    latents = torch.empty(values.shape, dtype=torch.int64, device=x.device)
    at_once = max(1, min(len(x), CUDA_HELD // n_latents)) if x.is_cuda else CPU_CHUNK
    held = CUDA_HELD // at_once if x.is_cuda else CPU_LATENTS
    together = min(n_dictionaries, max(1, held // n_latents))
    buffer = x.new_empty(min(len(x), at_once) * together * n_latents, dtype=search)
    low_x = x.to(search)
    for first in range(0, n_dictionaries, together):
        some = slice(first, first + together)
        weight, some_bias = encoder[some].flatten(0, 1), bias[some]
        low_weight, low_bias = weight.to(search).T, some_bias.flatten().to(search)
        for start in range(0, len(x), at_once):
            rows = slice(start, min(start + at_once, len(x)))
            out = buffer[: (rows.stop - start) * some_bias.numel()].view(-1, some_bias.numel())
            chunk = torch.addmm(low_bias, low_x[rows], low_weight, out=out).unflatten(1, some_bias.shape)
            found, which = top_k(chunk, offered)
            if search != x.dtype:
                found, best = top_k(_values_at(which, x[rows], weight, some_bias), k)
                which = which.gather(-1, best)
            values[rows, some], latents[rows, some] = found, which
    return values, latents


def search_dtype(x: Tensor, n_latents: int) -> torch.dtype:
    """In which the k largest are looked for, where nothing else is asked for."""
    return torch.bfloat16 if x.is_cuda and x.dtype == torch.float32 and n_latents >= SEARCHED else x.dtype


def candidates(k: int, n_latents: int) -> int:
    """How many latents a search in low precision offers, so that the k largest are among them."""
    return min(k + max(k // 2, 8), n_latents)


def _values_at(latents: Int[Tensor, "batch S c"], x, weight: Float[Tensor, "S*n_latents d_in"], bias) -> Tensor:
    """The pre-activations of chosen latents alone, in the dtype of ``x``."""
    batch, n_dictionaries, c = latents.shape
    flat = (latents + bias.shape[1] * torch.arange(n_dictionaries, device=x.device)[:, None]).flatten()
    starts = torch.arange(0, len(flat), n_dictionaries * c, device=x.device)
    tokens = torch.arange(batch, device=x.device).repeat_interleave(n_dictionaries * c)
    return (bag_dots(x, weight, flat, starts, tokens) + bias.flatten()[flat]).view(latents.shape)


def keep_top_k(values, latents, n_latents: int) -> tuple[Float[Tensor, " nnz"], Pattern]:
    """A code of exactly k latents per token and dictionary as (values [nnz], pattern)."""
    batch, n_dictionaries, k = values.shape
    flat = latents + n_latents * torch.arange(n_dictionaries, device=latents.device)[:, None]
    starts = torch.arange(0, flat.numel(), k, device=flat.device)
    bags = torch.arange(batch * n_dictionaries, device=flat.device).repeat_interleave(k)
    return values.flatten(), Pattern(flat.flatten(), starts, bags)


def keep_batch_top_k(values, latents, n_latents: int, k: int):
    """The batch * k largest candidates of each dictionary: (values [nnz], pattern, smallest kept [S], complete).

    ``values`` and ``latents`` [batch, S, c] are each token's c largest. ``complete`` is False where a token might
    have had more than c latents among the kept ones: then c was too small and the caller must offer more.
    """
    batch, n_dictionaries, c = values.shape
    per_dictionary = values.transpose(0, 1).flatten(1)
    kept = per_dictionary.topk(batch * k, dim=-1, sorted=False)
    smallest = kept.values.amin(-1)
    mask = torch.zeros_like(per_dictionary, dtype=torch.bool).scatter_(1, kept.indices, True)
    mask = mask.unflatten(1, (batch, c)).transpose(0, 1)
    complete = c == n_latents or not bool(mask.all(-1).any())
    flat = latents + n_latents * torch.arange(n_dictionaries, device=latents.device)[:, None]
    counts = mask.sum(-1).flatten()
    bags = torch.arange(batch * n_dictionaries, device=flat.device).repeat_interleave(counts)
    return values[mask], Pattern(flat[mask], counts.cumsum(0) - counts, bags), smallest, complete


class _SparseEncode(torch.autograd.Function):
    """ReLU of the chosen pre-activations; the gradient reaches only the chosen rows of the encoder."""

    @staticmethod
    def forward(ctx, x, encoder, b_enc, b_dec, values, pattern):
        ctx.save_for_backward(x, encoder, b_dec, values > 0)
        ctx.pattern = pattern
        return values.relu()

    @staticmethod
    def backward(ctx, grad):
        x, encoder, b_dec, active = ctx.saved_tensors
        n_dictionaries, n_latents, d_in = encoder.shape
        grad = (grad * active).to(x.dtype)
        order, bags, starts = ctx.pattern.transposed(n_dictionaries * n_latents)
        by_latent = grad[order]
        grad_encoder = bag_sum(x, bags // n_dictionaries, starts, by_latent).unflatten(0, (n_dictionaries, n_latents))
        # Sums of by_latent alone: bags of a table of one 1, since index_add on CUDA adds in any order.
        grad_b_enc = bag_sum(x.new_ones(1, 1), torch.zeros_like(bags), starts, by_latent).view(
            n_dictionaries, n_latents
        )
        # The pre-activation is (x - b_dec) w + b: what b_enc gets, w gets times -b_dec, and b_dec times -w.
        grad_encoder.baddbmm_(grad_b_enc[..., None], b_dec[:, None, :], alpha=-1)
        grad_b_dec = -torch.einsum("sn,snd->sd", grad_b_enc, encoder)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = bag_sum(encoder.flatten(0, 1), ctx.pattern.latents, ctx.pattern.starts, grad)
            grad_x = grad_x.unflatten(0, (len(x), n_dictionaries)).sum(1)
        return grad_x, grad_encoder, grad_b_enc, grad_b_dec, None, None


class _SparseDecode(torch.autograd.Function):
    """Sum of the active decoder rows of each bag, weighted by the values."""

    @staticmethod
    def forward(ctx, values, decoder, pattern):
        ctx.save_for_backward(values, decoder)
        ctx.pattern = pattern
        return bag_sum(decoder.detach().flatten(0, 1), pattern.latents, pattern.starts, values.detach())

    @staticmethod
    def backward(ctx, grad):
        (values, decoder), pattern, grad = ctx.saved_tensors, ctx.pattern, grad.contiguous()
        rows = decoder.flatten(0, 1)
        if len(rows) <= CPU_LATENTS:
            grad_values = bag_dots(grad, rows, pattern.latents, pattern.starts, pattern.bags)
        else:  # latent by latent, so that each row of a decoder that no cache holds is read once
            order, bags, starts = pattern.transposed(len(rows))
            by_latent = bag_dots(rows, grad, bags, starts, pattern.latents[order])
            grad_values = torch.empty_like(by_latent).scatter_(0, order, by_latent)
        if not ctx.needs_input_grad[1]:  # a frozen decoder
            return grad_values, None, None
        order, bags, starts = pattern.transposed(len(rows))
        grad_decoder = bag_sum(grad, bags, starts, values[order])
        return grad_values, grad_decoder.view(decoder.shape), None


def sparse_encode(x, encoder, b_enc, b_dec, values, pattern: Pattern) -> Float[Tensor, " nnz"]:
    """Make the chosen pre-activations ``values`` [nnz] part of the graph: their ReLU, with sparse gradients.

    ``values`` must be the pre-activations at ``pattern``; ``encoder`` is [S, n_latents, d_in].
    """
    return _SparseEncode.apply(x, encoder, b_enc, b_dec, values, pattern)


def sparse_decode(values: Float[Tensor, " nnz"], decoder: Float[Tensor, "S n_latents d_in"], pattern: Pattern):
    """Reconstruction without the decoder bias, [batch * S, d_in], bag by bag."""
    return _SparseDecode.apply(values, decoder, pattern)


def sum_by_latent(
    table: Float[Tensor, "batch d"],
    tokens: Int[Tensor, " nnz"],
    latents: Int[Tensor, " nnz"],
    values: Float[Tensor, " nnz"],
    n_latents: int,
) -> Float[Tensor, "n_latents d"]:
    """Sum over tokens of value times the token's row of ``table``, for each latent; ``latents`` ascend."""
    counts = count(latents, n_latents)
    return bag_sum(table, tokens, counts.cumsum(0) - counts, values)
