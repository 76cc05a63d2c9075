"""An SAE for centred streams, folded for streams that keep their mean."""

import pytest
import torch
from helpers.foreign_files import N_LATENTS, activations, assert_same, ours

from sae_utils.saes.formats.centring import centred


@pytest.mark.parametrize("architecture", ["relu", "gated", "topk", "batch_topk", "jump_relu"])
def test_streams_with_their_mean_get_the_code_of_those_without(architecture):
    """With a mean and a scale in the SAE, for each member, and whatever is added to all dimensions."""
    stack, x = ours(architecture, (1, 2)), activations()
    before = {name: t.clone() for name, t in stack.state_dict().items()}
    without = x - x.mean(-1, keepdim=True)
    folded = centred(stack)
    with torch.no_grad():
        code = stack.encode(without).dense(N_LATENTS)
        assert (code != 0).any() and (code == 0).any()
        for same in (x, without, x + 5):
            assert_same(folded.encode(same).dense(N_LATENTS), code)
            assert_same(folded(same), stack(without))
            assert_same(centred(folded)(same), stack(without))
        assert (stack(x) - stack(without)).abs().max() > 0.1
    assert (folded.config, folded.seeds, folded.hook_point) == (stack.config, stack.seeds, stack.hook_point)
    assert all(torch.equal(t, before[name]) for name, t in stack.state_dict().items())


@pytest.mark.filterwarnings("ignore:HookedTransformer is deprecated")
@torch.no_grad()
def test_transformer_lens_centres_each_residual_stream():
    """What the SAEs saw that were trained with its default of the time: each stream less its mean over dimensions."""
    from transformer_lens import HookedTransformer, HookedTransformerConfig

    cfg = HookedTransformerConfig(
        n_layers=2, d_model=8, n_ctx=6, d_head=4, n_heads=2, d_vocab=11, act_fn="gelu", normalization_type="LN", seed=0
    )
    model, tokens = HookedTransformer(cfg), torch.arange(12).reshape(2, 6) % 11
    for parameter in model.parameters():
        parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel())))
    hooks = [f"blocks.{layer}.hook_resid_{site}" for layer in range(2) for site in ("pre", "mid", "post")]
    raw = model.run_with_cache(tokens, names_filter=hooks)[1]
    model.process_weights_(fold_ln=False, center_writing_weights=True, center_unembed=False)
    processed = model.run_with_cache(tokens, names_filter=hooks)[1]
    for hook in hooks:
        assert raw[hook].mean(-1).abs().max() > 0.1
        assert_same(processed[hook], raw[hook] - raw[hook].mean(-1, keepdim=True))
