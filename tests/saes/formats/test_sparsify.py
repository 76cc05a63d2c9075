"""sparsify files, written from their key lists, against sparsify's formula written out."""

import json

import pytest
import torch
from helpers.foreign_files import (
    D_IN,
    N_LATENTS,
    K,
    activations,
    assert_same,
    by_hand,
    check_against,
    ours,
    refused,
    top_k,
    weights,
    write,
)

from sae_utils.errors import InputError
from sae_utils.saes.ensembles import Ensemble
from sae_utils.saes.formats.read import read_sae
from sae_utils.saes.formats.sparsify import write_sparsify

FILE = "sae.safetensors"
SETTINGS = {"activation": "topk", "expansion_factor": 32, "normalize_decoder": True, "num_latents": N_LATENTS, "k": K}
SETTINGS |= {"multi_topk": False, "skip_connection": False, "transcode": False, "d_in": D_IN}


def save(folder, w, **changes):
    tensors = {"encoder.weight": w["W_enc"].T, "encoder.bias": w["b_enc"], "W_dec": w["W_dec"], "b_dec": w["b_dec"]}
    return write(folder, FILE, tensors, SETTINGS | changes)


def test_a_folder_named_for_its_module(tmp_path):
    folder = save(tmp_path / "layers.5.mlp", weights())
    for path in (folder, folder / FILE):
        sae = read_sae(path)
        check_against(sae, *by_hand(weights(), activations(), top_k))
        assert (sae.hook_point, sae.config.k, sae.n_dictionaries) == ("blocks.5.mlp.hook_out", K, 1)
    assert read_sae(folder, hook_point="blocks.6.hook_mlp_out").hook_point == "blocks.6.hook_mlp_out"


def test_old_settings_leave_the_width_to_the_tensors(tmp_path):
    folder = save(tmp_path / "h.3", weights(), num_latents=0, signed=False)
    cfg = json.loads((folder / "cfg.json").read_text())
    for name in ("activation", "transcode", "skip_connection"):
        del cfg[name]
    (folder / "cfg.json").write_text(json.dumps(cfg))
    sae = read_sae(folder)
    check_against(sae, *by_hand(weights(), activations(), top_k))
    assert sae.hook_point == "blocks.3.hook_resid_post"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_dtype_comes_in_float32(tmp_path, dtype):
    w = {name: x.to(dtype) for name, x in weights().items()}
    sae = read_sae(save(tmp_path, w))
    assert sae.W_dec.dtype == torch.float32
    check_against(sae, *by_hand({name: x.float() for name, x in w.items()}, activations(), top_k))


def test_seeds_come_as_one_stack(tmp_path):
    """In the order of their numbers, not of their names."""
    folder = tmp_path / "layers.5.mlp"
    for seed in (10, 2, 0):
        save(folder / f"seed{seed}", weights(seed + 1))
    stack = read_sae(folder)
    assert (stack.seeds, stack.hook_point) == ((0, 2, 10), "blocks.5.mlp.hook_out")
    for i, seed in enumerate(stack.seeds):
        check_against(stack.dictionary(i), *by_hand(weights(seed + 1), activations(), top_k))
    one = read_sae(folder / "seed10")
    assert (one.seeds, one.hook_point) == ((10,), "blocks.5.mlp.hook_out")
    save(folder / "seed3", weights(), k=K + 1)
    assert "SAE 2 has config" in refused(folder)


@pytest.mark.parametrize("seeds", [(7,), (0, 4, 2)])
def test_what_is_written_comes_back(tmp_path, seeds):
    sae, x = ours("topk", seeds), activations()
    write_sparsify(sae, tmp_path / "layers.2.mlp")
    back = read_sae(tmp_path / "layers.2.mlp")
    order = [sae.seeds.index(seed) for seed in back.seeds]
    with torch.no_grad():
        assert_same(back(x), sae(x)[:, order])
    assert (back.config, back.seeds, back.hook_point) == (sae.config, tuple(sorted(seeds)), sae.hook_point)
    cfgs = [json.loads(path.read_text()) for path in (tmp_path / "layers.2.mlp").rglob("cfg.json")]
    assert all(cfg.keys() >= SETTINGS.keys() for cfg in cfgs) and len(cfgs) == len(seeds)


@pytest.mark.parametrize(
    ("sae", "said"),
    [
        (ours("relu"), "'relu'"),
        (Ensemble.bag(ours("topk", (1, 2))), "'Ensemble'"),
        (ours("topk", (1, 1)), "seeds="),
    ],
)
def test_what_sparsify_does_not_have_is_not_written(tmp_path, sae, said):
    with pytest.raises(InputError, match=said):
        write_sparsify(sae, tmp_path)
    assert not list(tmp_path.iterdir())
