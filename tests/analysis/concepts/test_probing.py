from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.random_saes import how_sparse
from helpers.tiny_language_model import TableModel
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from sae_utils.analysis.concepts.probing import (
    accuracy,
    auc,
    bags,
    mean_difference,
    pool,
    probe,
    probe_dictionaries,
    probe_random_latents,
    probe_subsets,
    right,
    scores_of,
    sparse_probes,
)
from sae_utils.data.labelled import Task
from sae_utils.errors import InputError
from sae_utils.saes import SAE, SAEConfig, SparseCode

HOOK = "blocks.0.hook_mlp_out"


def rows_of_tokens(n=7, context=12, seed=0):
    """Token ids of which some rows end early: filled up with 0, the table model's end of text."""
    tokens = np.random.default_rng(seed).integers(1, 300, (n, context)).astype(np.int32)
    tokens[1, 5:] = tokens[3, 2:] = 0
    return tokens


def planted_task(n=400, n_features=40, seed=0):
    """Pooled codes [n, 2, features] in which latent 7 of member 0 and latent 3 of member 1 fire for the concept."""
    rng = np.random.default_rng(seed)
    labels = rng.random(n) < 0.5
    codes = rng.random((n, 2, n_features)) * (rng.random((n, 2, n_features)) < 0.3)
    codes[:, 0, 7] = labels + 0.1 * rng.random(n)
    codes[:, 1, 3] = ~labels + 0.1 * rng.random(n)
    codes[:, :, 20:30] = 0  # dead
    half = n // 2
    return codes.astype(np.float32), Task("planted", np.arange(half), labels[:half], np.arange(half, n), labels[half:])


CODES, TASK = planted_task()


@pytest.mark.parametrize("architecture", ["topk", "relu"])
def test_pooled_codes_are_means_over_kept_positions(architecture):
    sae = SAE.create(SAEConfig(16, 24, architecture, **how_sparse(architecture, 3)), [0, 1], HOOK)
    tokens, model = rows_of_tokens(), TableModel()
    found = pool(model, tokens, HOOK, {"sae": sae})
    x = model.activations(torch.from_numpy(tokens.astype(np.int64)), [HOOK])[HOOK]
    for i, row in enumerate(tokens):
        kept = [p for p in range(1, len(row)) if row[p] != 0]
        dense = sae.encode(x[i, kept]).dense(24)
        assert found.activations[i] == pytest.approx(x[i, kept].mean(0).numpy(), abs=1e-6)
        assert found.codes["sae"][i] == pytest.approx(dense.mean(0).numpy(), abs=1e-6)


def test_anything_that_encodes_can_be_pooled_and_parts_do_not_matter(monkeypatch):
    """A dictionary with the codes of two others side by side, as an ensemble has."""
    sae = SAE.create(SAEConfig(16, 24, "topk", 3), [0, 1], HOOK)

    def encode(x):
        code = sae.encode(x)
        shifted = code.indices + torch.tensor([0, 24])[:, None]
        return SparseCode(code.values.flatten(1)[:, None] / 2, shifted.flatten(1)[:, None])

    both = SimpleNamespace(encode=encode, config=SimpleNamespace(n_latents=48, d_in=16))
    tokens = rows_of_tokens(40)
    whole = pool(TableModel(), tokens, HOOK, {"both": both, "sae": sae}).codes
    assert whole["both"] == pytest.approx(bags(whole["sae"], 2), abs=1e-6)
    monkeypatch.setattr("sae_utils.analysis.concepts.probing.TOKENS", 17)
    parts = pool(TableModel(), tokens, HOOK, {"both": both}).codes
    assert parts["both"] == pytest.approx(whole["both"], abs=1e-5)


def test_a_window_without_anything_to_pool_is_refused():
    tokens = rows_of_tokens()
    tokens[2, 1:] = 0
    with pytest.raises(InputError, match="1 windows have no token"):
        pool(TableModel(), tokens, HOOK, {})


def test_bags_lie_side_by_side_and_leave_the_rest_out():
    codes = np.arange(2 * 5 * 3, dtype=float).reshape(2, 5, 3)
    found = bags(codes, 2)
    assert found.shape == (2, 2, 6)
    assert (found[1, 1] == np.concatenate([codes[1, 2], codes[1, 3]]) / 2).all()
    with pytest.raises(InputError, match="a bag of 6 cannot be made of 5"):
        bags(codes, 6)


def test_a_planted_latent_is_found_at_k_1_in_each_member():
    found = probe_dictionaries(CODES, TASK, [1, 2, 5])
    assert found.shape == (2, 3, 200)
    assert accuracy(found, TASK).min() == auc(found, TASK).min() == 1.0
    assert (found[0, 0] == probe(CODES[:, 0], TASK, np.array([7]))).all()
    without = CODES.copy()
    without[:, 0, 7] = without[:, 1, 3] = 0
    assert accuracy(probe_dictionaries(without, TASK, [1]), TASK).mean() < 0.62  # chance 0.5, standard error 0.035


def test_the_probe_is_scikit_learn_s_on_standardised_features_and_the_selection_sees_no_test_window():
    x = CODES[:, 0].copy()
    x[:, 7] = 0
    x[:, 11] += 0.6 * np.isin(
        np.arange(400), np.concatenate([TASK.train[TASK.train_labels], TASK.test[TASK.test_labels]])
    )
    chosen = np.argsort(-np.abs(mean_difference(x[TASK.train], TASK.train_labels)))[:2]
    mean, spread = x[TASK.train][:, chosen].mean(0), x[TASK.train][:, chosen].std(0)
    fitted = LogisticRegression(max_iter=1000).fit((x[TASK.train][:, chosen] - mean) / spread, TASK.train_labels)
    expected = fitted.decision_function((x[TASK.test][:, chosen] - mean) / spread)
    found = sparse_probes(x, TASK, [2])[0, 0]
    assert found == pytest.approx(expected, abs=1e-3)
    assert 0.6 < accuracy(found, TASK) < 1
    x[TASK.test, 33] = 100 * TASK.test_labels  # would be the best by far, had it been looked at
    assert (sparse_probes(x, TASK, [2])[0, 0] == found).all()


def test_scores_are_those_of_scikit_learn_with_ties_too():
    log_odds = np.random.default_rng(2).normal(size=(2, 3, 200)).round(1) + TASK.test_labels
    for s in range(2):
        for i in range(3):
            assert auc(log_odds, TASK)[s, i] == pytest.approx(roc_auc_score(TASK.test_labels, log_odds[s, i]))
            assert accuracy(log_odds, TASK)[s, i] == ((log_odds[s, i] > 0) == TASK.test_labels).mean()
    assert (right(log_odds, TASK).mean(-1) == accuracy(log_odds, TASK)).all()
    other = replace(TASK, test=TASK.test[:50], test_labels=TASK.test_labels[:50])
    found = scores_of([log_odds, log_odds[..., :50]], [TASK, other], "AUC")
    assert found.shape == (2, 3, 2) and (found[..., 1] == auc(log_odds[..., :50], other)).all()


def test_random_latents_are_a_floor_of_latents_that_fire():
    found = probe_random_latents(CODES, TASK, [1, 5], n_draws=10)
    assert found.shape == (2, 10, 2, 200)
    assert 0.45 < accuracy(found, TASK)[:, :, 0].mean() < 0.62
    few = CODES.copy()
    few[:, :, 8:] = few[:, :, :7] = 0  # then the planted latent of member 0 is the only one that fires
    assert accuracy(probe_random_latents(few[:, :1], TASK, [1, 5]), TASK).mean() == 1.0
    assert (found == probe_random_latents(CODES, TASK, [1, 5], n_draws=10)).all()


def test_the_ceiling_sees_what_is_in_a_sum_of_features():
    hidden = CODES[:, 0].copy()
    hidden[:, 8] = 3 * np.random.default_rng(1).normal(size=len(hidden))
    hidden[:, 7] -= hidden[:, 8]  # the concept is in a sum of two features, and not in either
    assert accuracy(sparse_probes(hidden, TASK, [1]), TASK).mean() < 0.7
    assert accuracy(probe(hidden, TASK), TASK) > 0.9


def test_subsets_give_as_many_chances_as_their_size():
    whole = probe_subsets(CODES, TASK, [1], size=40, n_draws=2)
    assert accuracy(whole, TASK).tolist() == [[[1.0]] * 2] * 2
    half = accuracy(probe_subsets(CODES, TASK, [1], size=20, n_draws=40), TASK).mean()
    assert 0.6 < half < 0.9  # the planted latent is in half of the draws: 0.75, standard error 0.03
