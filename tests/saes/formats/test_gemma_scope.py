"""The files of Gemma Scope and Gemma Scope 2, written from their key lists, against their formula written out here."""

import json

import numpy as np
import pytest
from helpers.foreign_files import activations, check_against, refused, thresholds, weights, write

from sae_utils.saes.formats.read import read_sae


def save(folder, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    w = weights() | {"threshold": thresholds()} | changes
    np.savez(folder / "params.npz", **{name: np.asarray(value) for name, value in w.items() if value is not None})
    return w


@pytest.mark.parametrize(
    ("folder", "hook_point"),
    [
        ("gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_82", "blocks.12.hook_resid_post"),
        ("gemma-scope-9b-it-mlp/layer_3/width_16k/canonical", "blocks.3.hook_mlp_out"),
        ("models--google--gemma-scope-2b-pt-res/snapshots/abc/layer_0/x", "blocks.0.hook_resid_post"),
        ("gemma-scope-2b-pt-att/layer_3/width_16k", "blocks.3.attn.hook_z"),
        ("layer_12/width_16k", ""),
    ],
)
def test_the_encoder_reads_x_itself(tmp_path, folder, hook_point):
    w, x = save(tmp_path / folder), activations()
    pre = x @ w["W_enc"] + w["b_enc"]
    code = pre.relu() * (pre > w["threshold"])
    for path in (tmp_path / folder, tmp_path / folder / "params.npz"):
        sae = read_sae(path)
        check_against(sae, code, code @ w["W_dec"] + w["b_dec"])
        assert (sae.hook_point, sae.config.architecture) == (hook_point, "jump_relu")


def test_the_cache_of_the_hub_holds_links(tmp_path):
    """A link's own folders name the hook point, not those of the file that it leads to."""
    save(tmp_path / "blobs")
    folder = tmp_path / "models--google--gemma-scope-2b-pt-res" / "snapshots" / "abc" / "layer_7" / "width_16k"
    folder.mkdir(parents=True)
    (folder / "params.npz").symlink_to(tmp_path / "blobs" / "params.npz")
    assert read_sae(folder).hook_point == "blocks.7.hook_resid_post"


def test_what_is_foreign_or_corrupt_is_refused(tmp_path):
    save(tmp_path / "less", threshold=None)
    assert "holds W_dec, W_enc, b_dec, b_enc; expected W_enc" in refused(tmp_path / "less")
    save(tmp_path / "shape", W_dec=weights()["W_dec"].T)
    assert "W_dec of" in refused(tmp_path / "shape")
    save(tmp_path / "nan", b_dec=np.full(6, np.nan))
    assert "holds values that are not finite" in refused(tmp_path / "nan")
    save(tmp_path / "pickled", b_dec=np.array([{}], dtype=object))
    assert "is truncated or not an npz file" in refused(tmp_path / "pickled")
    save(tmp_path / "embedding")
    assert "token embeddings" in refused(tmp_path / "embedding")
    file = tmp_path / "shape" / "params.npz"
    save(tmp_path / "shape")
    whole = file.read_bytes()
    np.save(tmp_path / "array.npy", np.ones(3))
    for content in (b"", whole[:100], whole[:-1], b"text", (tmp_path / "array.npy").read_bytes()):
        file.write_bytes(content)
        assert "is truncated or not an npz file" in refused(file)
    bad = bytearray(whole)
    bad[len(bad) // 2] ^= 1
    file.write_bytes(bad)
    refused(file)


@pytest.mark.parametrize(
    ("place", "hook_point"),
    [
        ("model.layers.12.output", "blocks.12.hook_resid_post"),
        ("model.language_model.layers.9.output", "blocks.9.hook_resid_post"),
        ("model.layers.3.post_feedforward_layernorm.output", "blocks.3.hook_mlp_out"),
        ("model.layers.3.self_attn.o_proj.input", "blocks.3.attn.hook_z"),
    ],
)
def test_gemma_scope_2_reads_x_itself(tmp_path, place, hook_point):
    w, x = weights() | {"threshold": thresholds()}, activations()
    folder = tmp_path / "resid_post" / "layer_12_width_16k_l0_big"
    cfg = {"hf_hook_point_in": place, "hf_hook_point_out": place, "width": 16, "model_name": "gemma-v3-270m-pt"}
    cfg |= {"architecture": "jump_relu", "l0": 150, "affine_connection": False, "type": "sae"}
    write(folder, "params.safetensors", {name.replace("W_", "w_"): tensor for name, tensor in w.items()})
    (folder / "config.json").write_text(json.dumps(cfg))
    pre = x @ w["W_enc"] + w["b_enc"]
    code = pre.relu() * (pre > w["threshold"])
    for path in (folder, folder / "params.safetensors"):
        sae = read_sae(path)
        check_against(sae, code, code @ w["W_dec"] + w["b_dec"])
        assert (sae.hook_point, sae.config.architecture) == (hook_point, "jump_relu")
