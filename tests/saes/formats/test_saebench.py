"""The adapter for SAEBench has what its evaluations ask of a custom SAE, and is the dictionary itself.

Written from sae_bench/custom_saes/README.md and from what the core, probing and SCR evaluations read.
"""

import copy
import json
from dataclasses import asdict

import pytest
import torch
from helpers.foreign_files import D_IN, N_LATENTS, activations, assert_same, ours

from sae_utils.errors import InputError
from sae_utils.saes import ARCHITECTURES
from sae_utils.saes.ensembles import Ensemble
from sae_utils.saes.formats.saebench import SAEBenchSAE


def boosted(architecture="topk"):
    stack = ours(architecture, (1, 2))
    return Ensemble([stack.dictionary(0), stack.dictionary(1)], sequential=True)


def dictionaries():
    yield from ((name, ours(name)) for name in ARCHITECTURES)
    stack = ours("topk", (1, 2, 3))
    yield "bagged", Ensemble.bag(stack)
    yield "weighted", Ensemble.bag(stack, weights=[0.5, -0.25, 1.5])
    yield "boosted", boosted()
    yield "boosted gated", boosted("gated")


CASES = [pytest.param(dictionary, id=name) for name, dictionary in dictionaries()]


def tokens(shape=(4, 16)):
    """Activations [batch, context, d_in], as the evaluations hand them over."""
    return activations(shape[0] * shape[1]).unflatten(0, shape)


@pytest.mark.parametrize("dictionary", CASES)
def test_the_evaluations_see_the_dictionary_itself(dictionary):
    """``evals/core`` counts active latents, measures reconstructions, and writes biases and settings as JSON."""
    sae, x, d_sae = SAEBenchSAE(dictionary, "pythia-70m-deduped", 16), tokens(), dictionary.config.n_latents
    assert sae.W_dec.shape == (d_sae, D_IN) == sae.W_enc.T.shape and isinstance(sae.W_dec, torch.nn.Parameter)
    assert sae.b_enc.shape == (d_sae,) and sae.b_dec.shape == (D_IN,)
    assert len(sae.b_mag if sae.cfg.architecture == "gated" else sae.b_enc) == d_sae
    assert sae.check_decoder_norms() and '"d_sae"' in json.dumps(asdict(sae.cfg))
    assert sae.cfg.hook_head_index is None and sae.cfg.hook_layer == int(sae.cfg.hook_name.split(".")[1])
    with torch.no_grad():
        expected = dictionary(x.flatten(0, 1))[:, 0]
        code = dictionary.encode(x.flatten(0, 1)).dense(d_sae)[:, 0]
        assert torch.equal(sae.encode(x).flatten(0, 1) > 0, code > 0)
        assert_same(sae.decode(sae.encode(x)).flatten(0, 1), expected)
        assert_same(sae(x).flatten(0, 1), expected)
        assert_same(sae(x[0, 0]), expected[0])


@pytest.mark.parametrize("dictionary", [case for case in CASES if not case.id.startswith("boosted")])
def test_the_encoder_weights_give_the_latents(dictionary):
    """Where all members read x, an active latent is what the exposed weights say; the gated by their own formula."""
    sae, x = SAEBenchSAE(dictionary, "pythia-70m-deduped"), activations()
    with torch.no_grad():
        code = sae.encode(x)
        if isinstance(dictionary, Ensemble):
            pre = torch.cat(
                [
                    weight.abs() * folded.pre_activations(x)[:, 0] * folded.W_dec[0].norm(dim=1)
                    for weight, folded in zip(dictionary.weights, dictionary.fold_normalisation().members, strict=True)
                ],
                dim=1,
            )
        elif dictionary.config.architecture == "gated":
            gate = (x - sae.b_dec) @ sae.W_enc + sae.b_enc
            assert_same(
                ((x - sae.b_dec) @ (sae.W_enc * dictionary.r_mag[0].exp()) + sae.b_mag).relu() * (gate > 0), code
            )
            return
        else:
            pre = (x - sae.b_dec) @ sae.W_enc + sae.b_enc
    active = code != 0
    assert active.any()
    assert_same(pre[active], code[active])


@pytest.mark.parametrize("dictionary", CASES)
def test_a_latent_is_ablated_along_its_decoder_row(dictionary):
    """SCR and TPP take latents away through W_dec; the gradient of ``decode`` reaches the latents."""
    sae, x = SAEBenchSAE(dictionary, "gemma-2-2b"), activations()
    acts = sae.encode(x).requires_grad_()
    latent = int((acts != 0).sum(0).argmax())
    less = acts.detach().clone()
    less[:, latent] = 0
    with torch.no_grad():
        moved = sae.decode(acts) - sae.decode(less)
    assert_same(moved, acts.detach()[:, latent, None] * sae.W_dec.detach()[latent], rtol=1e-4)
    sae.decode(acts).sum().backward()
    assert_same(acts.grad[0], sae.W_dec.detach().sum(1))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_another_dtype_chooses_the_same_latents(dtype):
    dictionary, x = ours("topk"), tokens()
    sae = SAEBenchSAE(dictionary, "gemma-2-2b")
    exact = sae.encode(x.to(dtype))
    assert sae.to(dtype=dtype) is sae and (sae.dtype, sae.cfg.dtype) == (dtype, str(dtype).split(".")[1])
    rounded = sae.encode(x.to(dtype))
    assert rounded.dtype == sae(x).dtype == dtype and sae.check_decoder_norms()
    assert torch.equal(rounded, exact.to(dtype))
    back = sae.to("cpu", torch.float32)
    assert torch.equal(back.encode(x.to(dtype)), exact) and back.cfg.device == "cpu"


def test_the_dictionary_follows_to_a_device():
    sae = SAEBenchSAE(ours("topk"), "gemma-2-2b").to("meta")
    assert sae.cfg.device == str(sae.device) == str(sae.encode(tokens()).device) == "meta"


def test_settings_are_those_of_a_custom_sae():
    sae = SAEBenchSAE(ours("jump_relu", hook_point="blocks.12.hook_resid_post"), "gemma-2-2b", 128, 1000, False)
    cfg = sae.cfg
    assert (cfg.model_name, cfg.hook_name, cfg.hook_layer) == ("gemma-2-2b", "blocks.12.hook_resid_post", 12)
    assert (cfg.d_in, cfg.d_sae, cfg.architecture) == (D_IN, N_LATENTS, "jumprelu")
    assert (cfg.context_size, cfg.training_tokens, cfg.prepend_bos) == (128, 1000, False)
    assert (cfg.metadata.hook_name, cfg.metadata.context_size) == (cfg.hook_name, 128)
    assert cfg.normalize_activations == "none" and cfg.seqpos_slice == (None,)
    cfg.dtype = "bfloat16"  # run_all_evals_custom_saes.py sets it
    assert SAEBenchSAE(ours("relu"), "m").cfg.architecture == "standard"


def test_the_dictionary_stays_as_it_was():
    dictionary = ours("topk")
    before = copy.deepcopy(dictionary.state_dict())
    sae = SAEBenchSAE(dictionary, "gemma-2-2b").to(torch.bfloat16)
    sae.encode(tokens())
    assert all(torch.equal(t, before[name]) for name, t in dictionary.state_dict().items())
    assert all(parameter.requires_grad for parameter in dictionary.parameters())


def test_a_dead_row_stays_finite():
    dictionary = ours("relu")
    with torch.no_grad():
        dictionary.W_dec[0, 3] = 0
        sae = SAEBenchSAE(dictionary, "gemma-2-2b")
        assert_same(sae(activations()), dictionary(activations())[:, 0])
    assert not sae.check_decoder_norms()


@pytest.mark.parametrize(
    ("dictionary", "said"),
    [(ours("topk", (1, 2)), "not a stack of 2: take .dictionary"), (ours("relu", hook_point=""), "'' names no layer")],
)
def test_what_saebench_does_not_take_is_refused(dictionary, said):
    with pytest.raises(InputError, match=said):
        SAEBenchSAE(dictionary, "gemma-2-2b")


def test_other_activations_are_refused():
    with pytest.raises(InputError, match="activations have 5 dimensions, the SAE has d_in=6"):
        SAEBenchSAE(ours("topk"), "gemma-2-2b").encode(torch.zeros(2, 5))
