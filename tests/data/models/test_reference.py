"""Checkpoints that lack something, and families that TransformerLens computes otherwise, are refused when they load."""

import json
from pathlib import Path

import pytest
import torch
from helpers.tiny_language_model import make_family
from safetensors.torch import load_file, save_file
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoModelForCausalLM

from sae_utils.data.models import reference
from sae_utils.data.models.language_model import load_language_model
from sae_utils.errors import InputError

WEIGHT = "model.layers.1.mlp.down_proj.weight"


@pytest.fixture
def llama(tmp_path):
    return make_family(tmp_path / "llama", "llama")


def rewrite(file: Path, change) -> None:
    save_file(change(load_file(file)), file, {"format": "pt"})


def without(*lost):
    return lambda tensors: {name: tensor for name, tensor in tensors.items() if name not in lost}


def prefixed(tensors):
    return {f"lm.{name}": tensor for name, tensor in tensors.items()}


def renamed(tensors):
    return {name.replace("down_proj", "down"): tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without(WEIGHT), f"its weights lack {WEIGHT}$"),
        (without("lm_head.weight"), "its weights lack lm_head.weight$"),
        (
            prefixed,
            "its weights lack lm_head.weight, model.embed_tokens.weight, .* and 26 more, "
            "and hold lm.lm_head.weight, .* and 26 more, which the model does not have$",
        ),
        (renamed, r"its weights lack model.layers.0.*, and hold model.layers.0.mlp.down.weight, .*, which the model"),
        (
            lambda tensors: tensors | {"lm_head.weight": torch.zeros(299, 16)},
            r"lm_head.weight is \[299, 16\] in its weights and \[301, 16\] by its config$",
        ),
        (
            lambda tensors: tensors | {WEIGHT: torch.full((16, 32), torch.nan)},
            "its logits are not finite in float32$",
        ),
    ],
)
def test_weights_that_are_not_all_there_are_refused_by_name(llama, change, said):
    rewrite(llama / "model.safetensors", change)
    with pytest.raises(InputError, match=f"model '{llama}': {said}"):
        load_language_model(llama)


def test_a_tensor_that_no_shard_holds_is_missing(llama):
    model = AutoModelForCausalLM.from_pretrained(llama)
    (llama / "model.safetensors").unlink()
    model.save_pretrained(llama, max_shard_size="5KB")
    assert load_language_model(llama).n_parameters == sum(weight.numel() for weight in model.parameters())
    index = llama / "model.safetensors.index.json"
    record = json.loads(index.read_text())
    rewrite(llama / record["weight_map"].pop(WEIGHT), without(WEIGHT))
    index.write_text(json.dumps(record))
    with pytest.raises(InputError, match=f"lack {WEIGHT}$"):
        load_language_model(llama)


def test_tensors_that_are_tied_or_made_are_not_missing_and_others_do_not_matter(tmp_path):
    gpt2 = make_family(tmp_path / "gpt2", "gpt2")
    assert "lm_head.weight" not in load_file(gpt2 / "model.safetensors")
    plain = load_language_model(gpt2)
    rewrite(
        gpt2 / "model.safetensors",
        lambda x: x | {"transformer.h.0.attn.masked_bias": torch.ones(1), "v": torch.ones(2)},
    )
    assert load_language_model(gpt2).fingerprint == plain.fingerprint


OTHERWISE = [("cohere", "float32"), ("cohere2", "float32"), ("hunyuan", "float32")]


@pytest.mark.parametrize(("family", "dtype"), [*OTHERWISE, ("cohere", "float16"), ("hunyuan", "bfloat16")])
def test_a_family_that_is_computed_otherwise_is_refused(tmp_path, family, dtype):
    folder = make_family(tmp_path / "model", family)
    said = (
        "TransformerLens computes [A-z0-9]+ForCausalLM otherwise than transformers does: .* differ by [0-9.]+ of their"
    )
    with pytest.raises(InputError, match=said):
        load_language_model(folder, dtype=dtype)


@pytest.mark.parametrize(("family", "dtype"), [("qwen3_next", "float32"), ("olmo", "bfloat16")])
def test_a_family_that_does_not_run_is_refused(tmp_path, family, dtype):
    folder = make_family(tmp_path / "model", family)
    with pytest.raises(InputError, match="loads [A-z0-9]+ForCausalLM and fails in its first forward pass: "):
        load_language_model(folder, dtype=dtype)


def test_a_site_that_a_family_does_not_have_is_not_offered(tmp_path):
    model = load_language_model(make_family(tmp_path / "model", "mamba"))
    tokens = torch.zeros((1, 4), dtype=torch.int64)
    assert model.activations(tokens, [model.hook_point("resid_post", 1)])["blocks.1.hook_resid_post"].shape == (
        1,
        4,
        16,
    )
    with pytest.raises(InputError, match="site='mlp_out' is not in layer 1 of .*; allowed: resid_pre, resid_post$"):
        model.hook_point("mlp_out", 1)
    with pytest.raises(InputError, match="near ones: ") as error:
        model.activations(tokens, ["blocks.1.hook_mlp_out"])
    offered = str(error.value).partition("near ones: ")[2].split(", ")
    assert len(offered) == 3 and all(name in model.bridge.hook_dict for name in offered)


@pytest.mark.parametrize(
    ("weight", "what"),
    [
        ("model.embed_tokens.weight", "blocks.0.hook_in"),
        (WEIGHT, "blocks.1.mlp.hook_out"),
        ("lm_head.weight", "logits"),
    ],
)
def test_what_differs_first_is_named_with_its_share(llama, weight, what):
    """The weight of a place is scaled between the two passes, and the place's activations with it."""
    loader = reference.Loader("mine", torch.device("cpu"))
    bridge = TransformerBridge.boot_transformers(
        str(llama), model_class=loader, device="cpu", dtype=torch.float32
    ).eval()
    reference.check_same("mine", bridge, loader.reference)
    with torch.no_grad():
        loader.tensors[weight].mul_(1.0001)
        reference.check_same("mine", bridge, loader.reference)
        loader.tensors[weight].mul_(1.01 / 1.0001)
    said = f"model 'mine': .* {what} differ by 0.01 of their norm; rounding in float32 may be 0.001$"
    with pytest.raises(InputError, match=said):
        reference.check_same("mine", bridge, loader.reference)
