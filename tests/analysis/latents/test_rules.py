from itertools import combinations

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.metrics import balanced_accuracy_score

from sae_utils.analysis.directions import random_directions
from sae_utils.analysis.latents import rules
from sae_utils.analysis.latents.rules import Kind, Text
from sae_utils.errors import InputError

N_TOKENS, N_VOCAB = 6000, 12


def text(seed, n=N_TOKENS):
    rng = np.random.default_rng(seed)
    token = rng.integers(0, N_VOCAB, n)
    role = (token + np.roll(token, 1)) % 4  # no token has a role of its own
    return Text({"token": token, "previous": np.roll(token, 1), "role": np.where(role < 3, role, -1)})


def planted_latents(t, seed):
    """Fires on token 3; after tokens 5 or 7, nine times in ten; on role 1; by chance; never."""
    token, previous, role = (t.labels[name] for name in ("token", "previous", "role"))
    rng = np.random.default_rng(seed)
    sometimes = rng.random(len(token)) < 0.9
    columns = [token == 3, np.isin(previous, [5, 7]) & sometimes, role == 1, rng.random(len(token)) < 0.1, token < 0]
    return sparse.csr_matrix(np.stack(columns, axis=1) * rng.uniform(0.1, 3, (len(token), 1)))


KINDS = [Kind("token", N_VOCAB), Kind("previous", N_VOCAB), Kind("role", 3)]


@pytest.fixture(scope="module")
def scores():
    first, second = text(0), text(1)
    return rules.score_rules(KINDS, (planted_latents(first, 2), first), (planted_latents(second, 3), second))


def test_planted_rules_are_found_and_score_what_they_must(scores):
    assert scores.rule(0) == ("token", [3])
    assert scores.rule(1)[0] == "previous" and sorted(scores.rule(1)[1]) == [5, 7]
    assert scores.rule(2) == ("role", [1])
    np.testing.assert_allclose(scores.held_out[[0, 2]], 1)
    # All firings covered; a tenth of the tokens after 5 or 7, 2 of 12, are among the tokens that do not fire.
    silent = 1 - 0.9 * 2 / 12
    assert scores.held_out[1] == pytest.approx(1 - 0.1 * (2 / 12) / silent / 2, abs=0.005)
    assert scores.held_out[3] == pytest.approx(0.5, abs=0.03)
    assert scores.scored.tolist() == [True] * 4 + [False]
    second = text(1)
    fires = planted_latents(second, 3).toarray() > 0
    for latent in range(4):
        label, values = scores.rule(latent)
        says = np.isin(second.labels[label], values)
        assert scores.held_out[latent] == pytest.approx(balanced_accuracy_score(fires[:, latent], says))


def test_the_best_set_is_the_best_of_all_sets():
    """Against all sets of labels."""
    rng = np.random.default_rng(4)
    labels = rng.integers(-1, 6, 500)
    codes = sparse.csr_matrix(rng.random((500, 3)) < rng.uniform(0, 0.6, (7, 3))[labels])
    counts = rules.count(codes, labels, 6)
    found = rules.balanced_accuracy(rules.best_sets(counts), counts)
    fires = codes.toarray()
    for latent in range(3):
        every = [s for size in range(7) for s in combinations(range(6), size)]
        best = max(balanced_accuracy_score(fires[:, latent], np.isin(labels, s)) for s in every)
        assert found[latent] == pytest.approx(best)


def test_what_chooses_a_kind_leaves_each_token_out():
    """Against finding the set anew for each token; with as many labels as tokens, it does not score chance."""
    rng = np.random.default_rng(5)
    for n_labels in (4, 40):
        labels, fires = rng.integers(-1, n_labels, 60), rng.random((60, 3)) < 0.3
        found = rules.left_out_accuracy(rules.count(sparse.csr_matrix(fires), labels, n_labels))
        for latent in range(3):
            says = []
            for i in range(60):
                rest = np.arange(60) != i
                counts = rules.count(sparse.csr_matrix(fires[rest][:, [latent]]), labels[rest], n_labels)
                says.append(labels[i] in rules.best_sets(counts)[0].indices)
            assert found[latent] == pytest.approx(balanced_accuracy_score(fires[:, latent], says))
    never = rules.count(sparse.csr_matrix((60, 1)), labels, n_labels)
    assert np.isnan(rules.left_out_accuracy(never)).all()


def test_shuffled_text_leaves_nothing(scores):
    first, second = text(0), text(1)
    parts = [(planted_latents(t, i + 2), t.shuffled(i)) for i, t in enumerate((first, second))]
    null = rules.score_rules(KINDS, *parts)
    np.testing.assert_allclose(null.held_out[:4], 0.5, atol=0.03)
    assert (null.held_out[:3] < scores.held_out[:3] - 0.4).all()
    moved, kept = (sorted(zip(*t.labels.values(), strict=True)) for t in (first.shuffled(0), first))
    assert moved == kept


def test_latents_that_fire_too_seldom_or_nearly_always_have_no_score():
    t = text(0, 100)
    codes = sparse.csr_matrix(np.arange(100)[:, None] < np.array([[19, 20, 50, 80, 81]]))
    found = rules.score_rules(KINDS, (codes, t), (codes, t))
    assert found.scored.tolist() == [False, True, True, True, False]


def test_without_roles_the_other_kinds_remain():
    """Text that is not Python: every role unknown."""
    t = text(0)
    unknown = Text({**t.labels, "role": np.full(N_TOKENS, -1)})
    found = rules.score_rules(KINDS, (planted_latents(t, 2), unknown), (planted_latents(t, 2), unknown))
    assert [found.rule(i)[0] for i in range(2)] == ["token", "previous"] and found.best.max() == 1


def test_random_directions_fire_as_often_as_asked_where_the_cosine_is_largest():
    generator = torch.Generator().manual_seed(0)
    finding, scoring = torch.randn(2, 4000, 10, generator=generator)
    frequency = np.array([0.001, 0.05, 0.5, 0.0])
    found, scored = rules.random_direction_codes(finding, scoring, frequency, seed=3)
    assert found.getnnz(axis=0).tolist() == [4, 200, 2000, 1]
    np.testing.assert_allclose(scored.getnnz(axis=0) / 4000, frequency, atol=0.03)
    directions = random_directions(4, 10, 3).float()
    for part, codes in ((finding, found), (scoring, scored)):
        for i, along in enumerate((part / part.norm(dim=1, keepdim=True) @ directions.T).T.numpy()):
            fires = codes[:, [i]].toarray()[:, 0]
            assert not fires.any() or along[fires].min() > along[~fires].max()
    loud = finding * torch.linspace(0.1, 50, 4000)[:, None]  # how long an activation is does not matter
    assert (rules.random_direction_codes(loud, scoring, frequency, seed=3)[0] != found).nnz == 0
    again, others = (rules.random_direction_codes(finding, scoring, frequency, seed)[0] for seed in (3, 4))
    assert (found != again).nnz == 0
    assert (found != others).nnz > 0


def test_labels_are_those_of_the_rows():
    rows = np.random.default_rng(0).integers(0, 300, (4, 8)).astype(np.uint16)
    positions = np.array([1, 2, 9, 15, 31])
    roles = np.full(rows.shape, -1, dtype=np.int8)
    roles[1, 1] = 6
    found = Text.of(rows, positions, roles)
    places = [(0, 1), (0, 2), (1, 1), (1, 7), (3, 7)]
    assert found.labels["token"].tolist() == [rows[r, c] for r, c in places]
    assert found.labels["previous token"].tolist() == [rows[r, c - 1] for r, c in places]
    assert found.labels["role"].tolist() == [-1, -1, 6, -1, -1]
    assert found.part(positions > 8).labels["role"].tolist() == [6, -1, -1]
    without = Text.of(rows, positions[:2], roles), Text.of(rows, positions)
    assert all(set(t.labels) == {"token", "previous token"} for t in without)
    with pytest.raises(InputError, match="first position of a row"):
        Text.of(rows, np.array([8]))


def test_wrong_arguments_are_refused():
    with pytest.raises(InputError, match="n_labels=0 must be 1 or more"):
        Kind("token", 0)
    with pytest.raises(InputError, match="codes of 3 tokens do not belong to 4 labels"):
        rules.count(sparse.csr_matrix((3, 2)), np.zeros(4, dtype=int), 1)


def test_rule_similarity_is_the_share_of_values_in_common():
    def scored(*rows):
        """Kinds of 3 and of 4 values; a row names a kind and its values; None has no score."""
        best = np.array([kind for kind, _ in rows])
        parts = [np.zeros((len(rows), width), dtype=bool) for width in (3, 4)]
        for i, (kind, values) in enumerate(rows):
            parts[kind][i, values or []] = True
            parts[1 - kind][i, :2] = True  # the best rule of the other kind does not matter
        value = np.array([np.nan if values is None else 0.9 for _, values in rows])
        return rules.RuleScores((Kind("token", 3), Kind("role", 4)), best, tuple(map(sparse.csr_matrix, parts)), value)

    a = scored((0, [0, 1]), (0, [2]), (1, [0, 1, 2]), (1, [3]), (0, None))
    b = scored((0, [1]), (0, [2]), (1, [2]), (0, None))
    matched, of_any = rules.rule_similarity(a, b, np.array([0, 2, 1, 3, 0]))
    assert matched == pytest.approx((1 / np.sqrt(2) + 0 + 0) / 3)  # the other two: no score on one side
    assert rules.rule_similarity(a, b, np.array([0, 1, 2, 3, -1]))[0] == pytest.approx((2**-0.5 + 1 + 3**-0.5) / 3)
    assert of_any == pytest.approx((2**-0.5 + 1 + 3**-0.5) / 12)
    assert np.isnan(rules.rule_similarity(a, b, np.full(5, -1))).all()
