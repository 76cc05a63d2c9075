import numpy as np
import pytest
import torch
from scipy import sparse

from sae_utils.analysis.directions import random_directions
from sae_utils.analysis.latents.properties import (
    label_entropy,
    latent_properties,
    subspace_share,
    top_components,
)
from sae_utils.errors import InputError

N, D, N_TOKENS, N_VOCAB = 9, 6, 400, 30


def test_properties_are_their_definitions():
    """Of latents that fire now and then, the last one never, with weights and tokens by chance."""
    rng = np.random.default_rng(0)
    dense = rng.exponential(2.0, (N_TOKENS, N)) * (rng.random((N_TOKENS, N)) < rng.uniform(0.05, 0.5, N))
    dense[:, -1] = 0
    tokens = rng.integers(0, N_VOCAB, N_TOKENS)
    encoder, decoder = torch.randn(2, N, D, generator=torch.Generator().manual_seed(0))
    components = torch.eye(D)[:2]
    found = latent_properties(sparse.csr_matrix(dense), tokens, N_VOCAB, encoder, decoder, components, np.arange(N) / 7)
    fires = dense > 0
    np.testing.assert_allclose(found.firing_frequency, fires.mean(0))
    np.testing.assert_allclose(found.loss_contribution, np.arange(N) / 7)
    for i in range(N):
        e, d = encoder[i].double().numpy(), decoder[i].double().numpy()
        cosine = e @ d / np.sqrt((e @ e) * (d @ d))
        assert found.encoder_decoder_cosine[i] == pytest.approx(cosine)
        assert found.pc_alignment[i] == pytest.approx((d[:2] ** 2).sum() / (d**2).sum())
        if i == N - 1:
            continue
        assert found.mean_activation[i] == pytest.approx(dense[fires[:, i], i].mean())
        share = np.bincount(tokens[fires[:, i]]) / fires[:, i].sum()
        share = share[share > 0]
        nats = -(share * np.log(share)).sum() + (len(share) - 1) / (2 * fires[:, i].sum())
        assert found.token_entropy[i] == pytest.approx(min(1, nats / np.log(N_VOCAB)))
    assert np.isnan([found.mean_activation[-1], found.token_entropy[-1]]).all()


def test_entropy_is_0_for_one_token_and_about_1_for_all_alike():
    counts = sparse.csr_matrix(np.array([[500, 0, 0, 0], [250] * 4, [1, 1, 1, 1], [0, 0, 0, 0], [300, 0, 0, 700]]))
    found = label_entropy(counts, 4)
    assert found[0] == 0 and found[1] == 1 and found[2] == 1 and np.isnan(found[3])
    assert found[4] == pytest.approx((0.611 + 1 / 2000) / np.log(4), abs=1e-3)
    # The correction brings samples of 200 from 50 labels near the truth.
    samples = sparse.csr_matrix(np.random.default_rng(0).multinomial(200, np.full(50, 1 / 50), 300))
    assert label_entropy(samples, 50).mean() == pytest.approx(1, abs=0.005)


def test_top_components_are_those_of_the_covariance():
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(5000, 4)) * [5, 3, 1, 0.5] + 100)
    share = np.array([25, 9, 1, 0.25]).cumsum() / 35.25
    for wanted, n in ((0.5, 1), (share[0] + 0.05, 2), (0.99, 3), (1.0, 4)):
        found = top_components(x, wanted)
        assert found.shape == (n, 4)
        torch.testing.assert_close(found @ found.T, torch.eye(n, dtype=found.dtype))
        torch.testing.assert_close(found.abs(), torch.eye(4, dtype=found.dtype)[:n], atol=0.05, rtol=0)
    rows = torch.tensor([[1.0, 0, 0, 0], [0, 0, 2, 0], [1, 1, 1, 1]])
    np.testing.assert_allclose(subspace_share(rows, torch.eye(4)[:2]), [1, 0, 0.5])
    assert subspace_share(random_directions(2000, 40, 0), torch.eye(40)[:10]).mean() == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("rows, share, culprit", [(torch.eye(3), 0, "share=0"), (torch.ones(3, 2), 1, "variance")])
def test_components_that_are_not_there_are_refused(rows, share, culprit):
    with pytest.raises(InputError, match=culprit):
        top_components(rows, share)
