"""Contexts against a plain search through the text, written out here."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from sae_utils.analysis.latents.contexts import Window, choose_contexts
from sae_utils.errors import InputError

WINDOW = Window(before=3, after=2, n_top=4, n_parts=2, n_per_part=2)


def random_text(n_rows=12, context=20, n_latents=5, n_vocab=50, seed=0):
    """(codes of the tokens that are kept, their positions, rows); the first position of a row is left out."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, n_vocab, (n_rows, context))
    dense = rng.random((n_rows * context, n_latents)) * (rng.random((n_rows * context, n_latents)) < 0.2)
    positions = np.flatnonzero(np.arange(rows.size) % context != 0)
    return sparse.csr_matrix(dense[positions].astype(np.float32)), positions, rows


def of_latent(contexts, latent, group):
    return np.flatnonzero((contexts.latent == latent) & (contexts.group == group))


def test_the_strongest_firings_come_first_one_from_a_row():
    codes, positions, rows = random_text()
    contexts = choose_contexts(codes, positions, rows, WINDOW, seed=0)
    dense = np.zeros((rows.size, codes.shape[1]))
    dense[positions] = codes.toarray()
    for latent in range(codes.shape[1]):
        by_row = np.sort(dense[:, latent].reshape(rows.shape).max(1))[::-1][: WINDOW.n_top]
        chosen = of_latent(contexts, latent, 0)
        assert contexts.values[chosen, contexts.peak[chosen]] == pytest.approx(by_row)


def test_a_window_is_the_text_around_its_firing_and_stays_in_its_row():
    codes, positions, rows = random_text()
    contexts = choose_contexts(codes, positions, rows, WINDOW, seed=0)
    dense = np.zeros((rows.size, codes.shape[1]), np.float32)
    dense[positions] = codes.toarray()
    windows = {
        (row, column): rows[row, column : column + WINDOW.size]
        for row in range(len(rows))
        for column in range(rows.shape[1] - WINDOW.size + 1)
    }
    for i in range(len(contexts.latent)):
        ((row, column),) = [at for at, text in windows.items() if (text == contexts.tokens[i]).all()]
        at = row * rows.shape[1] + column
        assert (contexts.values[i] == dense[at : at + WINDOW.size, contexts.latent[i]]).all()
        assert contexts.values[i, contexts.peak[i]] > 0
        inside = 0 < column < rows.shape[1] - WINDOW.size
        assert contexts.peak[i] == WINDOW.before or not inside


def test_each_part_holds_firings_of_its_strength():
    codes, positions, rows = random_text()
    contexts = choose_contexts(codes, positions, rows, WINDOW, seed=0)
    for latent in range(codes.shape[1]):
        strong, weak = np.array_split(np.sort(codes.toarray()[:, latent][codes.toarray()[:, latent] > 0])[::-1], 2)
        for group, part in ((1, strong), (2, weak)):
            chosen = of_latent(contexts, latent, group)
            assert 0 < len(chosen) <= WINDOW.n_per_part
            assert np.isin(contexts.values[chosen, contexts.peak[chosen]], part).all()


def test_no_window_twice_and_copies_are_counted():
    codes, positions, rows = random_text()
    doubled = np.concatenate([rows, rows])
    both = sparse.vstack([codes, codes], format="csr")
    contexts = choose_contexts(both, np.concatenate([positions, positions + rows.size]), doubled, WINDOW, seed=0)
    assert contexts.copies.min() == 2
    for latent in range(codes.shape[1]):
        of = np.flatnonzero(contexts.latent == latent)
        assert len(np.unique(contexts.tokens[of], axis=0)) == len(of)
        fires = positions[codes.toarray()[:, latent] > 0]
        column = np.clip(fires % rows.shape[1] - WINDOW.before, 0, rows.shape[1] - WINDOW.size)
        texts = [rows[row, c : c + WINDOW.size] for row, c in zip(fires // rows.shape[1], column, strict=True)]
        for i in of:
            assert contexts.copies[i] == 2 * sum((text == contexts.tokens[i]).all() for text in texts)


def test_a_silent_latent_has_none_and_the_same_seed_gives_the_same():
    codes, positions, rows = random_text()
    silent = sparse.hstack([codes, sparse.csr_matrix((codes.shape[0], 1), dtype=np.float32)], format="csr")
    contexts = choose_contexts(silent, positions, rows, WINDOW, seed=3)
    again = choose_contexts(codes, positions, rows, WINDOW, seed=3)
    assert contexts.latent.max() == codes.shape[1] - 1
    assert (contexts.tokens == again.tokens).all()


def test_refusals_in_one_line():
    codes, positions, rows = random_text()
    with pytest.raises(InputError, match=r"codes of 228 tokens do not belong to 5 positions"):
        choose_contexts(codes, positions[:5], rows, WINDOW, 0)
    with pytest.raises(InputError, match="windows of 33 tokens are longer than the rows of 20"):
        choose_contexts(codes, positions, rows, replace(WINDOW, before=30), 0)
    with pytest.raises(InputError, match="n_top=0"):
        replace(WINDOW, n_top=0)
    with pytest.raises(InputError, match="no latent fires"):
        choose_contexts(sparse.csr_matrix(codes.shape), positions, rows, WINDOW, 0)
