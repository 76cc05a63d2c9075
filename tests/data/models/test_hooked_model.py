"""GELU-1L is of no Hugging Face architecture: a HookedTransformer behind the same class, by the same function."""

import pytest
import torch
from helpers.tiny_language_model import TEXTS, family_tokenizer
from transformer_lens import HookedTransformer, HookedTransformerConfig

from sae_utils.data.models import hub
from sae_utils.data.models.language_model import SITES, load_language_model
from sae_utils.data.text.row_start import row_start
from sae_utils.errors import InputError


@pytest.fixture(scope="module")
def hooked(tmp_path_factory):
    """Its tokenizer comes from a folder, for TransformerLens loads it again to have the beginning-of-text token."""
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer = family_tokenizer("gpt_neox")
    tokenizer.save_pretrained(folder)
    tokenizer.init_kwargs["name_or_path"] = str(folder)
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


@pytest.fixture
def model(asked):
    return load_language_model("gelu-1l")


@pytest.fixture
def tokens():
    return torch.randint(300, (3, 20), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", ["gelu-1l", "NeelNanda/GELU_1L512W_C4_Code"])
def test_name_goes_to_transformer_lens_without_processing(asked, hooked, name):
    model = load_language_model(name, dtype="bfloat16")
    assert asked == [("NeelNanda/GELU_1L512W_C4_Code", {"device": "cpu", "dtype": torch.bfloat16})]
    assert model.name == name and model.weights is model.bridge is hooked
    assert not any(weight.requires_grad for weight in hooked.parameters())


def test_what_it_is_known_by(model):
    assert (model.n_layers, model.d_model, model.context, model.n_vocab) == (1, 16, 32, 300)
    assert (model.device, model.dtype) == (torch.device("cpu"), torch.float32)
    assert len(model.fingerprint) == 64
    assert row_start(model.tokenizer) == model.tokenizer.bos_token_id == model.tokenizer(TEXTS[0])["input_ids"][0]


@torch.no_grad()
def test_activations_and_logits_are_those_of_its_definition(model, hooked, tokens):
    given = model.activations(tokens, [model.hook_point(site, 0) for site in SITES])
    pre, mlp, post = (given[f"blocks.0.hook_{site}"] for site in ("resid_pre", "mlp_out", "resid_post"))
    block = hooked.blocks[0]
    close = {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(pre, hooked.W_E[tokens] + hooked.W_pos[:20], **close)
    normed = block.ln1(pre)
    middle = pre + block.attn(normed, normed, normed)
    inner = torch.nn.functional.gelu(block.ln2(middle) @ block.mlp.W_in + block.mlp.b_in)
    torch.testing.assert_close(mlp, inner @ block.mlp.W_out + block.mlp.b_out, **close)
    torch.testing.assert_close(post, middle + mlp, **close)
    expected = hooked.ln_final(post) @ hooked.W_U + hooked.b_U
    torch.testing.assert_close(model.logits(tokens), expected, **close)


def test_replacing_by_the_same_changes_nothing_and_by_zeros_does(model, tokens):
    logits = model.logits(tokens)
    for site in SITES:
        point = model.hook_point(site, 0)
        assert torch.equal(model.logits(tokens, {point: torch.clone}), logits)
        assert (model.logits(tokens, {point: torch.zeros_like}) - logits).abs().max() > 0.1
    assert model.loss(tokens).shape == (3, 19)


def test_wrong_uses_end_in_one_line(asked, model, tokens):
    with pytest.raises(InputError, match="'layers.0.mlp' is not in gelu-1l, .* near ones: blocks.0.hook_mlp_out"):
        model.activations(tokens, ["layers.0.mlp"])
    with pytest.raises(InputError, match="layer=1 is not in gelu-1l; allowed: 0 to 0"):
        model.hook_point("resid_post", 1)


def test_hub_out_of_reach_is_one_line(monkeypatch):
    monkeypatch.setattr(hub, "why_not", lambda kind, name, revision: "the Hugging Face hub was not reached")
    with pytest.raises(InputError, match="model 'gelu-1l' is unknown: .* not reached"):
        load_language_model("gelu-1l")
