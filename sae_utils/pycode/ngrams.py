"""What a language model has to beat: n-gram models over the same tokens, and a file compressor, in bits."""

import lzma
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from sae_utils.data.models.language_model import LanguageModel
from sae_utils.data.text import RowMaker
from sae_utils.errors import InputError


@dataclass(frozen=True)
class NGramOrder:
    """Counts of one order m: n-grams packed as base-n_vocab numbers, ascending, and sums over their contexts."""

    grams: Int[np.ndarray, " grams"]
    counts: Int[np.ndarray, " grams"]
    contexts: Int[np.ndarray, " contexts"]
    totals: Int[np.ndarray, " contexts"]  # sum of the counts in a context
    types: Int[np.ndarray, " contexts"]  # different tokens seen in a context
    discount: float

    @classmethod
    def of(cls, grams: Int[np.ndarray, " grams"], counts: Int[np.ndarray, " grams"], n_vocab: int) -> "NGramOrder":
        """Sums over contexts, and the discount n1 / (n1 + 2 n2) of Ney, Essen & Kneser (1994)."""
        context = grams // n_vocab
        starts = np.flatnonzero(np.diff(context, prepend=-1))
        n1, n2 = int((counts == 1).sum()), int((counts == 2).sum())
        discount = min(0.95, max(0.05, n1 / max(1, n1 + 2 * n2)))
        types = np.diff(starts, append=len(grams))
        return cls(grams, counts, context[starts], np.add.reduceat(counts, starts), types, discount)


@dataclass(frozen=True)
class NGramModel:
    """Interpolated Kneser-Ney over token ids (Chen & Goodman 1999, equation 26); see fit_ngram."""

    n_vocab: int
    orders: tuple[NGramOrder, ...]  # 1, 2, ... n

    def probabilities(
        self, history: Int[np.ndarray, "n order-1"], token: Int[np.ndarray, " n"]
    ) -> Float[np.ndarray, " n"]:
        """p(token | history), the latest token of the history last; sums to 1 over the vocabulary."""
        p = np.full(len(token), 1 / self.n_vocab)
        for m, order in enumerate(self.orders, start=1):
            latest = history[:, history.shape[1] - (m - 1) :]
            context = _pack(latest, self.n_vocab)
            gram = context * self.n_vocab + token.astype(np.int64)
            seen, where = _find(order.contexts, context)
            known, which = _find(order.grams, gram)
            kept = np.where(known, np.maximum(order.counts[which] - order.discount, 0), 0)
            backed_off = order.discount * order.types[where] * p
            p = np.where(seen, (kept + backed_off) / order.totals[where], p)
        return p


def fit_ngram(stream: Int[np.ndarray, " n"], n_vocab: int, order: int) -> NGramModel:
    """Count the n-grams of a token stream.

    The highest order has their counts, each lower order the number of different tokens seen before. Raises InputError
    for an order that does not fit into 63 bits or a stream that is too short.
    """
    if order < 1 or n_vocab**order >= 2**63 or len(stream) < order:
        raise InputError(f"order={order} does not go with {n_vocab} token ids and a stream of {len(stream)}")
    grams, counts = np.unique(
        _pack(np.lib.stride_tricks.sliding_window_view(stream, order), n_vocab), return_counts=True
    )
    levels = [NGramOrder.of(grams, counts, n_vocab)]
    for m in range(order - 1, 0, -1):
        grams, counts = np.unique(grams % n_vocab**m, return_counts=True)
        levels.append(NGramOrder.of(grams, counts, n_vocab))
    return NGramModel(n_vocab, tuple(reversed(levels)))


def ngram_bits(model: NGramModel, files: Sequence[Int[np.ndarray, " n"]], end_of_text: int) -> float:
    """Bits of all the files' tokens; a file's first token follows the end-of-text token."""
    bits = 0.0
    for tokens in files:
        before = len(model.orders) - 1
        padded = np.concatenate([np.full(before, end_of_text), tokens]).astype(np.int64)
        windows = np.lib.stride_tricks.sliding_window_view(padded, before + 1)
        bits -= np.log2(model.probabilities(windows[:, :-1], windows[:, -1])).sum()
    return float(bits)


def xz_bits(texts: Sequence[str]) -> int:
    """Bits that ``xz -9e`` makes of the files laid end to end, which suits it better than one by one."""
    return 8 * len(lzma.compress("".join(texts).encode("utf-8"), preset=9 | lzma.PRESET_EXTREME))


def model_nats(
    model: LanguageModel, files: Sequence[Int[np.ndarray, " n"]], context: int, batch_size: int
) -> Float[np.ndarray, " total"]:
    """Nats of every token of the files in order, each predicted once from ``context // 2`` or more tokens before it.

    Fewer at the start of a file. Rows slide by half a context.
    """
    rows, scored = sliding_rows(files, RowMaker.of(model.tokenizer, context))
    nats = []
    for start in range(0, len(rows), batch_size):
        loss = model.loss(torch.from_numpy(rows[start : start + batch_size])).cpu().numpy()
        nats.append(loss[scored[start : start + batch_size]])
    return np.concatenate(nats).astype(np.float64)


def sliding_rows(
    files: Sequence[Int[np.ndarray, " n"]], maker: RowMaker
) -> tuple[Int[np.ndarray, "rows context"], np.ndarray]:
    """Rows that overlap by half, and which of their predictions count [rows, context - 1]; ends are filled up.

    Each begins with the model's own first token. Where it has none, a file begins with the end-of-text token, as it
    follows one in the rows of a corpus.
    """
    context, before = maker.context, [maker.end] if maker.first is None else []
    stride, pieces, scored = context // 2, [], []
    for tokens in files:
        text = np.concatenate([before, tokens]).astype(np.int64)
        start = 0
        while len(tokens):
            pieces.append(text[start : start + maker.width])
            counts = np.zeros(context - 1, dtype=bool)
            counts[context - stride - 1 if start else 0 : maker.body.start + len(pieces[-1]) - 1] = True
            scored.append(counts)
            if start + maker.width >= len(text):
                break
            start += stride
    return maker.filled(pieces), np.stack(scored)


def _pack(grams: Int[np.ndarray, "n m"], n_vocab: int) -> Int[np.ndarray, " n"]:
    packed = np.zeros(len(grams), dtype=np.int64)
    for column in grams.T:
        packed = packed * n_vocab + column
    return packed


def _find(ascending: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether each value is there, and where (some valid index otherwise)."""
    where = np.minimum(np.searchsorted(ascending, values), len(ascending) - 1)
    return ascending[where] == values, where
