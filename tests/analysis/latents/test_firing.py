import numpy as np
import pytest
import torch
from helpers import ensembles_made
from helpers.tiny_language_model import TableModel

from sae_utils.analysis.latents import encode_text, firing
from sae_utils.data.activations import ActivationStream
from sae_utils.errors import InputError

HOOK, D_IN, N_LATENTS = "blocks.0.hook_mlp_out", 16, 24
ARCHITECTURES = ("topk", "batch_topk", "relu")


@pytest.fixture(scope="module")
def source():
    rows = np.random.default_rng(0).integers(1, 300, (7, 32)).astype(np.uint16)
    rows[2, 5] = rows[3, 0] = 0  # end of text
    return ActivationStream(TableModel(), rows, [HOOK])


def stack(architecture, source):
    """Two dictionaries whose decoder rows are of different lengths."""
    sae = ensembles_made.stack(architecture, 2, D_IN, N_LATENTS, 3, source.normalisation[HOOK], HOOK)
    with torch.no_grad():
        sae.W_dec.mul_(0.5 + torch.rand(2, N_LATENTS, 1, generator=torch.Generator().manual_seed(5)))
    return sae


def kept(source, n_rows):
    """Raw activations of the kept positions, row after row."""
    keep = torch.from_numpy(source.order.keep[:n_rows])
    return source.read(np.arange(n_rows))[HOOK][keep]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("values", [1, firing.CHUNK_VALUES])
def test_codes_are_the_dictionaries_own_in_the_order_of_the_text(architecture, values, source, monkeypatch):
    monkeypatch.setattr(firing, "CHUNK_VALUES", values)  # one row at a time, or all
    sae = stack(architecture, source)
    found = encode_text(sae, source, 6)
    x = kept(source, 6)
    dense = sae.encode(x).dense(N_LATENTS).numpy()
    for s in range(2):
        np.testing.assert_allclose(found.codes[s].toarray(), dense[:, s], atol=1e-6)
        assert found.codes[s].nnz == (dense[:, s] != 0).sum() and found.codes[s].nnz > 0
    torch.testing.assert_close(found.activations, sae.normalise(x))
    expected = [32 * r + c for r in range(6) for c in range(1, 32) if (r, c) != (2, 5)]
    assert found.positions.tolist() == expected and found.n_tokens == len(expected)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_loss_rise_is_that_of_a_dictionary_without_the_latent(architecture, source):
    sae = stack(architecture, source)
    found = encode_text(sae, source, 6)
    x = kept(source, 6)
    dense = sae.encode(x).dense(N_LATENTS).double()
    target = sae.normalise(x).double()
    variance = (target - target.mean(0)).square().sum()

    def fvu(codes, s):
        rebuilt = codes @ sae.W_dec[s].double() + sae.b_dec[s].double()
        return ((target - rebuilt).square().sum() / variance).item()

    for s in range(2):
        for latent in range(N_LATENTS):
            without = dense[:, s].clone()
            without[:, latent] = 0
            assert found.loss_rise[s, latent] == pytest.approx(fvu(without, s) - fvu(dense[:, s], s), abs=1e-5)


@pytest.mark.parametrize("n_rows", [0, 8])
def test_more_rows_than_there_are_is_refused(source, n_rows):
    with pytest.raises(InputError, match=f"n_rows={n_rows} must be 1 to the 7 rows"):
        encode_text(stack("topk", source), source, n_rows)
