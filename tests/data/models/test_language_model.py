"""What a model is known by, what it runs, and what is refused in one line (activations: test_model_families)."""

import json
import shutil

import huggingface_hub
import numpy as np
import pytest
import torch
from helpers.tiny_language_model import make_family, make_tiny
from transformers import AutoModelForCausalLM, GPTNeoXForCausalLM

from sae_utils.data.activations import open_source
from sae_utils.data.models.fingerprint import fingerprint
from sae_utils.data.models.language_model import load_language_model
from sae_utils.errors import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def model(folder):
    return load_language_model(folder)


def test_forward_pass_stops_after_the_last_layer_needed(model):
    ran = []
    handles = [
        block.register_forward_hook(lambda *_, i=i: ran.append(i))
        for i, block in enumerate(model.weights.gpt_neox.layers)
    ]
    model.activations(torch.zeros((3, 20), dtype=torch.int64), [model.hook_point("mlp_out", 0)])
    for handle in handles:
        handle.remove()
    assert ran == [0]


def test_fingerprint_tells_weights_apart(model, folder, tmp_path):
    assert load_language_model(folder).fingerprint == model.fingerprint
    assert load_language_model(make_tiny(tmp_path, seed=1)).fingerprint != model.fingerprint
    assert load_language_model(folder, dtype="bfloat16").fingerprint != model.fingerprint


def test_fingerprint_sees_one_value_of_a_large_tensor():
    tensor = torch.zeros(131_072, 64)
    before = fingerprint({"embed": tensor}, {})
    for i, j in ((1, 3), (131_071, 62)):
        tensor[i, j] = 1.0
        assert fingerprint({"embed": tensor}, {}) != before
        tensor[i, j] = 0.0
    assert fingerprint({"embed": tensor}, {}) == before != fingerprint({"embed": tensor.view(64, -1)}, {})
    assert fingerprint({"embed": tensor.view(torch.int32)}, {}) != before != fingerprint({"unembed": tensor}, {})


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return make_family(tmp_path_factory.mktemp("llama"), "llama")


@pytest.fixture(scope="module")
def plain(llama):
    return load_language_model(llama)


def changed(folder, copy, change):
    """A copy of the model whose config.json has other settings, and those of the outermost that are dicts in part."""
    shutil.copytree(folder, copy)
    config = json.loads((copy / "config.json").read_text())
    for key, value in change.items():
        config[key] = config[key] | value if isinstance(value, dict) else value
    (copy / "config.json").write_text(json.dumps(config))
    return load_language_model(copy)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"rms_norm_eps": 1e-2}, False),
        ({"rope_parameters": {"rope_theta": 500.0}}, False),
        ({"hidden_act": "gelu"}, False),
        ({"attention_dropout": 0.0}, True),  # as it was
        ({"transformers_version": "4.30.0", "architectures": ["LlamaForCausalLM"], "use_cache": False}, True),
        ({"dtype": "float16", "_name_or_path": "elsewhere"}, True),
    ],
)
def test_fingerprint_and_cache_know_the_settings_that_change_activations(llama, plain, tmp_path, change, same):
    other = changed(llama, tmp_path / "copy", change)
    assert (other.fingerprint == plain.fingerprint) == same
    rows, hook = np.arange(1, 65).reshape(4, 16), plain.hook_point("mlp_out", 1)
    first, second = (open_source(model, rows, [hook], tmp_path / "cache") for model in (plain, other))
    assert (first.folder == second.folder) == (first.content == second.content) == same
    live = other.activations(torch.from_numpy(rows), [hook])[hook]
    torch.testing.assert_close(second.read(np.arange(4))[hook].float(), live, rtol=2e-3, atol=2e-3)
    assert torch.equal(live, plain.activations(torch.from_numpy(rows), [hook])[hook]) == same


def test_sliding_window_belongs_to_the_fingerprint(tmp_path):
    folder = make_family(tmp_path / "gemma2", "gemma2")
    prints = [changed(folder, tmp_path / f"{n}", {"sliding_window": n}).fingerprint for n in (4, 8)]
    assert prints[1] == load_language_model(folder).fingerprint != prints[0]


def test_parameters_are_those_of_transformers(folder, model):
    """GPT-NeoX has its queries, keys and values in one tensor, of which TransformerLens makes three more."""
    assert load_language_model("pycode-2m").n_parameters == 2_238_464
    own = GPTNeoXForCausalLM.from_pretrained(folder)
    assert model.n_parameters == sum(weight.numel() for weight in own.parameters())
    assert model.n_parameters < sum(weight.numel() for weight in model.weights.parameters())


@pytest.mark.parametrize("family", ["gpt2", "gemma2"])
def test_tied_parameters_count_once(tmp_path, family):
    folder = make_family(tmp_path / family, family)
    own = AutoModelForCausalLM.from_pretrained(folder)
    assert load_language_model(folder).n_parameters == sum(weight.numel() for weight in own.parameters())
    assert own.lm_head.weight is own.get_input_embeddings().weight


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("no-such-model", {}, r"'no-such-model' is unknown: it is not bundled \(pycode-2m\).* not reached"),
        ("gelu-1l", {}, "model 'gelu-1l' is unknown: .* not reached"),
        ("a b/c d", {}, "'a b/c d' is unknown"),
        ("pycode-2m", {"device": "gpu"}, "device='gpu'.* allowed: cpu, cuda"),
        ("pycode-2m", {"device": "cuda"}, "device='cuda' is not on this machine"),
        ("pycode-2m", {"dtype": "int8"}, "dtype='int8'.* allowed: float32"),
    ],
)
def test_wrong_arguments_end_in_one_line(monkeypatch, name, options, said):
    def unreachable(*_, **__):
        raise ConnectionError("no network")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unreachable)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(InputError, match=said):
        load_language_model(name, **options)


@pytest.mark.parametrize(
    ("change", "layer", "said"),
    [
        ({"config.json": None}, None, "holds no config.json"),
        ({"model.safetensors": None}, None, "holds no model.safetensors"),
        ({"tokenizer.json": None}, None, "holds no tokenizer.json"),
        ({"model.safetensors": -100}, None, "does not load"),
        ({"architectures": ["FooForCausalLM"]}, None, "TransformerLens .* know its architecture, FooForCausalLM$"),
        ({"model.safetensors": 0}, 3, "layer = 3 must be 0 to 2 for the model"),
    ],
)
def test_spoiled_folders_are_refused_in_one_line(folder, tmp_path, change, layer, said):
    """``change``: how many bytes are left of a file, or a setting of config.json, with the weights emptied."""
    copy = shutil.copytree(folder, tmp_path / "copy")
    for name, value in change.items():
        if value is None:
            (copy / name).unlink()
        elif name == "architectures":
            config = json.loads((copy / "config.json").read_text())
            (copy / "config.json").write_text(json.dumps(config | {name: value}))
            (copy / "model.safetensors").write_bytes(b"")
        else:
            (copy / name).write_bytes((copy / name).read_bytes()[:value])
    with pytest.raises(InputError, match=said):
        load_language_model(copy, layer=layer)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda m, t: m.hook_point("mlp", 0), "site='mlp' is unknown; allowed: mlp_out"),
        (lambda m, t: m.hook_point("mlp_out", 3), "layer=3 .* allowed: 0 to 2"),
        (lambda m, t: m.hook_point("mlp_out", True), "layer=True"),
        (
            lambda m, t: m.activations(t, ["blocks.7.hook_mlp_out"]),
            "hook point 'blocks.7.hook_mlp_out' is not in .*, whose layers are 0 to 2; .*blocks.2.hook_mlp_out",
        ),
        (
            lambda m, t: m.loss(t, {"layers.1.mlp": torch.clone}),
            "hook point 'layers.1.mlp' is not in .*; near ones: blocks.1.hook_mlp_out, ",
        ),
        (
            lambda m, t: m.activations(t, ["blocks.0.attn.qkv.hook_out"]),
            "hook point 'blocks.0.attn.qkv.hook_out' .* is not reached",
        ),
        (lambda m, t: m.loss(t, {"blocks.0.attn.qkv.hook_out": torch.zeros_like}), "is not reached"),
        (lambda m, t: m.loss(t.repeat(1, 2)), "rows of 40 tokens are longer than the 32"),
        (lambda m, t: m.loss(t.float()), "tokens must be int64"),
    ],
)
def test_wrong_uses_end_in_one_line(model, call, said):
    with pytest.raises(InputError, match=said):
        call(model, torch.zeros((3, 20), dtype=torch.int64))
