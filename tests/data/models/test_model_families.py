"""Models of each family, made here and loaded from a folder, give what transformers itself computes."""

import pytest
import torch
from helpers.tiny_language_model import FAMILIES, WITH_BOS, make_family
from transformers import AutoModelForCausalLM

from sae_utils.data.models import SITES
from sae_utils.data.models.language_model import load_language_model
from sae_utils.data.text import row_start

PATHS = {"gpt2": ("transformer.h", "transformer.ln_f"), "gpt_neox": ("gpt_neox.layers", "gpt_neox.final_layer_norm")}
POINTS = [(site, layer) for site in SITES for layer in range(3)]


class Family:
    """One model by both roads, and some tokens."""

    def __init__(self, folder, family):
        self.name, self.folder = family, make_family(folder, family)
        self.model = load_language_model(folder)
        self.reference = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
        blocks, norm = PATHS.get(family, ("model.layers", "model.norm"))
        self.blocks, self.norm = self.reference.get_submodule(blocks), self.reference.get_submodule(norm)
        self.tokens = torch.randint(300, (3, 20), generator=torch.Generator().manual_seed(1))
        self.tokens[:, 7] = self.model.tokenizer.eos_token_id  # TransformerLens pads with it; here it is a token

    def adds(self, block):
        """The module whose output is added to the residual stream after the MLP."""
        return getattr(block, "post_feedforward_layernorm", block.mlp)

    @torch.no_grad()
    def logits(self):
        """transformers' own."""
        return self.reference(self.tokens).logits


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory):
    return Family(tmp_path_factory.mktemp(request.param), request.param)


@torch.no_grad()
def own_activations(family):
    """resid_pre from the hidden states, of which the last is after the final norm; the rest from forward hooks."""
    found, handles = {}, []
    keep = found.__setitem__
    for i, block in enumerate(family.blocks):
        handles.append(
            family.adds(block).register_forward_hook(lambda _m, _x, y, i=i: keep(f"blocks.{i}.hook_mlp_out", y))
        )
    handles.append(family.norm.register_forward_pre_hook(lambda _m, x: keep("last", x[0])))
    hidden = family.reference(family.tokens, output_hidden_states=True).hidden_states
    for handle in handles:
        handle.remove()
    streams = [*hidden[:-1], found.pop("last")]
    torch.testing.assert_close(family.norm(streams[-1]), hidden[-1])
    for i in range(len(family.blocks)):
        found |= {f"blocks.{i}.hook_resid_pre": streams[i], f"blocks.{i}.hook_resid_post": streams[i + 1]}
    return found


def test_every_hook_point_gives_the_hidden_states_of_transformers(family):
    expected = own_activations(family)
    names = [family.model.hook_point(*point) for point in POINTS]
    together = family.model.activations(family.tokens, names)
    assert set(together) == set(expected) == set(names)
    for name in names:
        torch.testing.assert_close(together[name], expected[name], rtol=1e-5, atol=2e-5)
        alone = family.model.activations(family.tokens, [name])[name]
        torch.testing.assert_close(alone, expected[name], rtol=1e-5, atol=2e-5)


@torch.no_grad()
def test_mlp_out_is_what_the_mlp_adds_to_the_residual_stream(family):
    mlp_out, resid_post = names = ["blocks.1.hook_mlp_out", "blocks.1.hook_resid_post"]
    given = family.model.activations(family.tokens, names)
    handle = family.adds(family.blocks[1]).register_forward_hook(lambda _m, _x, y: torch.zeros_like(y))
    without = family.reference(family.tokens, output_hidden_states=True).hidden_states[2]
    handle.remove()
    torch.testing.assert_close(given[resid_post], without + given[mlp_out], rtol=1e-4, atol=1e-4)


def test_logits_and_loss_are_those_of_transformers_and_identity_leaves_them(family):
    logits = family.model.logits(family.tokens)
    torch.testing.assert_close(logits, family.logits(), rtol=1e-4, atol=1e-4)
    log_p = family.logits().double().log_softmax(-1)
    expected = -log_p[:, :-1].gather(2, family.tokens[:, 1:, None])[..., 0]
    torch.testing.assert_close(family.model.loss(family.tokens).double(), expected, rtol=1e-5, atol=1e-5)
    same = {family.model.hook_point(*point): torch.clone for point in POINTS}
    assert torch.equal(family.model.logits(family.tokens, same), logits)
    assert torch.equal(family.model.loss(family.tokens, same), family.model.loss(family.tokens))


@pytest.mark.parametrize(("site", "layer"), POINTS)
def test_zeros_are_what_a_module_that_gives_zeros_makes_of_the_logits(family, site, layer):
    replaced = family.model.logits(family.tokens, {family.model.hook_point(site, layer): torch.zeros_like})
    block = family.blocks[layer]
    if site == "resid_pre":
        handle = block.register_forward_pre_hook(
            lambda _m, x, k: ((torch.zeros_like(x[0]), *x[1:]), k), with_kwargs=True
        )
    else:
        module = block if site == "resid_post" else family.adds(block)
        handle = module.register_forward_hook(
            lambda _m, _x, y: (torch.zeros_like(y[0]), *y[1:]) if isinstance(y, tuple) else torch.zeros_like(y)
        )
    expected = family.logits()
    handle.remove()
    torch.testing.assert_close(replaced, expected, rtol=1e-4, atol=1e-4)
    assert (replaced - family.logits()).abs().max() > 0.1
    torch.testing.assert_close(family.model.logits(family.tokens), family.logits(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_loads_and_stays_close(family, dtype):
    model = load_language_model(family.folder, dtype=dtype)
    assert {weight.dtype for weight in model.weights.parameters()} == {model.dtype} == {getattr(torch, dtype)}
    names = [model.hook_point(*point) for point in POINTS]
    halves, wholes = (m.activations(family.tokens, names) for m in (model, family.model))
    for name in names:
        assert halves[name].dtype == model.dtype
        assert (halves[name].float() - wholes[name]).norm() < 0.05 * wholes[name].norm()
    logits = model.logits(family.tokens)
    assert logits.dtype == torch.float32
    assert (logits - family.logits()).norm() < 0.05 * family.logits().norm()


def test_tokenizer_is_as_its_makers_left_it(family):
    own = family.model.tokenizer
    assert row_start(own) == (own.bos_token_id if family.name in WITH_BOS else None)
    assert row_start(family.model.bridge.tokenizer) == own.bos_token_id, "TransformerLens puts one there always"
