"""Random weights, files of other libraries made from their key lists, formulas written out, and comparisons."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from sae_utils.data.activations import Normalisation
from sae_utils.errors import InputError
from sae_utils.saes import ARCHITECTURES, SAE, SAEConfig
from sae_utils.saes.formats.read import read_sae
from sae_utils.saes.formats.saelens import write_saelens
from sae_utils.saes.formats.sparsify import write_sparsify

D_IN, N_LATENTS, K = 6, 16, 3
PLACE = "model.layers.2.output"


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


def jump_weights():
    return weights() | {"threshold": drawn(N_LATENTS, seed=60).abs()}


def top_k(values, k=K):
    kept = values.relu().topk(k, dim=-1)
    return torch.zeros_like(values).scatter(-1, kept.indices, kept.values)


def above(threshold):
    """The activation of JumpReLU and, with one number, of BatchTopK."""
    return lambda pre: pre.relu() * (pre > threshold)


def by_hand(w, x, activation=torch.relu, subtract=True):
    """Code and reconstruction by an encoder that reads x less b_dec, or x itself."""
    code = activation((x - w["b_dec"] if subtract else x) @ w["W_enc"] + w["b_enc"])
    return code, code @ w["W_dec"] + w["b_dec"]


def gated_by_hand(w, x, subtract=True):
    x_enc = (x - w["b_dec"] if subtract else x) @ w["W_enc"]
    code = (x_enc + w["b_gate"] > 0) * (w["r_mag"].exp() * x_enc + w["b_mag"]).relu()
    return code, code @ w["W_dec"] + w["b_dec"]


def linear(w):
    """``nn.Linear`` keeps its weights transposed."""
    return {"encoder.weight": w["W_enc"].T.contiguous(), "decoder.weight": w["W_dec"].T.contiguous()}


def _states():
    w, g = weights(), gated_weights()
    biased = linear(w) | {"encoder.bias": w["b_enc"]}
    counted = {"b_dec": w["b_dec"], "k": torch.tensor(K, dtype=torch.int), "threshold": torch.tensor(0.8)}
    gated = {"decoder_bias": g["b_dec"], "r_mag": g["r_mag"], "gate_bias": g["b_gate"], "mag_bias": g["b_mag"]}
    return {
        "AutoEncoder": biased | {"bias": w["b_dec"]},
        "AutoEncoderNew": biased | {"decoder.bias": w["b_dec"]},
        "GatedAutoEncoder": linear(g) | gated,
        "AutoEncoderTopK": biased | counted,
        "BatchTopKSAE": biased | counted,
        "JumpReluAutoEncoder": jump_weights(),
        "MatryoshkaBatchTopKSAE": w | counted | {"group_sizes": torch.tensor([4, N_LATENTS - 4])},
    }


STATES = _states()  # what dictionary_learning saves, by its classes


def write(folder, name, tensors, cfg=None, cfg_name="cfg.json"):
    folder.mkdir(parents=True, exist_ok=True)
    save_file({key: t.contiguous() for key, t in tensors.items()}, folder / name)
    if cfg is not None:
        (folder / cfg_name).write_text(json.dumps(cfg))
    return folder


def write_pickled(folder, state, **trainer):
    """``ae.pt`` of dictionary_learning, and its settings if any are given."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(state, folder / "ae.pt")
    if trainer:
        sizes = {"activation_dim": D_IN, "dict_size": N_LATENTS}
        (folder / "config.json").write_text(json.dumps({"trainer": sizes | trainer, "buffer": {"ctx_len": 128}}))
    return folder


def write_gemma_scope(folder, w):
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "params.npz", **{name: np.asarray(value) for name, value in w.items()})
    return folder


def write_gemma_scope_2(folder, w, place=PLACE):
    cfg = {"hf_hook_point_in": place, "hf_hook_point_out": place, "width": len(w["b_enc"]), "l0": 150}
    cfg |= {"architecture": "jump_relu", "model_name": "google/gemma-3-270m", "affine_connection": False, "type": "sae"}
    tensors = {name.replace("W_", "w_"): tensor for name, tensor in w.items()}
    return write(folder, "params.safetensors", tensors, cfg, "config.json")


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


WRITERS = {  # of a folder in each format, with what belongs beside the weights
    **{f"saelens {architecture}": partial(write_saelens, ours(architecture)) for architecture in ARCHITECTURES},
    "sparsify": partial(write_sparsify, ours("topk")),
    "sparsify seeds": partial(write_sparsify, ours("topk", (3, 4))),
    **{
        f"dictionary_learning {kind}": partial(
            write_pickled, state=state, dict_class=kind, seed=5, submodule_name="resid_post_layer_2"
        )
        for kind, state in STATES.items()
    },
    "gemma_scope": partial(write_gemma_scope, w=jump_weights()),
    "gemma_scope_2": partial(write_gemma_scope_2, w=jump_weights()),
}
