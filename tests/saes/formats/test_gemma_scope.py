"""The files of Gemma Scope and Gemma Scope 2, written from their key lists, against their formula written out."""

import numpy as np
import pytest
from helpers.foreign_files import (
    above,
    activations,
    by_hand,
    check_against,
    jump_weights,
    refused,
    write_gemma_scope,
    write_gemma_scope_2,
)

from sae_utils.saes.formats.read import read_sae

W = jump_weights()
EXPECTED = by_hand(W, activations(), above(W["threshold"]), subtract=False)


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
    write_gemma_scope(tmp_path / folder, W)
    for path in (tmp_path / folder, tmp_path / folder / "params.npz"):
        sae = read_sae(path)
        check_against(sae, *EXPECTED)
        assert (sae.hook_point, sae.config.architecture) == (hook_point, "jump_relu")


def test_the_cache_of_the_hub_holds_links(tmp_path):
    """A link's own folders name the hook point, not those of the file that it leads to."""
    write_gemma_scope(tmp_path / "blobs", W)
    folder = tmp_path / "models--google--gemma-scope-2b-pt-res" / "snapshots" / "abc" / "layer_7" / "width_16k"
    folder.mkdir(parents=True)
    (folder / "params.npz").symlink_to(tmp_path / "blobs" / "params.npz")
    assert read_sae(folder).hook_point == "blocks.7.hook_resid_post"


def test_arrays_in_another_order_of_bytes(tmp_path):
    write_gemma_scope(tmp_path, W | {"W_dec": W["W_dec"].numpy().astype(">f4")})
    check_against(read_sae(tmp_path), *EXPECTED)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"threshold": None}, "holds W_dec, W_enc, b_dec, b_enc; expected W_enc"),
        ({"W_dec": W["W_dec"].T}, "W_dec of"),
        ({"b_dec": np.full(6, np.nan)}, "holds values that are not finite"),
        ({"b_dec": np.array([{}], dtype=object)}, "is truncated or not an npz file: Object arrays cannot be loaded"),
        ({"b_dec": np.ones(6, np.longdouble)}, "is truncated or not an npz file"),
        ({"b_dec": np.array(["a"] * 6)}, "is truncated or not an npz file"),
        ({"b_dec": np.ones(6, int)}, "has dtype torch.int64; expected floating point"),
    ],
)
def test_arrays_that_are_no_weights_are_refused(tmp_path, changes, line):
    arrays = {name: value for name, value in (W | changes).items() if value is not None}
    assert line in refused(write_gemma_scope(tmp_path, arrays))


def test_other_files_are_refused(tmp_path):
    assert "token embeddings" in refused(write_gemma_scope(tmp_path / "embedding", W))
    np.save(tmp_path / "array.npy", np.ones(3))
    for content in (b"text", (tmp_path / "array.npy").read_bytes()):
        (tmp_path / "params.npz").write_bytes(content)
        assert "is truncated or not an npz file" in refused(tmp_path)


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
    write_gemma_scope_2(tmp_path, W, place)
    for path in (tmp_path, tmp_path / "params.safetensors"):
        sae = read_sae(path)
        check_against(sae, *EXPECTED)
        assert (sae.hook_point, sae.config.architecture) == (hook_point, "jump_relu")
