"""SAELens files, written from their key lists, against SAELens's formulas written out here."""

import json

import pytest
import torch
from helpers.foreign_files import (
    D_IN,
    N_LATENTS,
    K,
    activations,
    assert_same,
    check_against,
    gated_weights,
    ours,
    refused,
    thresholds,
    top_k,
    weights,
    write,
)

from sae_utils.errors import InputError
from sae_utils.saes.ensembles import Ensemble
from sae_utils.saes.formats.read import read_sae
from sae_utils.saes.formats.saelens import centred, write_saelens

FILE = "sae_weights.safetensors"


def settings(architecture, **changes):
    """``cfg.json`` of version 6."""
    metadata = {"sae_lens_version": "6.54.12", "hook_name": "blocks.8.hook_resid_pre", "model_name": "gpt2"}
    metadata |= changes.pop("metadata", {})
    cfg = {"architecture": architecture, "d_in": D_IN, "d_sae": N_LATENTS, "dtype": "float32", "device": "cpu"}
    cfg |= {"apply_b_dec_to_input": True, "normalize_activations": "none", "reshape_activations": "none"}
    return {**cfg, "metadata": metadata, **changes}


def sae_in(x, w, subtract):
    return x - w["b_dec"] if subtract else x


@pytest.mark.parametrize("subtract", [True, False])
def test_standard(tmp_path, subtract):
    w, x = weights(), activations()
    write(tmp_path, FILE, w, settings("standard", apply_b_dec_to_input=subtract))
    code = (sae_in(x, w, subtract) @ w["W_enc"] + w["b_enc"]).relu()
    sae = read_sae(tmp_path)
    check_against(sae, code, code @ w["W_dec"] + w["b_dec"])
    assert (sae.config.architecture, sae.hook_point) == ("relu", "blocks.8.hook_resid_pre")
    assert not sae.config.unit_norm_decoder


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("model.layers.5", "blocks.5.hook_resid_post"),  # of a model that transformers runs
        ("transformer.h.5.mlp", "blocks.5.mlp.hook_out"),
        ("blocks.5.hook_out", "blocks.5.hook_resid_post"),  # TransformerBridge's other name
        ("blocks.5.hook_in", "blocks.5.hook_resid_pre"),
        ("model.layers.5.self_attn", "model.layers.5.self_attn"),
        ("ln_final.hook_normalized", "ln_final.hook_normalized"),
    ],
)
def test_places_have_one_name(tmp_path, name, place):
    write(tmp_path, FILE, weights(), settings("standard", metadata={"hook_name": name}))
    assert read_sae(tmp_path).hook_point == place


@pytest.mark.parametrize("subtract", [True, False])
def test_gated(tmp_path, subtract):
    w, x = gated_weights(), activations()
    write(tmp_path, FILE, w, settings("gated", apply_b_dec_to_input=subtract))
    gate = sae_in(x, w, subtract) @ w["W_enc"] + w["b_gate"] > 0
    code = gate * (sae_in(x, w, subtract) @ (w["W_enc"] * w["r_mag"].exp()) + w["b_mag"]).relu()
    check_against(read_sae(tmp_path), code, code @ w["W_dec"] + w["b_dec"])


@pytest.mark.parametrize("rescale", [True, False])
@pytest.mark.parametrize("subtract", [True, False])
def test_topk(tmp_path, rescale, subtract):
    w, x = weights(), activations()
    changes = {"k": K, "rescale_acts_by_decoder_norm": rescale, "apply_b_dec_to_input": subtract}
    write(tmp_path, FILE, w, settings("topk", **changes))
    norms = w["W_dec"].norm(dim=-1) if rescale else torch.ones(N_LATENTS)
    code = top_k((sae_in(x, w, subtract) @ w["W_enc"] + w["b_enc"]) * norms).relu()
    sae = read_sae(tmp_path)
    check_against(sae, code, (code / norms) @ w["W_dec"] + w["b_dec"])
    assert sae.config.k == K and sae.config.unit_norm_decoder == rescale


@pytest.mark.parametrize("subtract", [True, False])
def test_jumprelu_with_thresholds_of_any_sign(tmp_path, subtract):
    w, x = weights(), activations()
    w["threshold"] = thresholds()
    w["threshold"][:3] = torch.tensor([0.0, -1.0, 1e-30])
    write(tmp_path, FILE, w, settings("jumprelu", apply_b_dec_to_input=subtract))
    pre = sae_in(x, w, subtract) @ w["W_enc"] + w["b_enc"]
    code = pre.relu() * (pre > w["threshold"])
    sae = read_sae(tmp_path)
    check_against(sae, code, code @ w["W_dec"] + w["b_dec"])
    assert sae.config.architecture == "jump_relu" and torch.isfinite(sae.log_threshold).all()


@pytest.mark.parametrize("details", [None, {"k": float(K)}, {"k": K + 0.5}])
def test_batchtopk_saved_as_jumprelu(tmp_path, details):
    """One threshold for all; with the k of its training it is BatchTopK again, without a whole one a JumpReLU."""
    w, x = weights() | {"threshold": torch.full((N_LATENTS,), 0.7)}, activations()
    metadata = {"training_architecture": "batchtopk", "training_architecture_details": details}
    write(tmp_path, FILE, w, settings("jumprelu", metadata=metadata))
    pre = (x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]
    code = pre * (pre > 0.7)
    sae = read_sae(tmp_path)
    check_against(sae, code, code @ w["W_dec"] + w["b_dec"])
    whole = details == {"k": K}
    assert (sae.config.architecture, sae.config.k) == (("batch_topk", K) if whole else ("jump_relu", None))


def test_batchtopk_of_a_training_run(tmp_path):
    w, x = weights(), activations()
    w["topk_threshold"] = torch.tensor(0.9, dtype=torch.float64)
    write(tmp_path, FILE, w, settings("batchtopk", k=float(K), rescale_acts_by_decoder_norm=True))
    norms = w["W_dec"].norm(dim=-1)
    pre = ((x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]) * norms
    # Its threshold is in units of value times norm already.
    code = pre * (pre > 0.9)
    check_against(read_sae(tmp_path), code, (code / norms) @ w["W_dec"] + w["b_dec"])


def test_centred_residual_streams(tmp_path):
    """An SAE trained with center_writing_weights gives the same code for streams that keep their mean."""
    w, x = weights(), activations()
    metadata = {"model_from_pretrained_kwargs": {"center_writing_weights": True}}
    write(tmp_path, FILE, w, settings("standard", metadata=metadata))
    centred = x - x.mean(-1, keepdim=True)
    code = ((centred - w["b_dec"]) @ w["W_enc"] + w["b_enc"]).relu()
    for same in (x, centred):
        check_against(read_sae(tmp_path), code, code @ w["W_dec"] + w["b_dec"], same)


@pytest.mark.parametrize(
    "folder",
    [
        "models--jbloom--GPT2-Small-Feature-Splitting-Experiment-Layer-8/snapshots/0a1b/blocks.8.hook_resid_pre_768",
        "GPT2-Small-SAEs-Reformatted/blocks.8.hook_resid_pre",
        "someone/copies/blocks.8.hook_resid_pre_768",
    ],
)
def test_repositories_known_to_be_trained_on_centred_streams(tmp_path, folder):
    """Their files do not say so; a copy elsewhere is what its files say."""
    w, x = weights(), activations()
    write(tmp_path / folder, FILE, w, FLAT)
    seen = x if folder.startswith("someone") else x - x.mean(-1, keepdim=True)
    code = ((seen - w["b_dec"]) @ w["W_enc"] + w["b_enc"]).relu()
    check_against(read_sae(tmp_path / folder), code, code @ w["W_dec"] + w["b_dec"])


def test_a_repository_known_to_scale_each_token_is_refused(tmp_path):
    folder = tmp_path / "Mistral-7B-Residual-Stream-SAEs" / "mistral_7b_layer_8"
    write(folder, FILE, weights(), FLAT | {"normalize_activations": "none"})
    assert "normalize_activations='constant_norm_rescale'" in refused(folder)


FLAT = {"hook_point": "blocks.8.hook_resid_pre", "d_in": D_IN, "d_sae": N_LATENTS, "hook_point_head_index": None}


@pytest.mark.parametrize("changes", [{}, {"normalize_activations": False}, {"activation_fn_str": "relu"}])
def test_before_version_6(tmp_path, changes):
    w, x = weights(), activations()
    write(tmp_path, FILE, w | {"scaling_factor": torch.ones(N_LATENTS)}, FLAT | changes)
    code = ((x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]).relu()
    sae = read_sae(tmp_path)
    check_against(sae, code, code @ w["W_dec"] + w["b_dec"])
    assert sae.hook_point == "blocks.8.hook_resid_pre"


@pytest.mark.parametrize("name", ["activation_fn", "activation_fn_str"])
def test_topk_before_version_6_is_an_activation(tmp_path, name):
    w, x = weights(), activations()
    write(tmp_path, FILE, w, FLAT | {"architecture": "standard", name: "topk", "activation_fn_kwargs": {"k": K}})
    code = top_k((x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]).relu()
    check_against(read_sae(tmp_path), code, code @ w["W_dec"] + w["b_dec"])


def test_scaled_inputs_with_their_factor(tmp_path):
    w, x = weights(), activations()
    write(tmp_path, FILE, w, settings("standard", normalize_activations="expected_average_only_in"))
    assert "needs a scaling_factor" in refused(tmp_path)
    (tmp_path / "activation_scaler.json").write_text(json.dumps({"scaling_factor": 0.4}))
    code = ((0.4 * x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]).relu()
    check_against(read_sae(tmp_path), code, (code @ w["W_dec"] + w["b_dec"]) / 0.4)


@pytest.mark.parametrize(
    ("cfg", "line"),
    [
        (settings("matching_pursuit"), "architecture 'matching_pursuit'"),
        (settings("standard", activation_fn="tanh-relu"), "activation 'tanh-relu'"),
        (settings("standard", normalize_activations="layer_norm"), "normalize_activations='layer_norm'"),
        (settings("standard", reshape_activations="hook_z"), "reshape_activations='hook_z'"),
        (settings("standard", metadata={"hook_head_index": 3}), "hook_head_index=3"),
        (settings("standard", d_in=7), "d_in=7"),
        (settings("standard", d_sae=7), "d_sae=7"),
        (settings("topk"), "k=None"),
        (settings("topk", k=2.5), "k=2.5"),
        (settings("topk", k=float("nan")), "k=nan"),
        (settings("topk", k=N_LATENTS + 1), f"k={N_LATENTS + 1}"),
        (settings("jumprelu"), "missing ['threshold']"),
    ],
)
def test_what_cannot_be_represented_is_refused(tmp_path, cfg, line):
    write(tmp_path, FILE, weights(), cfg)
    assert line in refused(tmp_path)


def test_a_fine_tuned_scaling_factor_is_refused(tmp_path):
    write(tmp_path, FILE, weights() | {"scaling_factor": torch.full((N_LATENTS,), 1.1)}, FLAT)
    assert "scaling_factor" in refused(tmp_path)


@pytest.mark.parametrize("architecture", ["relu", "gated", "topk", "batch_topk", "jump_relu"])
def test_what_is_written_comes_back(tmp_path, architecture):
    sae, x = ours(architecture), activations()
    write_saelens(sae, tmp_path / "sae", "pythia-160m")
    back = read_sae(tmp_path / "sae")
    with torch.no_grad():
        assert_same(back(x), sae(x))
    assert (back.config, back.seeds, back.hook_point) == (sae.config, sae.seeds, sae.hook_point)
    metadata = json.loads((tmp_path / "sae" / "cfg.json").read_text())["metadata"]
    assert metadata["model_name"] == "pythia-160m"


def test_stacks_and_ensembles_are_not_written(tmp_path):
    for what, said in ((ours("topk", (1, 2)), "a stack of 2"), (Ensemble.bag(ours("topk", (1, 2))), "an Ensemble")):
        with pytest.raises(InputError, match=said):
            write_saelens(what, tmp_path)
    assert not list(tmp_path.iterdir())


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
