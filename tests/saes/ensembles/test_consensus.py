"""Consensus dictionaries: merged from versions of latents, and refitted."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from helpers.ensembles_made import activations, stack
from helpers.synthetic_activations import planted

from sae_utils.data.activations import TensorSource
from sae_utils.errors import InputError
from sae_utils.saes import ARCHITECTURES, evaluate
from sae_utils.saes.ensembles import merge
from sae_utils.saes.training import TrainingConfig
from sae_utils.saes.training.grid import Activations, Cell, train_cells


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_dictionary_merged_with_itself_is_itself(architecture):
    """Every group two copies of one latent: nothing changes but the order."""
    once = stack(architecture, 1)
    twice = once.copy(seeds=[0, 1], **{name: torch.cat([t, t]) for name, t in once.stacked().items()})
    merged, x = merge(twice, [[(0, i), (1, i)] for i in reversed(range(20))]), activations()
    torch.testing.assert_close(merged(x), once(x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(merged.W_dec[0].flip(0), once.W_dec[0], rtol=0, atol=1e-6)


def test_rows_are_means_of_their_versions():
    sae = stack(n_seeds=3)
    merged = merge(sae, [[(0, 4), (2, 5)], [(1, 0)], [(0, 1), (1, 1), (2, 1)]])
    torch.testing.assert_close(merged.W_dec[0, 0], F.normalize(sae.W_dec[0, 4] + sae.W_dec[2, 5], dim=0))
    torch.testing.assert_close(merged.encoder[0, 2], sae.encoder[:, 1].mean(0))
    torch.testing.assert_close(merged.b_enc[0, 0], (sae.b_enc[0, 4] + sae.b_enc[2, 5]) / 2)
    torch.testing.assert_close(merged.b_dec[0], sae.b_dec.mean(0))


def test_the_refit_lowers_the_error_and_leaves_the_decoder_unless_asked(tmp_path):
    x = planted(4096)[0]
    source = TensorSource({"hook": x})
    sae = merge(stack("topk", 2, 24, 40, normalisation=source.normalisation["hook"]), [[(i % 2, i)] for i in range(30)])
    before = {name: t.clone() for name, t in sae.state_dict().items()}
    reads = Activations(("hook",), 4096)
    both = Cell("all", sae.config, "hook", sae.seeds, TrainingConfig(4000, 50, lr=3e-3), reads, given=True)
    cells, begun = [replace(both, name="encoder", fixed=("W_dec",)), both], {"encoder": sae, "all": sae}
    encoder, both = train_cells(cells, {reads: source}, tmp_path, begun=begun, progress=False).values()
    errors = [evaluate(s, [x]).mse.item() for s in (sae, encoder, both)]
    assert errors[2] < errors[1] < 0.9 * errors[0]
    torch.testing.assert_close(encoder.W_dec, sae.W_dec, rtol=0, atol=1e-6)
    assert (encoder.encoder - sae.encoder).abs().max() > 0.01
    assert (both.W_dec - sae.W_dec).abs().max() > 0.01
    assert all(torch.equal(t, before[name]) for name, t in sae.state_dict().items())
    assert encoder.W_dec.requires_grad


def test_groups_that_make_no_dictionary_are_refused():
    with pytest.raises(InputError, match="at least one group"):
        merge(stack(), [])
    with pytest.raises(InputError, match="at least one latent"):
        merge(stack(), [[(0, 1)], []])
    with pytest.raises(InputError, match="2 groups of latents are fewer than the k=3"):
        merge(stack(), [[(0, 1)], [(0, 2)]])
