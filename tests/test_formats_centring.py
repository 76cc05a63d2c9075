"""An SAE for centred streams, folded for streams that keep their mean."""

import pytest
import torch
from foreign_files import N_LATENTS, activations, assert_same, ours

from sae_utils.dictionary.formats.centring import centred


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
