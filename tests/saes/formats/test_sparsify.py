"""sparsify files, written from their key lists, against sparsify's formula written out here."""

import json

import pytest
import torch
from helpers.foreign_files import (
    D_IN,
    N_LATENTS,
    K,
    activations,
    assert_same,
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


def settings(**changes):
    cfg = {"activation": "topk", "expansion_factor": 32, "normalize_decoder": True, "num_latents": N_LATENTS, "k": K}
    return cfg | {"multi_topk": False, "skip_connection": False, "transcode": False, "d_in": D_IN} | changes


def tensors(seed=1):
    w = weights(seed)
    return {"encoder.weight": w["W_enc"].T, "encoder.bias": w["b_enc"], "W_dec": w["W_dec"], "b_dec": w["b_dec"]}


def formula(t, x):
    code = top_k(((x - t["b_dec"]) @ t["encoder.weight"].T + t["encoder.bias"]).relu())
    return code, code @ t["W_dec"] + t["b_dec"]


def test_a_folder_named_for_its_module(tmp_path):
    t = tensors()
    folder = write(tmp_path / "layers.5.mlp", FILE, t, settings())
    for path in (folder, folder / FILE):
        sae = read_sae(path)
        check_against(sae, *formula(t, activations()))
        assert (sae.hook_point, sae.config.k, sae.n_dictionaries) == ("blocks.5.mlp.hook_out", K, 1)
    assert read_sae(folder, hook_point="blocks.6.hook_mlp_out").hook_point == "blocks.6.hook_mlp_out"


def test_old_settings_leave_the_width_to_the_tensors(tmp_path):
    cfg = settings(num_latents=0, signed=False)
    del cfg["activation"], cfg["transcode"], cfg["skip_connection"]
    t = tensors()
    write(tmp_path / "h.3", FILE, t, cfg)
    sae = read_sae(tmp_path / "h.3")
    check_against(sae, *formula(t, activations()))
    assert sae.hook_point == "blocks.3.hook_resid_post"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_dtype_comes_in_float32(tmp_path, dtype):
    t = {name: x.to(dtype) for name, x in tensors().items()}
    write(tmp_path, FILE, t, settings())
    sae = read_sae(tmp_path)
    assert sae.W_dec.dtype == torch.float32
    check_against(sae, *formula({name: x.float() for name, x in t.items()}, activations()))


def test_seeds_come_as_one_stack(tmp_path):
    """In the order of their numbers, not of their names."""
    folder = tmp_path / "layers.5.mlp"
    for seed in (10, 2, 0):
        write(folder / f"seed{seed}", FILE, tensors(seed + 1), settings())
    stack = read_sae(folder)
    assert (stack.seeds, stack.hook_point) == ((0, 2, 10), "blocks.5.mlp.hook_out")
    for i, seed in enumerate(stack.seeds):
        check_against(stack.dictionary(i), *formula(tensors(seed + 1), activations()))
    one = read_sae(folder / "seed10")
    assert (one.seeds, one.hook_point) == ((10,), "blocks.5.mlp.hook_out")
    write(folder / "seed3", FILE, tensors(), settings(k=K + 1))
    assert "SAE 2 has config" in refused(folder)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"activation": "groupmax"}, "activation='groupmax'"),
        ({"transcode": True}, "transcode=true"),
        ({"skip_connection": True}, "skip_connection=true"),
        ({"signed": True}, "signed=true"),
        ({"k": 0}, "k=0"),
        ({"d_in": 7}, "d_in=7"),
        ({"num_latents": 7}, "num_latents=7"),
    ],
)
def test_what_cannot_be_represented_is_refused(tmp_path, changes, line):
    write(tmp_path, FILE, tensors(), settings(**changes))
    assert line in refused(tmp_path)


def test_a_transposed_decoder_is_refused(tmp_path):
    write(tmp_path, FILE, tensors() | {"W_dec": weights()["W_dec"].T}, settings())
    assert f"W_dec of {tmp_path / FILE} has shape [{D_IN}, {N_LATENTS}]; expected [latents {N_LATENTS}" in refused(
        tmp_path
    )


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
    assert all(settings().keys() <= cfg.keys() for cfg in cfgs) and len(cfgs) == len(seeds)


def test_what_sparsify_does_not_have_is_not_written(tmp_path):
    for what, said in (
        (ours("relu"), "'relu'"),
        (Ensemble.bag(ours("topk", (1, 2))), "'Ensemble'"),
        (ours("topk", (1, 1)), "seeds="),
    ):
        with pytest.raises(InputError, match=said):
            write_sparsify(what, tmp_path)
    assert not list(tmp_path.iterdir())
