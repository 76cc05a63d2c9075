"""What a page about each latent of a dictionary shows, as numbers: the explorer draws them.

Each group is a frozen dataclass of arrays; ``to_arrays`` lays groups out under the names that a results file has.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy import sparse
from torch import Tensor

from sae_utils.analysis.latents.rules import RuleScores
from sae_utils.analysis.matching.matching import Rows, compare, nearest
from sae_utils.analysis.stitching.insertion import insert
from sae_utils.data.models.language_model import LanguageModel
from sae_utils.data.text.token_texts import BYTE_TOKEN, TokenTexts
from sae_utils.saes import SAE

BLOCK = 1024  # directions whose logits or cosines are held at a time

Logits = Callable[[Float[Tensor, "n d"]], Float[Tensor, "n vocab"]]


@dataclass(frozen=True)
class FiringStatistics:
    """How often and how strongly each latent fires, and on which tokens; activations in normalised units."""

    frequency: Float[np.ndarray, " n"]  # share of the tokens on which it is active
    mean: Float[np.ndarray, " n"]  # over those tokens; 0 for a latent that never fires
    maximum: Float[np.ndarray, " n"]
    histogram: Int[np.ndarray, "n bins"]  # of its activations, in equal bins from 0 to its maximum
    token: Int[np.ndarray, "n t"]  # token ids that hold most of its activation; -1 where there are fewer
    token_share: Float[np.ndarray, "n t"]  # of the sum of its activations


@dataclass(frozen=True)
class PromotedTokens:
    """The next tokens that each direction raises and lowers most: its logits, less their mean over the vocabulary."""

    raised: Int[np.ndarray, "n p"]
    raised_logit: Float[np.ndarray, "n p"]
    lowered: Int[np.ndarray, "n p"]
    lowered_logit: Float[np.ndarray, "n p"]


@dataclass(frozen=True)
class Neighbours:
    """The latents whose decoder rows have the largest cosine with each latent's; -1 where there are fewer."""

    latent: Int[np.ndarray, "n m"]
    cosine: Float[np.ndarray, "n m"]


@dataclass(frozen=True)
class Together:
    """The latents whose firings correlate most with each latent's; -1 where there are fewer."""

    latent: Int[np.ndarray, "n f"]
    correlation: Float[np.ndarray, "n f"]  # above 0
    share: Float[np.ndarray, "n f"]  # of the latent's firings, those on which the other fires too


@dataclass(frozen=True)
class Explanations:
    """Each latent's best rule about the text and its score (``rules``); none where it has no score."""

    kind: Int[np.ndarray, " n"]  # index into the kinds of rules; -1: none
    token: Int[np.ndarray, "n r"]  # token ids that it names, what adds most first; -1 where there are fewer
    role: Int[np.ndarray, "n r"]  # likewise, where the rule reads roles
    size: Int[np.ndarray, " n"]  # how many values it names in all
    score: Float[np.ndarray, " n"]  # balanced accuracy on text where it was not chosen; NaN: none


@dataclass(frozen=True)
class Partners:
    """Each latent's partner in one other seed's dictionary, by both matchings, and in how many seeds it is found."""

    decoder_latent: Int[np.ndarray, " n"]  # -1: none (a dead latent, for one)
    decoder_cosine: Float[np.ndarray, " n"]  # NaN without a partner
    encoder_latent: Int[np.ndarray, " n"]
    encoder_cosine: Float[np.ndarray, " n"]
    strict: Bool[np.ndarray, " n"]  # shared with that dictionary, by paper A's strict criterion
    shared_with: Int[np.ndarray, " n"]  # of the other dictionaries, by the same criterion


@dataclass(frozen=True)
class FiringOverlap:
    """Of the tokens on which a latent or its partner fires, the share on which both do; NaN without a partner."""

    decoder: Float[np.ndarray, " n"]  # with the decoder matching's partner
    encoder: Float[np.ndarray, " n"]


@dataclass(frozen=True)
class Novelty:
    """What each latent adds to a smaller dictionary (paper B, SAE stitching; see ``insertion``)."""

    novel: Bool[np.ndarray, " n"]  # its insertion lowers the smaller dictionary's squared error
    mse_change: Float[np.ndarray, " n"]  # by its insertion, as a share of that error
    nearest: Int[np.ndarray, " n"]  # the smaller dictionary's latent with the nearest decoder row
    cosine: Float[np.ndarray, " n"]  # to that row


@dataclass(frozen=True)
class Composition:
    """The meta-latents that each latent is made of (paper B, section on meta-SAEs), largest weight first."""

    latent: Int[np.ndarray, "n a"]  # meta-latents; -1 where there are fewer
    weight: Float[np.ndarray, "n a"]  # their activation on the latent's decoder row


@dataclass(frozen=True)
class Vocabulary:
    """The text of each token id in UTF-8, laid end to end, and where each ends. It may be a part of a character."""

    utf8: Int[np.ndarray, " bytes"]
    end: Int[np.ndarray, " v"]


def firing_statistics(
    codes: sparse.csr_matrix, tokens: Int[np.ndarray, " n_tokens"], n_vocab: int, n_bins: int, n_top: int
) -> FiringStatistics:
    """How every latent fires from its ``codes`` [n_tokens, n] and the token ids they belong to."""
    columns = codes.tocsc()
    n = columns.shape[1]
    fired = np.diff(columns.indptr)
    total = np.asarray(columns.sum(axis=0, dtype=np.float64)).ravel()
    maximum = columns.max(axis=0).toarray().ravel()
    latent = np.repeat(np.arange(n), fired)
    place = np.minimum((columns.data / maximum[latent] * n_bins).astype(np.int64), n_bins - 1)
    histogram = np.bincount(latent * n_bins + place, minlength=n * n_bins).reshape(n, n_bins)
    has_token = sparse.csr_matrix((np.ones(len(tokens)), (np.arange(len(tokens)), tokens)), (len(tokens), n_vocab))
    token, share = _largest_of_rows((columns.T @ has_token).tocsr(), n_top, of_sum=True)
    frequency, mean = fired / len(tokens), total / np.maximum(fired, 1)
    return FiringStatistics(frequency, mean, maximum, histogram, token, share)


def direct_logits(model: LanguageModel) -> Logits:
    """The logits that a direction of the residual stream gives by itself, through the last norm and the unembedding.

    For a direction v it is (f(v) - f(-v)) / 2, where f is the norm and the unembedding: biases cancel, and v counts as
    if the residual stream were v alone, at the norm's length. What later layers make of v is left out.
    """

    @torch.no_grad()
    def logits(v):
        v = v.to(model.device, model.dtype)[:, None]
        up, down = (model.bridge.unembed(model.bridge.ln_final(x))[:, 0].float() for x in (v, -v))
        return (up - down) / 2

    return logits


def promoted_tokens(directions: Float[Tensor, "n d"], logits: Logits, n_tokens: int) -> PromotedTokens:
    """The ``n_tokens`` next tokens that each direction raises most, and those it lowers most (``direct_logits``)."""
    raised, lowered = [], []
    for block in directions.detach().split(BLOCK):
        values = logits(block)
        values = (values - values.mean(1, keepdim=True)).cpu()
        raised.append(values.topk(n_tokens))
        lowered.append((-values).topk(n_tokens))
    up, down = ([torch.cat(part).numpy() for part in zip(*tops, strict=True)] for tops in (raised, lowered))
    return PromotedTokens(up[1], up[0], down[1], -down[0])


def neighbours(decoder: Float[Tensor, "n d"], alive: Bool[np.ndarray, " n"], n_nearest: int) -> Neighbours:
    """The ``n_nearest`` alive latents nearest to each, itself left out."""
    rows = torch.nn.functional.normalize(decoder.detach().cpu().float(), dim=1)
    n = len(rows)
    n_nearest = min(n_nearest, n - 1)
    latent, cosine = [], []
    for start in range(0, n, BLOCK):
        block = rows[start : start + BLOCK] @ rows.T
        block[:, ~torch.from_numpy(alive)] = -torch.inf
        block[torch.arange(len(block)), torch.arange(start, start + len(block))] = -torch.inf
        top = block.topk(n_nearest)
        cosine.append(top.values)
        latent.append(torch.where(top.values.isfinite(), top.indices, -1))
    return Neighbours(torch.cat(latent).numpy(), torch.cat(cosine).nan_to_num(neginf=0).numpy())


def partners(
    encoders: Float[Tensor, "S n d"], decoders: Float[Tensor, "S n d"], alive: Bool[Tensor, "S n"]
) -> Partners:
    """Partners of the latents of a stack's first dictionary in the second, and how many of the others have them.

    ``encoders`` are compared as they are given; see ``metric.in_metric``. Dead latents are left out.
    """
    first, *others = (Rows(*one) for one in zip(encoders, decoders, alive, strict=True))
    found = [compare(first, other) for other in others]
    shared = np.stack([overlap.shared("strict") for overlap in found])
    decoder, encoder = found[0].decoder, found[0].encoder
    return Partners(decoder.partner, decoder.cosine, encoder.partner, encoder.cosine, shared[0], shared.sum(0))


def together(codes: sparse.csr_matrix, n_top: int) -> Together:
    """The ``n_top`` latents that fire with each more than by chance, from the ``codes`` [n_tokens, n] of one text."""
    fires = _firings(codes)
    fired, (n_tokens, n) = fires.sum(axis=0), fires.shape
    found = []
    for start in range(0, n, BLOCK):
        rows = np.arange(start, min(n, start + BLOCK))
        both = (fires[:, rows].T @ fires).toarray()
        with np.errstate(invalid="ignore", divide="ignore"):
            spread = fired * (n_tokens - fired)
            phi = np.nan_to_num(
                (n_tokens * both - np.outer(fired[rows], fired)) / np.sqrt(np.outer(spread[rows], spread))
            )
            share = both / fired[rows, None]
        phi[np.arange(len(rows)), rows] = 0
        order = np.argsort(-phi, axis=1, kind="stable")[:, :n_top]
        best, of_best = (np.take_along_axis(values, order, 1) for values in (phi, share))
        found.append((np.where(best > 0, order, -1), np.maximum(best, 0), np.where(best > 0, of_best, 0)))
    return Together(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def explanations(scores: RuleScores, n_shown: int) -> Explanations:
    """The best rules of the latents that have a score, with the first ``n_shown`` values that each names."""
    n = len(scores.best)
    token, role, size = np.full((n, n_shown), -1), np.full((n, n_shown), -1), np.zeros(n, dtype=np.int64)
    for latent in np.flatnonzero(scores.scored):
        label, named = scores.rule(latent)
        size[latent] = len(named)
        (role if label == "role" else token)[latent, : min(n_shown, len(named))] = named[:n_shown]
    return Explanations(np.where(scores.scored, scores.best, -1), token, role, size, scores.held_out)


def firing_overlap(codes: sparse.csr_matrix, other: sparse.csr_matrix, found: Partners) -> FiringOverlap:
    """How far latents and their partners fire on the same tokens, from the codes of both dictionaries on one text."""
    here, there = _firings(codes), _firings(other)
    sides = []
    for partner in (found.decoder_latent, found.encoder_latent):
        has = np.flatnonzero(partner >= 0)
        one, two = here[:, has], there[:, partner[has]]
        both = one.multiply(two).sum(axis=0)
        share = np.full(len(partner), np.nan)
        with np.errstate(invalid="ignore"):
            share[has] = both / (one.sum(axis=0) + two.sum(axis=0) - both)
        sides.append(share)
    return FiringOverlap(*sides)


def novelty(small: SAE, large: SAE, batches: Iterable[Float[Tensor, "batch d_in"]]) -> Novelty:
    """Each latent of ``large`` inserted alone into ``small``, both stacks of one. Raises InputError as ``insert``."""
    found, near = insert(small, large, batches), nearest(large.W_dec[0], small.W_dec[0])
    return Novelty(found.novel[0, 0], found.change[0, 0] / found.mse[0], near.partner, near.cosine)


def composition(weights: Float[Tensor, "alive m"], alive: Bool[np.ndarray, " n"]) -> Composition:
    """From the weights of the meta-latents in the decoder rows of the alive latents (``meta_sae.meta_codes``)."""
    places = np.flatnonzero(alive)
    of_alive = sparse.csr_matrix(weights.cpu().numpy()).tocoo()
    codes = sparse.csr_matrix((of_alive.data, (places[of_alive.row], of_alive.col)), (len(alive), weights.shape[1]))
    n_active = int(np.diff(codes.indptr).max(initial=0))
    return Composition(*_largest_of_rows(codes, max(1, n_active)))


def vocabulary(tokenizer, n_vocab: int) -> Vocabulary:
    """The text of every token; of SentencePiece's bytes, those that say what another token does by their names."""
    texts = TokenTexts(tokenizer)
    utf8 = [texts.utf8(i) for i in range(n_vocab)]
    tokens_of, names = Counter(utf8), map(texts.name, range(n_vocab))
    by_name = [tokens_of[text] > 1 and BYTE_TOKEN.fullmatch(name) for text, name in zip(utf8, names, strict=True)]
    return lay_out([texts.name(i).encode() if named else utf8[i] for i, named in enumerate(by_name)])


def lay_out(utf8: Sequence[bytes]) -> Vocabulary:
    """A vocabulary of these texts in UTF-8."""
    return Vocabulary(np.frombuffer(b"".join(utf8), np.uint8), np.cumsum([len(text) for text in utf8]))


def to_arrays(groups: Mapping[str, object]) -> dict[str, np.ndarray]:
    """``{group}_{field}`` for each field of each group."""
    return {f"{name}_{field}": values for name, group in groups.items() for field, values in asdict(group).items()}


def _firings(codes: sparse.csr_matrix) -> sparse.csc_array:
    columns = sparse.csc_array(codes)
    return sparse.csc_array((np.ones(columns.nnz), columns.indices, columns.indptr), columns.shape)


def _largest_of_rows(matrix: sparse.csr_matrix, n_top: int, of_sum: bool = False):
    """Columns [n, n_top] of the largest entries of each row, -1 where there are fewer, and the entries.

    ``of_sum`` gives them as shares of the row's sum.
    """
    entries = matrix.tocoo()
    order = np.lexsort((entries.col, -entries.data, entries.row))
    row, column, data = entries.row[order], entries.col[order], entries.data[order].astype(np.float64)
    if of_sum:
        data = data / np.bincount(row, data, minlength=matrix.shape[0])[row]
    place = np.arange(len(row)) - np.searchsorted(row, np.arange(matrix.shape[0]))[row]
    columns, values = np.full((matrix.shape[0], n_top), -1), np.zeros((matrix.shape[0], n_top))
    kept = place < n_top
    columns[row[kept], place[kept]], values[row[kept], place[kept]] = column[kept], data[kept]
    return columns, values
