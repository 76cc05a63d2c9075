"""Losses, replacements and what a model is known by; wrong names end in one line (activations: test_model_families)."""

import json
import shutil
from pathlib import Path

import huggingface_hub
import pytest
import torch
from helpers.tiny_language_model import make_tiny
from transformers import AutoModelForCausalLM

from sae_utils.data.models.language_model import SITES, load_language_model
from sae_utils.errors import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def model(folder):
    return load_language_model(folder)


@pytest.fixture(scope="module")
def reference(folder):
    return AutoModelForCausalLM.from_pretrained(folder).eval()


@pytest.fixture
def tokens(model):
    torch.manual_seed(1)
    return torch.randint(len(model.tokenizer), (3, 20))


@pytest.fixture
def unreachable(monkeypatch):
    def model_info(self, name, timeout):
        raise ConnectionError("no network")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)


def test_forward_pass_stops_after_the_last_layer_needed(model, tokens):
    ran = []
    handles = [
        block.register_forward_hook(lambda *_, i=i: ran.append(i))
        for i, block in enumerate(model.bridge.original_model.gpt_neox.layers)
    ]
    model.activations(tokens, [model.hook_point("mlp_out", 0)])
    for handle in handles:
        handle.remove()
    assert ran == [0]


@torch.no_grad()
def test_loss_is_the_cross_entropy_of_the_next_token(model, reference, tokens):
    log_p = reference(tokens).logits.double().log_softmax(-1)
    expected = -log_p[:, :-1].gather(2, tokens[:, 1:, None])[..., 0]
    torch.testing.assert_close(model.loss(tokens).double(), expected, rtol=1e-5, atol=1e-5)


def test_replacing_by_the_same_changes_nothing(model, tokens):
    same = {model.hook_point(site, layer): torch.clone for site in SITES for layer in range(model.n_layers)}
    assert torch.equal(model.loss(tokens, same), model.loss(tokens))
    assert torch.equal(model.loss(tokens), model.loss(tokens)), "a replacement outlived its call"


@torch.no_grad()
def test_zero_ablation_is_that_of_a_model_without_the_mlp(model, folder, tokens):
    ablated = AutoModelForCausalLM.from_pretrained(folder).eval()
    down = ablated.gpt_neox.layers[1].mlp.dense_4h_to_h
    down.weight.zero_()
    down.bias.zero_()
    log_p = ablated(tokens).logits.log_softmax(-1)
    expected = -log_p[:, :-1].gather(2, tokens[:, 1:, None])[..., 0]
    loss = model.loss(tokens, {"blocks.1.hook_mlp_out": torch.zeros_like})
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    assert (loss - model.loss(tokens)).abs().max() > 0.01


def test_fingerprint_tells_weights_apart(model, folder, tmp_path):
    assert load_language_model(folder).fingerprint == model.fingerprint
    assert load_language_model(make_tiny(tmp_path, seed=1)).fingerprint != model.fingerprint


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            {"name_or_path": "no-such-model"},
            r"'no-such-model' is unknown: it is not bundled \(pycode-2m\).* not reached",
        ),
        ({"name_or_path": "a b/c d"}, "'a b/c d' is unknown"),
        ({"name_or_path": "pycode-2m", "device": "gpu"}, "device='gpu'.* allowed: cpu, cuda"),
        ({"name_or_path": "pycode-2m", "dtype": "int8"}, "dtype='int8'.* allowed: float32"),
    ],
)
def test_wrong_arguments_end_in_one_line(unreachable, arguments, said):
    with pytest.raises(InputError, match=said) as error:
        load_language_model(**arguments)
    assert "\n" not in str(error.value)


def test_cuda_without_a_gpu_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(InputError, match="device='cuda' is not on this machine"):
        load_language_model("pycode-2m", device="cuda")


@pytest.fixture
def copy(folder, tmp_path):
    """The folder of the model again, to spoil."""
    return Path(shutil.copytree(folder, tmp_path / "copy"))


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "tokenizer.json"])
def test_folder_with_a_file_missing_is_refused(copy, missing):
    (copy / missing).unlink()
    with pytest.raises(InputError, match=f"holds no .*{missing}"):
        load_language_model(copy)


def test_truncated_weights_are_refused_in_one_line(copy):
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(InputError, match="does not load") as error:
        load_language_model(copy)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("architecture", "said"),
    [
        ("FooForCausalLM", "TransformerLens does not know its architecture, FooForCausalLM$"),
        ("CTRLLMHeadModel", "TransformerLens does not know its architecture, CTRLLMHeadModel$"),
        ("BertForMaskedLM", "is no causal language model: .* BertForMaskedLM, and none ends in ForCausalLM or"),
    ],
)
def test_folder_of_another_architecture_is_refused_before_its_weights(copy, architecture, said):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"architectures": [architecture]}))
    (copy / "model.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match=said):
        load_language_model(copy)


def test_layer_is_refused_before_the_weights(copy):
    assert load_language_model(copy, layer=2).n_layers == 3
    (copy / "model.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="layer = 3 must be 0 to 2 for the model"):
        load_language_model(copy, layer=3)


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
def test_wrong_uses_end_in_one_line(model, tokens, call, said):
    with pytest.raises(InputError, match=said):
        call(model, tokens)
