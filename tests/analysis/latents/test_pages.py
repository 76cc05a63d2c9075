"""The numbers of the pages against their definitions, written out here."""

import numpy as np
import pytest
import torch
from helpers.tiny_language_model import make_family
from scipy import sparse

from sae_utils.analysis.latents import pages as latent_pages
from sae_utils.analysis.latents import rules
from sae_utils.data.models.language_model import load_language_model
from sae_utils.saes import SAE, SAEConfig


def random_codes(n_tokens=400, n=6, seed=0):
    rng = np.random.default_rng(seed)
    dense = (rng.random((n_tokens, n)) * (rng.random((n_tokens, n)) < 0.3)).astype(np.float32)
    dense[:, -1] = 0  # a dead latent
    return dense, rng.integers(0, 9, n_tokens)


def test_firing_statistics():
    dense, tokens = random_codes()
    found = latent_pages.firing_statistics(sparse.csr_matrix(dense), tokens, n_vocab=12, n_bins=5, n_top=3)
    for latent in range(5):
        values = dense[:, latent][dense[:, latent] > 0]
        assert found.frequency[latent] == pytest.approx(len(values) / 400)
        assert found.mean[latent] == pytest.approx(values.mean())
        assert found.maximum[latent] == values.max()
        assert (found.histogram[latent] == np.histogram(values, 5, (0, values.max()))[0]).all()
        sums = np.array([dense[tokens == token, latent].sum() for token in range(12)])
        assert (found.token[latent] == np.argsort(-sums)[:3]).all()
        assert found.token_share[latent] == pytest.approx(np.sort(sums)[::-1][:3] / sums.sum())
    assert (found.frequency[5], found.mean[5], found.maximum[5], found.histogram[5].sum()) == (0, 0, 0, 0)
    assert (found.token[5] == -1).all()


def test_direct_logits_are_the_gained_centred_row_through_the_unembedding(tmp_path):
    model = load_language_model(make_family(tmp_path / "tiny", "gpt_neox"))
    weights = dict(model.bridge.original_model.named_parameters())
    (gain,) = [w for name, w in weights.items() if "final_layer_norm" in name and name.endswith("weight")]
    (unembedding,) = [w for name, w in weights.items() if "lm_head" in name and name.endswith("weight")]
    v = torch.randn(4, model.d_model, generator=torch.Generator().manual_seed(0))
    centred = v - v.mean(1, keepdim=True)
    expected = (centred / centred.std(1, correction=0, keepdim=True) * gain) @ unembedding.T
    assert torch.allclose(latent_pages.direct_logits(model)(v), expected, atol=1e-3)


def test_promoted_tokens(monkeypatch):
    monkeypatch.setattr(latent_pages, "BLOCK", 3)
    rows = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    unembedding = torch.randn(5, 30, generator=torch.Generator().manual_seed(1))
    found = latent_pages.promoted_tokens(rows, lambda v: v @ unembedding + 4.0, 4)
    logits = (rows @ unembedding).numpy()
    logits -= logits.mean(1, keepdims=True)
    assert (found.raised == np.argsort(-logits)[:, :4]).all()
    assert (found.lowered == np.argsort(logits)[:, :4]).all()
    assert found.raised_logit == pytest.approx(-np.sort(-logits)[:, :4], abs=1e-5)
    assert found.lowered_logit == pytest.approx(np.sort(logits)[:, :4], abs=1e-5)


def test_neighbours(monkeypatch):
    monkeypatch.setattr(latent_pages, "BLOCK", 4)
    rows = torch.randn(10, 6, generator=torch.Generator().manual_seed(0))
    alive = np.arange(10) != 3
    found = latent_pages.neighbours(rows, alive, 2)
    unit = rows.numpy() / np.linalg.norm(rows.numpy(), axis=1, keepdims=True)
    for latent in range(10):
        others = [i for i in range(10) if i not in (latent, 3)]
        best = sorted(others, key=lambda i: -(unit[latent] @ unit[i]))[:2]
        assert found.latent[latent].tolist() == best
        assert found.cosine[latent] == pytest.approx([unit[latent] @ unit[i] for i in best], abs=1e-6)
    few = latent_pages.neighbours(rows, np.arange(10) < 2, 5)
    assert few.latent[0].tolist() == [1, -1, -1, -1, -1]


def test_partners_of_a_permuted_dictionary():
    """The second dictionary is the first in another order; the third is another one altogether."""
    rows = torch.randn(3, 8, 40, generator=torch.Generator().manual_seed(0))
    order = torch.tensor([3, 1, 2, 0, 7, 6, 5, 4])
    rows[1] = rows[0][order]
    alive = torch.ones(3, 8, dtype=torch.bool)
    alive[0, 5] = False
    found = latent_pages.partners(rows, rows, alive)
    for latent in (0, 1, 2, 3, 4, 6, 7):
        assert order[found.decoder_latent[latent]] == order[found.encoder_latent[latent]] == latent
        assert found.decoder_cosine[latent] == pytest.approx(1) == found.encoder_cosine[latent]
        assert found.strict[latent]
        assert found.shared_with[latent] == 1
    assert found.decoder_latent[5] == -1
    assert np.isnan(found.decoder_cosine[5])
    assert found.shared_with[5] == 0


def test_composition_is_sorted_by_weight_and_dead_latents_have_none():
    weights = torch.tensor([[0, 0.2, 0.9], [0, 0, 0], [0.1, 0, 0]])
    found = latent_pages.composition(weights, np.array([True, False, True, True]))
    assert found.latent.tolist() == [[2, 1], [-1, -1], [-1, -1], [0, -1]]
    assert found.weight == pytest.approx(np.array([[0.9, 0.2], [0, 0], [0, 0], [0.1, 0]]))


def test_novelty_is_the_change_of_the_squared_error():
    """A latent that points along what the smaller dictionary misses lowers its error; one that it has raises it."""
    small, large = (SAE.create(SAEConfig(3, n, "topk", 1), [0]) for n in (1, 2))
    with torch.no_grad():
        small.W_dec[0], small.encoder[0] = (torch.tensor([[1.0, 0, 0]]) for _ in range(2))
        large.W_dec[0], large.encoder[0] = (torch.tensor([[1.0, 0, 0], [0, 1, 0]]) for _ in range(2))
    x = torch.tensor([[2.0, 0, 0], [0, 3, 0]])
    found = latent_pages.novelty(small, large, [x])
    assert found.novel.tolist() == [False, True]
    # The small one has x[0] already, so that adding 2 again errs by 4; of x[1] it has nothing, and misses 9.
    assert found.mse_change == pytest.approx([4 / 9, -9 / 9])
    assert found.nearest.tolist() == [0, 0]
    assert found.cosine == pytest.approx([1, 0])


def test_latents_that_fire_together(monkeypatch):
    monkeypatch.setattr(latent_pages, "BLOCK", 2)
    dense, _ = random_codes()
    dense[:, 3] = np.where(np.arange(400) % 9, dense[:, 1], 0)  # mostly where latent 1 fires
    found = latent_pages.together(sparse.csr_matrix(dense), 3)
    fires = dense > 0
    with np.errstate(invalid="ignore"):
        phi = np.nan_to_num(np.corrcoef(fires.T.astype(float)))
    np.fill_diagonal(phi, 0)
    for latent in range(6):
        best = [j for j in np.argsort(-phi[latent], kind="stable")[:3] if phi[latent, j] > 1e-12]
        n = len(best)
        assert found.latent[latent].tolist() == best + [-1] * (3 - n)
        assert found.correlation[latent, :n] == pytest.approx(phi[latent, best])
        share = [(fires[:, latent] & fires[:, j]).sum() / fires[:, latent].sum() for j in best]
        assert found.share[latent, :n] == pytest.approx(share)
        assert (found.correlation[latent, n:] == 0).all() and (found.share[latent, n:] == 0).all()
    assert found.latent[1, 0] == 3 and (found.latent[5] == -1).all()


def test_partners_fire_on_the_same_tokens():
    here, there = random_codes(seed=0)[0], random_codes(seed=1)[0]
    decoder, encoder = np.array([4, 2, -1, 0, 1, 5]), np.array([0, 1, 2, 3, 4, -1])
    none = np.full(6, np.nan)
    partners = latent_pages.Partners(decoder, none, encoder, none, none, none)
    found = latent_pages.firing_overlap(sparse.csr_matrix(here), sparse.csr_matrix(there), partners)
    for side, partner in (("decoder", decoder), ("encoder", encoder)):
        for latent, share in enumerate(getattr(found, side)):
            a, b = here[:, latent] > 0, there[:, partner[latent]] > 0
            known = partner[latent] >= 0 and (a | b).any()
            assert share == pytest.approx((a & b).sum() / (a | b).sum()) if known else np.isnan(share)


def test_explanations_are_the_best_rules():
    rng = np.random.default_rng(0)
    kinds = [rules.Kind("token", 9), rules.Kind("role", 3)]
    text = rules.Text({"token": rng.integers(0, 9, 400), "role": rng.integers(0, 3, 400)})
    fires = [text.labels["token"] < 4, text.labels["role"] == 2, np.zeros(400, dtype=bool)]
    codes = sparse.csr_matrix(np.stack(fires, axis=1).astype(np.float32))
    scores = rules.score_rules(kinds, (codes[:200], text.part(slice(200))), (codes[200:], text.part(slice(200, 400))))
    found = latent_pages.explanations(scores, 3)
    assert found.kind.tolist() == [0, 1, -1]
    assert found.size.tolist() == [4, 1, 0]
    assert set(found.token[0]) <= {0, 1, 2, 3} and len(set(found.token[0])) == 3
    assert found.role.tolist() == [[-1] * 3, [2, -1, -1], [-1] * 3] and (found.token[1:] == -1).all()
    assert found.score == pytest.approx([1, 1, np.nan], nan_ok=True)
