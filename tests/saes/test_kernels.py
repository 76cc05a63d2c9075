"""The sparse kernels against dense arithmetic: the same choices, values and gradients."""

from types import SimpleNamespace

import pytest
import torch

from sae_utils.saes import kernels


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def weights(S=2, n_latents=6, d_in=4):
    return random(S, n_latents, d_in, seed=1), random(S, n_latents, seed=2), random(S, d_in, seed=3)


def a_pattern(batch=5, S=2, n_latents=6, k=2):
    latents = random(batch, S, n_latents, seed=4).topk(k).indices
    return kernels.keep_top_k(random(batch, S, k), latents, n_latents)[1], latents


@pytest.mark.parametrize(
    ("n", "k"), [(7, 3), (64, 2), (512, 16), (512, 17), (1024, 32), (1000, 4), (4096, 32), (8, 8), (1, 1)]
)
def test_top_k_is_torchs(n, k):
    """Above and below the size where two stages begin (n = 32 k), and for widths not divisible by 8."""
    values = random(9, 2, n)
    found, indices = kernels.top_k(values, k)
    expected = values.topk(k)
    assert torch.equal(found.sort(-1).values, expected.values.sort(-1).values)
    assert torch.equal(indices.sort(-1).values, expected.indices.sort(-1).values)
    assert torch.equal(values.gather(-1, indices), found)


def test_top_k_in_two_stages_with_ties_names_each_latent_once():
    values = random(20, 512).round()
    found, indices = kernels.top_k(values, 16)
    assert torch.equal(found.sort(-1, descending=True).values, values.topk(16).values)
    assert all(len(set(row)) == 16 for row in indices.tolist())


def test_top_k_in_two_stages_finds_all_in_one_group():
    """The eight members of a group lie n / 8 apart: the worst case for a search among groups' maxima."""
    values = random(1, 512)
    values[0, 5::64] += 100
    assert sorted(kernels.top_k(values, 8)[1][0].tolist()) == list(range(5, 512, 64))


@pytest.mark.parametrize("batch", [1, kernels.CPU_CHUNK, 2 * kernels.CPU_CHUNK + 3])
@pytest.mark.parametrize("at_once", [1, 1100, 4096], ids=["one", "two", "all"])
def test_encode_top_k_in_chunks_is_the_dense_choice(monkeypatch, batch, at_once):
    monkeypatch.setattr(kernels, "CPU_LATENTS", at_once)
    encoder, b_enc, b_dec = weights(3, 512, 5)
    x = random(batch, 5)
    values, latents = kernels.encode_top_k(x, encoder, b_enc, b_dec, 4)
    dense = torch.einsum("bsd,snd->bsn", x[:, None] - b_dec, encoder) + b_enc
    torch.testing.assert_close(kernels.pre_activations(x, encoder, b_enc, b_dec), dense, rtol=1e-10, atol=1e-10)
    assert torch.equal(latents.sort(-1).values, dense.topk(4).indices.sort(-1).values)
    torch.testing.assert_close(values, dense.gather(-1, latents), rtol=1e-10, atol=1e-10)


def test_a_search_in_bfloat16_offers_enough_to_choose_as_float32_does(monkeypatch):
    x, encoder, b_enc, b_dec = (t.float() for t in (random(300, 40), *weights(2, 512, 40)))
    exact = kernels.encode_top_k(x, encoder, b_enc, b_dec, 12)
    values, latents = kernels.encode_top_k(x, encoder, b_enc, b_dec, 12, search=torch.bfloat16)
    assert torch.equal(latents.sort().values, exact[1].sort().values)
    assert torch.allclose(values.sort().values, exact[0].sort().values, atol=1e-5)
    monkeypatch.setattr(kernels, "candidates", lambda k, n_latents: k)  # no margin: rounding decides
    _, rounded = kernels.encode_top_k(x, encoder, b_enc, b_dec, 12, search=torch.bfloat16)
    assert 0.05 < (rounded.sort().values != exact[1].sort().values).any(-1).float().mean() < 0.6


def test_the_search_is_in_bfloat16_only_where_it_pays():
    on_cuda = SimpleNamespace(is_cuda=True, dtype=torch.float32)
    assert kernels.search_dtype(on_cuda, kernels.SEARCHED) == torch.bfloat16
    assert kernels.search_dtype(on_cuda, kernels.SEARCHED - 1) == torch.float32
    assert kernels.search_dtype(SimpleNamespace(is_cuda=True, dtype=torch.float64), 32_768) == torch.float64
    assert kernels.search_dtype(torch.zeros(2, 3), 32_768) == torch.float32
    assert [kernels.candidates(k, 64) for k in (2, 16, 32, 60)] == [10, 24, 48, 64]


def test_encode_gradients_by_finite_differences():
    encoder, b_enc, b_dec = weights()
    x = random(5, 4)
    pattern, latents = a_pattern()

    def encode(x, encoder, b_enc, b_dec):
        values = kernels.pre_activations(x, encoder, b_enc, b_dec).gather(-1, latents).flatten()
        return kernels.sparse_encode(x, encoder, b_enc, b_dec, values.detach(), pattern)

    inputs = [t.requires_grad_() for t in (x, encoder, b_enc, b_dec)]
    assert (encode(*inputs) == 0).any(), "some of the chosen pre-activations should be negative"
    assert torch.autograd.gradcheck(encode, inputs)


@pytest.mark.parametrize("at_once", [1, 4096], ids=["latent by latent", "token by token"])
def test_decode_gradients_by_finite_differences(monkeypatch, at_once):
    monkeypatch.setattr(kernels, "CPU_LATENTS", at_once)
    pattern, _ = a_pattern()
    values, decoder = random(20).requires_grad_(), random(2, 6, 4, seed=5).requires_grad_()
    assert torch.autograd.gradcheck(lambda v, w: kernels.sparse_decode(v, w, pattern), (values, decoder))


def test_decode_of_bags_of_different_sizes_and_of_none():
    """BatchTopK gives some tokens no latent at all: their sum is zero, wherever in the batch they stand."""
    values = torch.full((4, 1, 3), -9.0, dtype=torch.float64)
    values[1] = torch.tensor([5.0, 4.0, 3.0])
    values[2, 0, 1] = 2.0
    latents = torch.arange(3).expand(4, 1, 3).contiguous()
    kept, pattern, smallest, complete = kernels.keep_batch_top_k(values, latents, 3, 1)
    assert complete and smallest.tolist() == [2.0]
    decoder = torch.eye(3, dtype=torch.float64)[None]
    sums = kernels.sparse_decode(kept, decoder, pattern)
    assert sums.tolist() == [[0, 0, 0], [5, 4, 3], [0, 2, 0], [0, 0, 0]]
    assert pattern.bags.tolist() == [1, 1, 1, 2]


@pytest.mark.parametrize(("offered", "complete"), [(2, False), (3, False), (4, True), (8, True)])
def test_keep_batch_top_k_says_when_it_was_offered_too_few(offered, complete):
    """Token 0 has the 3 largest of all; with 3 of its latents offered, nobody can know that there is no fourth."""
    pre = random(3, 1, 8).abs()
    pre[0, 0, :3] += 100
    values, latents = pre.topk(offered)
    kept, _, _, found = kernels.keep_batch_top_k(values, latents, 8, 1)
    assert found is complete
    if complete:
        assert torch.equal(kept.sort().values, pre.flatten().topk(3).values.sort().values)
