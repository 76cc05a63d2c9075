"""GELU-1L is of no Hugging Face architecture: a HookedTransformer behind the same class, by the same function."""

import pytest
import torch
from helpers.tiny_language_model import TEXTS, family_tokenizer
from transformer_lens import HookedTransformer, HookedTransformerConfig

from sae_utils.data.models import SITES, hub
from sae_utils.data.models.language_model import load_language_model
from sae_utils.data.text import row_start


@pytest.fixture
def hooked(tmp_path):
    """Its tokenizer comes from a folder, for TransformerLens loads it again to have the beginning-of-text token."""
    tokenizer = family_tokenizer("gpt_neox")
    tokenizer.save_pretrained(tmp_path)
    tokenizer.init_kwargs["name_or_path"] = str(tmp_path)
    sizes = {"n_layers": 1, "d_model": 16, "n_ctx": 32, "d_head": 8, "n_heads": 2, "d_mlp": 32, "d_vocab": 300}
    config = HookedTransformerConfig(**sizes, act_fn="gelu", normalization_type="LN", seed=0, device="cpu")
    model = HookedTransformer(config, tokenizer=tokenizer)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.2 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel()))
    return model


@pytest.fixture
def asked(monkeypatch, hooked):
    """What TransformerLens was asked for, while the hub is said to be there."""
    asked = []

    def from_pretrained_no_processing(name, **options):
        asked.append((name, options))
        return hooked

    monkeypatch.setattr(HookedTransformer, "from_pretrained_no_processing", from_pretrained_no_processing)
    monkeypatch.setattr(hub, "why_not", lambda kind, name, revision: None)
    return asked


@pytest.mark.parametrize("name", ["gelu-1l", "NeelNanda/GELU_1L512W_C4_Code"])
def test_name_goes_to_transformer_lens_without_processing(asked, hooked, name):
    model = load_language_model(name, dtype="bfloat16")
    assert asked == [("NeelNanda/GELU_1L512W_C4_Code", {"device": "cpu", "dtype": torch.bfloat16})]
    assert model.name == name and model.weights is model.bridge is hooked
    assert not any(weight.requires_grad for weight in hooked.parameters())
    assert (model.n_layers, model.d_model, model.context, model.n_vocab) == (1, 16, 32, 300)
    assert (model.device, model.dtype, len(model.fingerprint)) == (torch.device("cpu"), torch.float32, 64)
    assert row_start(model.tokenizer) == model.tokenizer.bos_token_id == model.tokenizer(TEXTS[0])["input_ids"][0]


@torch.no_grad()
def test_activations_and_logits_are_those_of_its_definition(asked, hooked):
    model = load_language_model("gelu-1l")
    tokens = torch.randint(300, (3, 20), generator=torch.Generator().manual_seed(1))
    points = [model.hook_point(site, 0) for site in SITES]
    given = model.activations(tokens, points)
    pre, mlp, post = (given[f"blocks.0.hook_{site}"] for site in ("resid_pre", "mlp_out", "resid_post"))
    block = hooked.blocks[0]
    close = {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(pre, hooked.W_E[tokens] + hooked.W_pos[:20], **close)
    normed = block.ln1(pre)
    middle = pre + block.attn(normed, normed, normed)
    inner = torch.nn.functional.gelu(block.ln2(middle) @ block.mlp.W_in + block.mlp.b_in)
    torch.testing.assert_close(mlp, inner @ block.mlp.W_out + block.mlp.b_out, **close)
    torch.testing.assert_close(post, middle + mlp, **close)
    logits = model.logits(tokens)
    torch.testing.assert_close(logits, hooked.ln_final(post) @ hooked.W_U + hooked.b_U, **close)
    for point in points:
        assert torch.equal(model.logits(tokens, {point: torch.clone}), logits)
        assert (model.logits(tokens, {point: torch.zeros_like}) - logits).abs().max() > 0.1
