"""SAELens files, written from their key lists, against SAELens's formulas written out."""

import json
from functools import partial

import pytest
import torch
from helpers.foreign_files import (
    D_IN,
    N_LATENTS,
    K,
    above,
    activations,
    assert_same,
    by_hand,
    check_against,
    gated_by_hand,
    gated_weights,
    jump_weights,
    ours,
    refused,
    top_k,
    weights,
    write,
)

from sae_utils.errors import InputError
from sae_utils.saes import ARCHITECTURES
from sae_utils.saes.ensembles import Ensemble
from sae_utils.saes.formats.read import read_sae
from sae_utils.saes.formats.saelens import centred, write_saelens

FILE = "sae_weights.safetensors"
W, X = weights(), activations()
CENTRED = X - X.mean(-1, keepdim=True)
OF_ANY_SIGN = jump_weights()
OF_ANY_SIGN["threshold"][:3] = torch.tensor([0.0, -1.0, 1e-30])
FLAT = {"hook_point": "blocks.8.hook_resid_pre", "d_in": D_IN, "d_sae": N_LATENTS, "hook_point_head_index": None}


def settings(architecture, **changes):
    """``cfg.json`` of version 6."""
    metadata = {"sae_lens_version": "6.54.12", "hook_name": "blocks.8.hook_resid_pre", "model_name": "gpt2"}
    metadata |= changes.pop("metadata", {})
    cfg = {"architecture": architecture, "d_in": D_IN, "d_sae": N_LATENTS, "dtype": "float32", "device": "cpu"}
    cfg |= {"apply_b_dec_to_input": True, "normalize_activations": "none", "reshape_activations": "none"}
    return {**cfg, "metadata": metadata, **changes}


@pytest.mark.parametrize("subtract", [True, False])
@pytest.mark.parametrize(
    ("theirs", "own", "w", "formula"),
    [
        ("standard", "relu", W, by_hand),
        ("gated", "gated", gated_weights(), gated_by_hand),
        ("topk", "topk", W, partial(by_hand, activation=top_k)),
        ("jumprelu", "jump_relu", OF_ANY_SIGN, partial(by_hand, activation=above(OF_ANY_SIGN["threshold"]))),
    ],
)
def test_an_encoder_that_subtracts_b_dec_or_does_not(tmp_path, theirs, own, w, formula, subtract):
    changes = {"k": K} if theirs == "topk" else {}
    write(tmp_path, FILE, w, settings(theirs, apply_b_dec_to_input=subtract, **changes))
    sae = read_sae(tmp_path)
    check_against(sae, *formula(w, X, subtract=subtract))
    assert (sae.config.architecture, sae.hook_point) == (own, "blocks.8.hook_resid_pre")
    assert sae.config.k == changes.get("k") and not sae.config.unit_norm_decoder


@pytest.mark.parametrize("subtract", [True, False])
@pytest.mark.parametrize(
    ("theirs", "w", "activation"),
    [("topk", W, top_k), ("batchtopk", W | {"topk_threshold": torch.tensor(0.9, dtype=torch.float64)}, above(0.9))],
)
def test_latents_chosen_by_value_times_decoder_norm(tmp_path, theirs, w, activation, subtract):
    """A threshold is in units of that product already."""
    how = {"k": float(K), "rescale_acts_by_decoder_norm": True, "apply_b_dec_to_input": subtract}
    write(tmp_path, FILE, w, settings(theirs, **how))
    norms = W["W_dec"].norm(dim=-1)
    code, _ = by_hand(W, X, lambda pre: activation(pre * norms), subtract)
    sae = read_sae(tmp_path)
    check_against(sae, code, (code / norms) @ W["W_dec"] + W["b_dec"])
    assert sae.config.k == K and sae.config.unit_norm_decoder


@pytest.mark.parametrize("details", [None, {"k": float(K)}, {"k": K + 0.5}])
def test_batchtopk_saved_as_jumprelu(tmp_path, details):
    """One threshold for all; with the k of its training it is BatchTopK again, without a whole one a JumpReLU."""
    metadata = {"training_architecture": "batchtopk", "training_architecture_details": details}
    w = W | {"threshold": torch.full((N_LATENTS,), 0.7)}
    write(tmp_path, FILE, w, settings("jumprelu", metadata=metadata))
    sae = read_sae(tmp_path)
    check_against(sae, *by_hand(W, X, above(0.7)))
    whole = details == {"k": K}
    assert (sae.config.architecture, sae.config.k) == (("batch_topk", K) if whole else ("jump_relu", None))


@pytest.mark.parametrize(
    ("folder", "said", "seen"),
    [
        ("any", {"metadata": {"model_from_pretrained_kwargs": {"center_writing_weights": True}}}, CENTRED),
        ("models--jbloom--GPT2-Small-Feature-Splitting-Experiment-Layer-8/snapshots/0a1b/blocks.8", {}, CENTRED),
        ("GPT2-Small-SAEs-Reformatted/blocks.8.hook_resid_pre", {}, CENTRED),
        ("someone/copies/blocks.8.hook_resid_pre_768", {}, X),
    ],
)
def test_saes_of_centred_streams_are_known_by_settings_or_by_repository(tmp_path, folder, said, seen):
    """They give the code of centred streams for streams that keep their mean; a copy elsewhere is what it says."""
    write(tmp_path / folder, FILE, W, FLAT | said)
    for x in (X, seen):
        check_against(read_sae(tmp_path / folder), *by_hand(W, seen), x)


def test_a_repository_known_to_scale_each_token_is_refused(tmp_path):
    folder = tmp_path / "Mistral-7B-Residual-Stream-SAEs" / "mistral_7b_layer_8"
    write(folder, FILE, W, FLAT | {"normalize_activations": "none"})
    assert "normalize_activations='constant_norm_rescale'" in refused(folder)


TOPK_BEFORE = {"architecture": "standard", "activation_fn_kwargs": {"k": K}}  # then an activation


@pytest.mark.parametrize(
    ("changes", "activation"),
    [
        ({}, torch.relu),
        ({"normalize_activations": False}, torch.relu),
        ({"activation_fn_str": "relu"}, torch.relu),
        (TOPK_BEFORE | {"activation_fn": "topk"}, top_k),
        (TOPK_BEFORE | {"activation_fn_str": "topk"}, top_k),
    ],
)
def test_before_version_6(tmp_path, changes, activation):
    write(tmp_path, FILE, W | {"scaling_factor": torch.ones(N_LATENTS)}, FLAT | changes)
    sae = read_sae(tmp_path)
    check_against(sae, *by_hand(W, X, activation))
    assert sae.hook_point == "blocks.8.hook_resid_pre"


def test_a_fine_tuned_scaling_factor_is_refused(tmp_path):
    write(tmp_path, FILE, W | {"scaling_factor": torch.full((N_LATENTS,), 1.1)}, FLAT)
    assert "scaling_factor" in refused(tmp_path)


def test_scaled_inputs_with_their_factor(tmp_path):
    write(tmp_path, FILE, W, settings("standard", normalize_activations="expected_average_only_in"))
    assert "needs a scaling_factor" in refused(tmp_path)
    (tmp_path / "activation_scaler.json").write_text(json.dumps({"scaling_factor": 0.4}))
    code, reconstruction = by_hand(W, 0.4 * X)
    check_against(read_sae(tmp_path), code, reconstruction / 0.4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_is_written_comes_back(tmp_path, architecture):
    """On raw activations: nothing of our normalisation is left for the other library to know."""
    sae = ours(architecture)
    assert sae.mean.abs().min() > 0 and sae.scale != 1
    write_saelens(sae, tmp_path, "pythia-160m")
    back = read_sae(tmp_path)
    with torch.no_grad():
        assert_same(back(X), sae(X))
    assert (back.config, back.seeds, back.hook_point) == (sae.config, sae.seeds, sae.hook_point)
    cfg = json.loads((tmp_path / "cfg.json").read_text())
    assert cfg["normalize_activations"] == "none" and cfg["apply_b_dec_to_input"] is True
    assert cfg["metadata"]["model_name"] == "pythia-160m"


@pytest.mark.parametrize(
    ("model_name", "name"),
    [
        ("pythia-160m", "blocks.5.hook_mlp_out"),
        ("google/gemma-2-2b", "blocks.5.mlp.hook_out"),
        (None, "blocks.5.mlp.hook_out"),
    ],
)
def test_the_name_of_a_place_is_that_of_the_model(tmp_path, model_name, name):
    write_saelens(ours("relu", hook_point="blocks.5.mlp.hook_out"), tmp_path, model_name)
    assert json.loads((tmp_path / "cfg.json").read_text())["metadata"]["hook_name"] == name


def test_stacks_and_ensembles_are_not_written(tmp_path):
    for what, said in ((ours("topk", (1, 2)), "a stack of 2"), (Ensemble.bag(ours("topk", (1, 2))), "an Ensemble")):
        with pytest.raises(InputError, match=said):
            write_saelens(what, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_streams_with_their_mean_get_the_code_of_those_without(architecture):
    """With a mean and a scale in the SAE, for each member, and whatever is added to all dimensions."""
    stack = ours(architecture, (1, 2))
    before = {name: t.clone() for name, t in stack.state_dict().items()}
    folded = centred(stack)
    with torch.no_grad():
        code = stack.encode(CENTRED).dense(N_LATENTS)
        assert (code != 0).any() and (code == 0).any()
        for same in (X, CENTRED, X + 5):
            assert_same(folded.encode(same).dense(N_LATENTS), code)
            assert_same(folded(same), stack(CENTRED))
            assert_same(centred(folded)(same), stack(CENTRED))
        assert (stack(X) - stack(CENTRED)).abs().max() > 0.1
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
