"""The n-gram models are proper distributions and agree with a slow reference; every token is predicted once."""

import itertools
import lzma
import math
from collections import Counter

import numpy as np
import pytest
import torch
from helpers.tiny_language_model import make_family, make_tiny

from sae_utils.data.models.language_model import load_language_model
from sae_utils.data.text import RowMaker
from sae_utils.errors import InputError
from sae_utils.pycode.ngrams import fit_ngram, model_nats, ngram_bits, sliding_rows, xz_bits


def kneser_ney(stream, n_vocab, history, token, order):
    """The recursion written out with dictionaries, for one prediction."""
    grams = Counter(tuple(stream[i : i + order]) for i in range(len(stream) - order + 1))
    levels = [grams]
    for _ in range(order - 1):
        levels.append(Counter(gram[1:] for gram in levels[-1]))
    p = 1 / n_vocab
    for m, counts in enumerate(reversed(levels), start=1):
        context = tuple(history[len(history) - (m - 1) :])
        inside = {gram: c for gram, c in counts.items() if gram[:-1] == context}
        if not inside:
            continue
        n1, n2 = (sum(c == i for c in counts.values()) for i in (1, 2))
        d = min(0.95, max(0.05, n1 / max(1, n1 + 2 * n2)))
        p = (max(inside.get((*context, token), 0) - d, 0) + d * len(inside) * p) / sum(inside.values())
    return p


@pytest.fixture
def stream():
    return np.random.default_rng(0).zipf(1.6, 400).clip(max=8).astype(np.uint16) - 1


@pytest.mark.parametrize("order", [1, 2, 3])
def test_probabilities_sum_to_one_in_every_context(stream, order):
    model = fit_ngram(stream, 9, order)
    for context in itertools.product(range(9), repeat=order - 1):
        p = model.probabilities(np.array([context] * 9).reshape(9, order - 1), np.arange(9))
        assert p.min() > 0 and p.sum() == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_probabilities_are_those_of_the_recursion(stream, order):
    model = fit_ngram(stream, 9, order)
    for context in itertools.product([0, 1, 4, 8], repeat=order - 1):
        for token in (0, 3, 8):
            got = model.probabilities(np.array([context]).reshape(1, order - 1), np.array([token]))[0]
            expected = kneser_ney(stream.tolist(), 9, context, token, order)
            assert got == pytest.approx(expected, rel=1e-12)


def test_unigram_by_hand():
    # Counts 3, 2, 1, 0 of 6: n1 = n2 = 1, so the discount is 1/3, and three types of four share 1/3 * 3 * 1/4 = 1/4.
    model = fit_ngram(np.array([0, 0, 0, 1, 1, 2]), 4, 1)
    p = model.probabilities(np.empty((4, 0), int), np.arange(4))
    np.testing.assert_allclose(p, [(3 - 1 / 3 + 1 / 4) / 6, (2 - 1 / 3 + 1 / 4) / 6, (1 - 1 / 3 + 1 / 4) / 6, 1 / 24])


def test_bigram_by_hand():
    # 0 1 0 1 0 2: grams 01 x2, 10 x2, 02 x1. Discount 1/(1 + 2*2) = 1/5. Lower counts: 0, 1, 2 each after one token;
    # no count of 2, so the discount is .95: p(1) = (1 - .95 + .95 * 3 / 3) / 3 = 1/3.
    model = fit_ngram(np.array([0, 1, 0, 1, 0, 2]), 3, 2)
    p = model.probabilities(np.array([[0], [0], [0]]), np.arange(3))
    np.testing.assert_allclose(p, [0.4 / 3 / 3, (1.8 + 0.4 / 3) / 3, (0.8 + 0.4 / 3) / 3], rtol=1e-12)


def test_ngram_bits_count_every_token_once_from_end_of_text(stream):
    model = fit_ngram(stream, 9, 3)
    files = [np.array([3, 1, 4]), np.array([1])]
    histories = [(0, 0, 3), (0, 3, 1), (3, 1, 4), (0, 0, 1)]
    expected = -sum(math.log2(kneser_ney(stream.tolist(), 9, h[:2], h[2], 3)) for h in histories)
    assert ngram_bits(model, files, end_of_text=0) == pytest.approx(expected)


def test_xz_bits_can_be_decompressed_from_as_many():
    texts = ["def f():\n" * 50, "é" * 30]
    packed = lzma.compress("".join(texts).encode(), preset=9 | lzma.PRESET_EXTREME)
    assert xz_bits(texts) == 8 * len(packed) and lzma.decompress(packed).decode() == "".join(texts)


@pytest.mark.parametrize("length", [1, 6, 7, 8, 9, 11, 12, 30, 31])
@pytest.mark.parametrize("first", [None, 99])
def test_sliding_rows_predict_every_token_once_with_half_a_context(first, length):
    context, tokens = 8, np.arange(1, length + 1)
    rows, scored = sliding_rows([tokens, tokens[:3]], RowMaker(first, 0, context))
    assert rows[:, 1:][scored].tolist() == [*tokens, *tokens[:3]]
    if first is None:
        assert rows[0, 0] == 0, "the first token follows the end-of-text token"
    else:
        assert (rows[:, 0] == first).all() and (rows == first).sum() == len(rows)
        assert rows[0, : length + 1].tolist() == [first, *tokens][:context]
    position = np.broadcast_to(np.arange(1, context), scored.shape)
    later = scored & (rows[:, 1:] > context)
    assert (position[later] >= context // 2).all()


def test_model_nats_of_a_short_file_are_the_losses_of_one_row(tmp_path):
    model = load_language_model(make_tiny(tmp_path))
    rng = np.random.default_rng(0)
    files = [rng.integers(1, 300, n) for n in (10, 100, 5)]
    nats = model_nats(model, files, context=32, batch_size=4)
    assert nats.shape == (115,)
    row = torch.from_numpy(np.concatenate([[0], files[0]]))[None]
    np.testing.assert_allclose(nats[:10], model.loss(row)[0].numpy(), rtol=1e-4, atol=1e-5)


def test_every_row_of_model_nats_begins_with_the_models_first_token(tmp_path):
    model = load_language_model(make_family(tmp_path, "llama"))
    bos, files = model.tokenizer.bos_token_id, [np.arange(1, 11), np.arange(1, 41)]
    nats = model_nats(model, files, context=32, batch_size=4)
    rows = [[bos, *files[0]], [bos, *files[1][:31]], [bos, *files[1][16:]]]
    of_row = [model.loss(torch.tensor([row]))[0].numpy() for row in rows]
    expected = np.concatenate([of_row[0], of_row[1], of_row[2][15:]])
    np.testing.assert_allclose(nats, expected, rtol=1e-4, atol=1e-5)


def test_an_order_that_does_not_fit_is_refused():
    with pytest.raises(InputError, match="order=5 does not go with 60000 token ids"):
        fit_ngram(np.arange(10), 60000, 5)
