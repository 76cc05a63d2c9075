"""Edits of latents, on a tiny language model, against the same done without batching, cropping or sorting."""

import numpy as np
import pytest
import torch
from helpers.tiny_language_model import make_tiny
from torch.nn.functional import normalize

from sae_utils.analysis.meta import edits as meta_edits
from sae_utils.analysis.meta.edits import CodedRows, Places
from sae_utils.data.activations import Normalisation
from sae_utils.data.models.language_model import load_language_model
from sae_utils.errors import InputError
from sae_utils.saes import SAE, SAEConfig

HOOK = "blocks.1.hook_mlp_out"


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    return load_language_model(make_tiny(tmp_path_factory.mktemp("model") / "tiny"))


@pytest.fixture(scope="module")
def rows(lm):
    return np.random.default_rng(0).integers(0, lm.n_vocab, (40, 32))


@pytest.fixture(scope="module")
def sae(lm, rows):
    x = lm.activations(torch.from_numpy(rows), [HOOK])[HOOK].flatten(0, 1)
    return SAE.create(SAEConfig(16, 24, "topk", k=3), [5], HOOK, Normalisation.of(x))


@pytest.fixture(scope="module")
def codes():
    """Six meta-latents; the largest of latent i is i mod 6, and every other has none beside it."""
    codes = torch.zeros(24, 6)
    codes[torch.arange(24), torch.arange(24) % 6] = 0.6
    codes[::2, :] += 0.1 * torch.eye(6).roll(1, 1)[torch.arange(0, 24, 2) % 6]
    return codes


@pytest.fixture(scope="module")
def found(lm, sae, rows):
    return meta_edits.code_rows(lm, sae, rows)


def dense(codes, r):
    return torch.zeros(32, 24).scatter_add(1, codes.latents[r], codes.strengths[r])


def test_codes_are_those_of_each_position_but_the_first_and_ends_of_texts(lm, sae, rows, found):
    relu = SAE(SAEConfig(16, 24, "relu", sparsity=0.0), [0], HOOK, sae.normalisation)  # its k differs by batch
    relu.load_state_dict({**sae.state_dict(), "b_enc": torch.full((1, 24), -1.5)})
    x = lm.activations(torch.from_numpy(rows), [HOOK])[HOOK]
    k = [relu.encode(part.flatten(0, 1)).values.shape[-1] for part in x.split(meta_edits.ROWS_AT_ONCE)]
    of_relu = meta_edits.code_rows(lm, relu, rows)
    assert len(set(k)) > 1 and of_relu.latents.shape == (40, 32, max(k))
    for one, codes in ((sae, found), (relu, of_relu)):
        for r in (0, 17, 39):
            keep = torch.from_numpy(rows[r] != lm.tokenizer.eos_token_id)
            keep[0] = False
            expected = one.encode(x[r]).dense(24)[:, 0] * keep[:, None]
            torch.testing.assert_close(dense(codes, r), expected, rtol=1e-4, atol=1e-5)
    fires = torch.stack([(dense(found, r) > 0).any(0) for r in range(40)])
    assert meta_edits.rows_fired_in(found, 24).tolist() == fires.sum(0).tolist()


def test_strongest_places():
    strengths = torch.tensor([[[0.0, 1], [3, 2]], [[0, 0], [0, 0]], [[5, 1], [4, 6]], [[2, 0], [0, 0]]])
    latents = torch.tensor([[[7, 8], [7, 8]], [[7, 8], [7, 8]], [[8, 7], [8, 7]], [[8, 7], [8, 7]]])
    coded = CodedRows(np.arange(8).reshape(4, 2), latents, strengths)
    places = meta_edits.strongest(coded, 7, n=3)
    assert places.strengths.tolist() == [6, 3]  # rows 2 and 0; it fires in no other
    assert places.positions.tolist() == [1, 1]
    assert places.tokens.tolist() == [[4, 5], [0, 1]]
    assert len(meta_edits.strongest(coded, 8, n=2).strengths) == 2


def test_log_probabilities_are_the_model_s_with_one_position_shifted(lm, rows, monkeypatch):
    monkeypatch.setattr(meta_edits, "ROWS_AT_ONCE", 3)
    generator = torch.Generator().manual_seed(0)
    positions = torch.tensor([31, 4, 20, 4, 9])
    places = Places(torch.from_numpy(rows[:5]), positions, torch.ones(5))
    shift = torch.randn(5, 16, generator=generator)
    plain = meta_edits.log_probabilities(lm, HOOK, places)
    shifted = meta_edits.log_probabilities(lm, HOOK, places, shift)
    for i in range(5):
        tokens = torch.from_numpy(rows[i : i + 1])

        def add(x, i=i):
            x = x.clone()
            x[0, positions[i]] += shift[i]
            return x

        for mine, change in ((plain[i], None), (shifted[i], {HOOK: add})):
            expected = lm.logits(tokens, change)[0, positions[i]].log_softmax(-1)
            torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-4)
    assert (plain - shifted).abs().max() > 0.01


def test_chosen_latents_have_what_they_must(codes):
    n_rows = torch.full((24,), 9)
    n_rows[[1, 7]] = 2
    chosen = meta_edits.choose(codes, n_rows, n=50, n_places=5, seed=0)
    assert len({latent for latent, *_ in chosen}) == len(chosen) > 10
    for latent, meta, other, substitute in chosen:
        assert latent not in (1, 7) and substitute not in (1, 7)
        assert meta == codes[latent].argmax() != other == codes[substitute].argmax()
        assert codes[latent, other] == 0
        assert 1 not in (meta, other)  # the largest of two latents only, once 1 and 7 are out
    assert meta_edits.choose(codes, n_rows, 3, 5, seed=0) == chosen[:3]
    assert meta_edits.choose(codes, n_rows, 50, 10, seed=0) == []


def test_edits_measure_what_they_say(lm, sae, codes, found):
    meta_rows = normalize(torch.randn(6, 16, generator=torch.Generator().manual_seed(1)), dim=-1)
    results = meta_edits.edit_latents(lm, sae, meta_rows, codes, found, n_edited=2, n_places=4, seed=3)
    n_rows = meta_edits.rows_fired_in(found, 24)
    chosen = meta_edits.choose(codes, n_rows, 2, 4, seed=3)
    for result, (latent, meta, other, substitute) in zip(results, chosen, strict=True):
        assert set(result["kl"]) == set(result["own"]) == set(result["other"])
        assert all(value > 0 for value in result["kl"].values())
        places = meta_edits.strongest(found, latent, 4)
        clean = meta_edits.log_probabilities(lm, HOOK, places)
        fit = torch.where((n_rows >= 4)[:, None], codes, 0.0)
        fit[[latent, substitute]] = 0
        tokens = {}
        for what, m in (("own", meta), ("other", other)):
            family = fit[:, m].topk(4)
            tokens[what] = meta_edits.promoted(lm, sae, found, family.indices[family.values > 0].tolist(), 4)
        exchange = 0.6 * (meta_rows[other] - meta_rows[meta])
        swap = sae.W_dec[0, substitute].detach() - sae.W_dec[0, latent].detach()
        changes = {
            "remove": -0.6 * meta_rows[meta],
            "add other": 0.6 * meta_rows[other],
            "exchange": exchange,
            "swap": swap,
            "swap, same size": exchange.norm() * normalize(swap, dim=0),
        }
        for edit, change in changes.items():
            shift = places.strengths[:, None] * change / sae.scale
            edited = meta_edits.log_probabilities(lm, HOOK, places, shift)
            kl = (clean.exp() * (clean - edited)).sum(-1).mean()
            assert result["kl"][edit] == pytest.approx(float(kl), rel=1e-3)
            for what, ids in tokens.items():
                change_of_log = edited.exp()[:, ids].sum(1).log() - clean.exp()[:, ids].sum(1).log()
                assert result[what][edit] == pytest.approx(float(change_of_log.mean()), rel=1e-2, abs=1e-4)


def test_what_a_family_promotes_falls_without_it(lm, sae, found):
    family = meta_edits.rows_fired_in(found, 24).topk(2).indices.tolist()
    ids = meta_edits.promoted(lm, sae, found, family, 4)
    drops = torch.zeros(lm.n_vocab)
    for latent in family:
        places = meta_edits.strongest(found, latent, 4)
        shift = -places.strengths[:, None] * sae.W_dec[0, latent].detach() / sae.scale
        clean = meta_edits.log_probabilities(lm, HOOK, places).exp()
        drops += (clean - meta_edits.log_probabilities(lm, HOOK, places, shift).exp()).mean(0) / 2
    assert len(ids) == meta_edits.N_TOKENS and drops[ids].min() > 0
    assert drops[ids].min() >= drops[[i for i in range(lm.n_vocab) if i not in set(ids.tolist())]].max() - 1e-7


def test_summary_of_edits():
    row, generator = torch.ones(3), torch.Generator()
    at = {edit: i for i, edit in enumerate(meta_edits.changes_of(row, -row, row, row, row[0], generator))}

    def edited(**values):
        return {what: {edit: value + i for edit, i in at.items()} for what, value in values.items()}

    found = meta_edits.summarise_edits([edited(kl=1.0, own=10.0, other=100.0), edited(kl=3.0, own=30.0, other=300.0)])
    assert found["kl remove"] == 2 and found["own remove other"] == 21 and found["other swap"] == 200 + at["swap"]
    assert found["removal_specificity"] == at["remove alike"] - at["remove"]  # of own tokens
    assert found["addition_specificity"] == at["add other"] - at["add again"]  # of the other's tokens
    assert found["exchange_cost"] == (2 + at["exchange"]) / (2 + at["swap, same size"])
    assert found["kl_above_direction"] == at["remove"] - at["random direction"]


def test_no_latent_to_edit_is_refused(lm, sae, codes, found):
    with pytest.raises(InputError, match="no latent fires in 99 rows"):
        meta_edits.edit_latents(lm, sae, torch.eye(6, 16), codes, found, 2, n_places=99)


def test_replaced_rows_and_their_null(sae):
    kept = torch.arange(24) % 2 == 0
    rows = sae.W_dec[0, kept].detach()
    approximation = rows + 0.3 * torch.randn(rows.shape, generator=torch.Generator().manual_seed(0))
    null = meta_edits.as_alike(rows, approximation, torch.Generator().manual_seed(1))
    torch.testing.assert_close(null.norm(dim=1), approximation.norm(dim=1))
    torch.testing.assert_close((null * rows).sum(1), (approximation * rows).sum(1))
    torch.testing.assert_close((null - rows).norm(dim=1), (approximation - rows).norm(dim=1))
    off = [x - (x * rows).sum(1, keepdim=True) * rows for x in (null, approximation)]
    assert torch.cosine_similarity(*off).abs().mean() < 0.5
    out = meta_edits.with_rows(sae, kept, approximation)
    assert torch.equal(out.W_dec[0, kept], approximation) and torch.equal(out.W_dec[0, ~kept], sae.W_dec[0, ~kept])
    assert torch.equal(out.encoder, sae.encoder) and not torch.equal(sae.W_dec[0, kept], approximation)
