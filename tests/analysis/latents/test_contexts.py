"""Contexts against a plain search through the text, written out here."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from scipy import sparse

from sae_utils.analysis.latents.contexts import Window, choose_contexts
from sae_utils.errors import InputError

WINDOW = Window(before=3, after=2, n_top=4, n_parts=2, n_per_part=2)


N_LATENTS, RNG = 5, np.random.default_rng(0)
ROWS = RNG.integers(0, 50, (12, 20))
DENSE = RNG.random((ROWS.size, N_LATENTS)) * (RNG.random((ROWS.size, N_LATENTS)) < 0.2)
DENSE[:: ROWS.shape[1]] = 0  # the first position of a row is left out
POSITIONS = np.flatnonzero(np.arange(ROWS.size) % ROWS.shape[1])
DENSE = DENSE.astype(np.float32)
CODES = sparse.csr_matrix(DENSE[POSITIONS])
CONTEXTS = choose_contexts(CODES, POSITIONS, ROWS, WINDOW, seed=0)
PEAKS = CONTEXTS.values[np.arange(len(CONTEXTS.peak)), CONTEXTS.peak]


def of_latent(latent, group):
    return (CONTEXTS.latent == latent) & (CONTEXTS.group == group)


def test_the_strongest_firings_come_first_one_from_a_row():
    for latent in range(N_LATENTS):
        by_row = np.sort(DENSE[:, latent].reshape(ROWS.shape).max(1))[::-1][: WINDOW.n_top]
        assert PEAKS[of_latent(latent, 0)] == pytest.approx(by_row)


def test_a_window_is_the_text_around_its_firing_and_stays_in_its_row():
    assert (PEAKS > 0).all()
    windows = sliding_window_view(ROWS, WINDOW.size, axis=1)
    for i, tokens in enumerate(CONTEXTS.tokens):
        ((row, column),) = np.argwhere((windows == tokens).all(-1))
        at = row * ROWS.shape[1] + column
        assert (CONTEXTS.values[i] == DENSE[at : at + WINDOW.size, CONTEXTS.latent[i]]).all()
        inside = 0 < column < ROWS.shape[1] - WINDOW.size
        assert CONTEXTS.peak[i] == WINDOW.before or not inside


def test_each_part_holds_firings_of_its_strength():
    for latent in range(N_LATENTS):
        strong, weak = np.array_split(np.sort(DENSE[:, latent][DENSE[:, latent] > 0])[::-1], 2)
        for group, part in ((1, strong), (2, weak)):
            chosen = of_latent(latent, group)
            assert 0 < chosen.sum() <= WINDOW.n_per_part
            assert np.isin(PEAKS[chosen], part).all()


def test_no_window_twice_and_copies_are_counted():
    """In a text that is there twice."""
    both = sparse.vstack([CODES, CODES], format="csr")
    positions = np.concatenate([POSITIONS, POSITIONS + ROWS.size])
    contexts = choose_contexts(both, positions, np.concatenate([ROWS, ROWS]), WINDOW, seed=0)
    assert contexts.copies.min() == 2
    windows = sliding_window_view(ROWS, WINDOW.size, axis=1)
    for latent in range(N_LATENTS):
        of = np.flatnonzero(contexts.latent == latent)
        assert len(np.unique(contexts.tokens[of], axis=0)) == len(of)
        row, column = np.divmod(np.flatnonzero(DENSE[:, latent]), ROWS.shape[1])
        around = windows[row, np.clip(column - WINDOW.before, 0, windows.shape[1] - 1)]
        for i in of:
            assert contexts.copies[i] == 2 * (around == contexts.tokens[i]).all(1).sum()


def test_a_silent_latent_has_none_and_the_same_seed_gives_the_same():
    silent = sparse.hstack([CODES, sparse.csr_matrix((CODES.shape[0], 1), dtype=np.float32)], format="csr")
    contexts = choose_contexts(silent, POSITIONS, ROWS, WINDOW, seed=0)
    assert contexts.latent.max() == N_LATENTS - 1
    assert (contexts.tokens == CONTEXTS.tokens).all()


@pytest.mark.parametrize(
    "codes, n_positions, change, message",
    [
        (CODES, 5, {}, "codes of 228 tokens do not belong to 5 positions"),
        (CODES, None, {"n_top": 0}, "n_top=0 must be 1 or more"),
        (CODES, None, {"after": -1}, "after=-1 must be 0 or more"),
        (CODES, None, {"before": 30}, "windows of 33 tokens are longer than the rows of 20"),
        (sparse.csr_matrix(CODES.shape), None, {}, "no latent fires"),
    ],
)
def test_refusals_in_one_line(codes, n_positions, change, message):
    with pytest.raises(InputError, match=message):
        choose_contexts(codes, POSITIONS[:n_positions], ROWS, replace(WINDOW, **change), 0)
