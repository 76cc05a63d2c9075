"""Random weights, activations and comparisons for the tests of other libraries' files."""

import json

import pytest
import torch
from safetensors.torch import save_file

from sae_utils.data.activations import Normalisation
from sae_utils.errors import InputError
from sae_utils.saes import SAE, SAEConfig
from sae_utils.saes.formats.read import read_sae

D_IN, N_LATENTS, K = 6, 16, 3


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def activations(n=64):
    return 3 * drawn(n, D_IN, seed=99) + torch.arange(float(D_IN))


def weights(seed=1):
    """Matrices and biases with decoder rows far from norm 1 and biases that matter."""
    return {
        "W_enc": drawn(D_IN, N_LATENTS, seed=seed),
        "W_dec": drawn(N_LATENTS, D_IN, seed=seed + 10),
        "b_enc": drawn(N_LATENTS, seed=seed + 20),
        "b_dec": 2 * drawn(D_IN, seed=seed + 30),
    }


def gated_weights():
    w = weights()
    del w["b_enc"]
    return w | {name: 0.5 * drawn(N_LATENTS, seed=s) for s, name in enumerate(("b_gate", "b_mag", "r_mag"), 50)}


def thresholds():
    return drawn(N_LATENTS, seed=60).abs()


def top_k(values, k=K):
    kept = values.topk(k, dim=-1)
    return torch.zeros_like(values).scatter(-1, kept.indices, kept.values)


def write(folder, name, tensors, cfg=None):
    folder.mkdir(parents=True, exist_ok=True)
    save_file({key: t.contiguous() for key, t in tensors.items()}, folder / name)
    if cfg is not None:
        (folder / "cfg.json").write_text(json.dumps(cfg))
    return folder


def assert_same(a, b, rtol=1e-5):
    """Equal within ``rtol`` of the largest value."""
    assert a.shape == b.shape
    assert (a - b).abs().max() <= rtol * b.abs().max()


@torch.no_grad()
def check_against(sae, code, reconstruction, x=None):
    """One member's code and reconstruction against those computed from the file's own tensors."""
    x = activations() if x is None else x
    assert (code != 0).any() and (code == 0).any()
    assert_same(sae.encode(x).dense(sae.config.n_latents)[:, 0], code)
    assert_same(sae(x)[:, 0], reconstruction)


def refused(path, **kwargs):
    """The one line with which ``read_sae`` refuses ``path``."""
    with pytest.raises(InputError) as error:
        read_sae(path, **kwargs)
    line = str(error.value)
    assert "\n" not in line
    return line


def ours(architecture, seeds=(3,), hook_point="blocks.2.hook_mlp_out"):
    """A stack of this project with a mean, a scale, free decoder norms and biases."""
    how = {"k": K} if "topk" in architecture else {"sparsity": 0.0}
    config = SAEConfig(D_IN, N_LATENTS, architecture, unit_norm_decoder=False, **how)
    sae = SAE.create(config, seeds, hook_point, Normalisation.of(activations()))
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in sae.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
        sae.threshold.copy_(0.2 + torch.rand(sae.n_dictionaries, generator=generator))
    return sae
