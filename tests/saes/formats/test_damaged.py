"""Folders of every format that are cut, or whose settings or tensors are others, are refused in one line.

``tests/fuzz/test_fuzz_formats.py`` draws such damage.
"""

import json

import pytest
import torch
from helpers.foreign_files import D_IN, N_LATENTS, WRITERS, ours, refused
from safetensors.torch import load_file, save_file

from sae_utils.saes.formats.read import FILES, read_sae
from sae_utils.saes.training import save_sae
from sae_utils.saes.training.checkpoints import read_tensors, write_tensors

FOLDERS = {  # of each format one: what writes it
    "saelens": "saelens batch_topk",
    "sparsify": "sparsify",
    "dictionary_learning": "dictionary_learning BatchTopKSAE",
    "gemma_scope": "gemma_scope",
    "gemma_scope_2": "gemma_scope_2",
}


def write(folder, name):
    """The folder, and the file of its settings."""
    WRITERS[FOLDERS.get(name, name)](folder)
    return folder, next(folder.glob("*.json"), None)


@pytest.mark.parametrize(("name", "format"), FILES.items(), ids=FILES.values())
def test_weights_that_are_cut_or_gone(tmp_path, name, format):
    folder, _ = write(tmp_path / "sae", format)
    file = folder / name
    assert read_sae(folder).config.d_in == D_IN
    whole = file.read_bytes()
    for cut in (0, 1, 4, 9, 100, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:cut])
        assert f"{file} is truncated or not a" in refused(folder)
    file.unlink()
    assert "no SAE of a known format" in refused(folder)
    file.mkdir()
    refused(folder)


@pytest.mark.parametrize("format", ["saelens", "sparsify", "dictionary_learning", "gemma_scope_2"])
def test_settings_that_are_no_json(tmp_path, format):
    folder, settings = write(tmp_path / "sae", format)
    for text in ("", "null", "[]", '"x"', "{", "[" * 100_000, "9" * 5000):
        settings.write_text(text)
        assert str(settings) in refused(folder)
    settings.unlink()
    if format == "dictionary_learning":  # which does without
        assert "found None" in refused(folder)
    else:
        assert f"{settings} cannot be read as JSON" in refused(folder)


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("saelens relu", {"architecture": "matching_pursuit"}, "architecture 'matching_pursuit'"),
        ("saelens relu", {"architecture": ["gated"]}, "must be a text"),
        ("saelens relu", {"architecture": "jumprelu"}, "missing ['threshold']"),
        ("saelens jump_relu", {"k": "3", "architecture": "topk"}, "missing [], unknown ['threshold']"),
        ("saelens relu", {"activation_fn": "tanh-relu"}, "activation 'tanh-relu'"),
        ("saelens relu", {"normalize_activations": "layer_norm"}, "normalize_activations='layer_norm'"),
        ("saelens relu", {"reshape_activations": "hook_z"}, "reshape_activations='hook_z'"),
        ("saelens relu", {"apply_b_dec_to_input": "false"}, "apply_b_dec_to_input='false' in"),
        ("saelens relu", {"metadata": "none"}, "must be an object"),
        ("saelens relu", {"metadata": {"hook_name": 3}}, "hook_name='3' in"),
        ("saelens relu", {"metadata": {"hook_head_index": 3}}, "hook_head_index=3"),
        ("saelens relu", {"d_in": 7}, "d_in=7"),
        ("saelens relu", {"d_in": [6]}, "d_in=[6] in"),
        ("saelens relu", {"d_sae": 7}, "d_sae=7"),
        ("saelens topk", {"k": None}, "k=None"),
        ("saelens topk", {"k": 2.5}, "k=2.5"),
        ("saelens topk", {"k": float("nan")}, "k=nan"),
        ("saelens topk", {"k": N_LATENTS + 1}, f"k={N_LATENTS + 1}"),
        ("sparsify", {"activation": "groupmax"}, "activation='groupmax'"),
        ("sparsify", {"transcode": True}, "transcode=true"),
        ("sparsify", {"skip_connection": True}, "skip_connection=true"),
        ("sparsify", {"signed": True}, "signed=true"),
        ("sparsify", {"k": 0}, "k=0"),
        ("sparsify", {"k": "3"}, "k=3 in"),
        ("sparsify", {"k": 10**400}, "must be a whole number of at least 1"),
        ("sparsify", {"d_in": 7}, "d_in=7"),
        ("sparsify", {"num_latents": 7}, "num_latents=7"),
        ("sparsify", {"hook_point": [3]}, "must be a text"),
        ("dictionary_learning", {"trainer": "3"}, "must be an object"),
        ("dictionary_learning", {"trainer": {"dict_class": "BatchTopKSAE", "submodule_name": 3}}, "submodule_name='3'"),
        (
            "dictionary_learning",
            {"trainer": {"dict_class": "BatchTopKSAE", "submodule_name": "attention_out_layer_3"}},
            "was trained at 'attention_out_layer_3', which is no known hook point (known: layers.N, layers.N.mlp,",
        ),
        ("gemma_scope_2", {"width": "16k"}, "width='16k' in"),
        ("gemma_scope_2", {"architecture": "topk"}, "architecture='topk' in"),
        ("gemma_scope_2", {"affine_connection": True}, "is a transcoder"),
        ("gemma_scope_2", {"hf_hook_point_out": "model.layers.2.mlp.output"}, "is a transcoder, from model.layers.2"),
        ("gemma_scope_2", {"hf_hook_point_in": None, "hf_hook_point_out": None}, "names no hf_hook_point_in"),
        (
            "gemma_scope_2",
            {"hf_hook_point_in": "model.embed_tokens.output", "hf_hook_point_out": None},
            "was trained at 'model.embed_tokens.output', which is no known hook point",
        ),
    ],
)
def test_what_is_said_of_settings(tmp_path, name, changes, said):
    folder, settings = write(tmp_path / "sae", name)
    settings.write_text(json.dumps(json.loads(settings.read_text()) | changes))
    assert said in refused(folder)


@pytest.mark.parametrize("format", ["saelens", "sparsify", "gemma_scope_2"])
def test_tensors_that_are_no_weights(tmp_path, format):
    folder, _ = write(tmp_path / "sae", format)
    file = next(folder.glob("*.safetensors"))
    good = load_file(file)
    for name, tensor in good.items():
        for bad, said in (
            (tensor.long(), "torch.int64; expected floating point"),
            (tensor.to(torch.complex64), "torch.complex64; expected floating point"),
            (torch.zeros([0] * tensor.ndim), f"{name} of {file} has shape"),
            (torch.zeros(()), f"{name} of {file} has shape []"),
            (torch.full_like(tensor, torch.inf), f"{name} of {file} holds values that are not finite"),
        ):
            save_file(good | {name: bad}, file)
            assert said in refused(folder)
        save_file({other: t for other, t in good.items() if other != name}, file)
        assert f"missing ['{name}'], unknown []" in refused(folder)


@pytest.mark.parametrize(
    ("name", "tensor", "said"),
    [
        ("b_enc", torch.ones(D_IN), f"has shape [{D_IN}]; expected [latents {N_LATENTS}]"),
        ("W_dec", torch.ones(D_IN, N_LATENTS), "has shape [6, 16]; expected [latents 16, d_in 6]"),
        ("b_dec", torch.ones(1, D_IN), "has shape [1, 6]; expected [d_in 6]"),
        ("W_skip", torch.ones(D_IN), "unknown ['W_skip']"),
    ],
)
def test_shapes_are_refused_before_the_weights_are_loaded(tmp_path, monkeypatch, name, tensor, said):
    folder, _ = write(tmp_path / "sae", "saelens relu")
    file = folder / "sae_weights.safetensors"
    save_file(load_file(file) | {name: tensor}, file)
    monkeypatch.setattr("sae_utils.saes.formats.common.read_safetensors", lambda path: 1 / 0)
    assert said in refused(folder)


def test_our_own_files_that_hold_no_stack(tmp_path):
    file = tmp_path / "own.safetensors"
    save_sae(ours("topk"), file)
    tensors, about = read_tensors(file, "sae")
    for wrong, said in (
        ((tensors, about | {"config": None}), "holds no SAE: "),
        ((tensors, {}), "holds no SAE: hook_point=None is no name"),
        ((tensors, about | {"config": about["config"] | {"d_in": 7}}), "holds no SAE: Error(s) in loading state_dict"),
        ((tensors, about | {"seeds": 3}), "holds no SAE: "),
        ((tensors | {"b_dec": torch.full((1, D_IN), torch.nan)}, about), "b_dec holds values that are not finite"),
    ):
        write_tensors(file, "sae", *wrong)
        assert said in refused(file)
