"""Home-made files by their mapping, against forward passes written out here; what does not fit is one line."""

import pytest
import torch
import yaml
from helpers.foreign_files import (
    D_IN,
    N_LATENTS,
    K,
    above,
    activations,
    by_hand,
    check_against,
    drawn,
    gated_by_hand,
    gated_weights,
    jump_weights,
    refused,
    top_k,
    weights,
    write,
)

from sae_utils.saes.formats.published import read_published
from sae_utils.saes.formats.read import read_sae

MAPPING = {
    "architecture": "topk",
    "k": K,
    "W_enc": "encoder_weights",
    "W_dec": "decoder_weights",
    "b_enc": "encoder_bias",
    "pre_bias": "pre_bias",
}


def home_made():
    """The tensors of a TopK SAE of a public repository."""
    w = weights()
    names = {"W_enc": "encoder_weights", "W_dec": "decoder_weights", "b_enc": "encoder_bias", "b_dec": "pre_bias"}
    return {theirs: w[ours] for ours, theirs in names.items()}


def mapped(folder, said, tensors=None, name="sae.safetensors"):
    """A folder with a mapping, given as a map or as text, and a file of weights."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mapping.yaml").write_text(said if isinstance(said, str) else yaml.safe_dump(said))
    tensors = home_made() if tensors is None else tensors
    if name.endswith(".safetensors"):
        return write(folder, name, tensors)
    torch.save(tensors, folder / name)
    return folder


def assert_home_made(sae):
    check_against(sae, *by_hand(weights(), activations(), top_k))


@pytest.mark.parametrize("name", ["sae.safetensors", "sae.pt", "pytorch_model.bin"])
def test_a_public_topk_sae(tmp_path, name):
    folder = mapped(tmp_path, MAPPING, name=name)
    sae = read_sae(folder)
    assert_home_made(sae)
    assert (sae.config.architecture, sae.config.k, sae.hook_point) == ("topk", K, "")
    assert_home_made(read_sae(folder / name))
    assert_home_made(read_sae(folder / "mapping.yaml"))
    (given,) = read_published([str(folder)], "mlp_out", 2).saes  # in the place of what a notebook would train
    assert_home_made(given)


def test_transposes_maps_of_maps_and_a_place(tmp_path):
    w = home_made()
    turned = {"step": 7, "model": {**w, "encoder_weights": w["encoder_weights"].T.clone()}, "optimizer": {"lr": [1.0]}}
    said = MAPPING | {key: f"model.{value}" for key, value in MAPPING.items() if key not in ("architecture", "k")}
    said |= {"W_enc": "model.encoder_weights.T", "hook_point": "layers.5.mlp"}
    sae = read_sae(mapped(tmp_path, said, turned, "last.pth"))
    assert_home_made(sae)
    assert sae.hook_point == "blocks.5.mlp.hook_out"


@pytest.mark.parametrize(
    ("said", "before", "bias", "after"),
    [
        ({}, 0, 0, 0),
        ({"b_enc": "encoder_bias", "b_dec": "after"}, 0, 1, 1),
        ({"b_enc": "encoder_bias", "b_dec": "after", "pre_bias": "pre_bias"}, 1, 1, 1),
    ],
)
def test_biases_that_are_not_named_are_zero_and_both_sides_may_differ(tmp_path, said, before, bias, after):
    w, x = home_made() | {"after": drawn(D_IN, seed=5)}, activations()
    said = {"architecture": "relu", "W_enc": "encoder_weights", "W_dec": "decoder_weights"} | said
    code = ((x - before * w["pre_bias"]) @ w["encoder_weights"] + bias * w["encoder_bias"]).relu()
    check_against(read_sae(mapped(tmp_path, said, w)), code, code @ w["decoder_weights"] + after * w["after"])


PER_LATENT = jump_weights()["threshold"]


@pytest.mark.parametrize(
    ("architecture", "threshold", "value"),
    [
        ("jump_relu", "t", PER_LATENT),
        ("jump_relu", 0.8, torch.tensor(0.8)),
        ("batch_topk", 0.8, torch.tensor(0.8)),
        ("batch_topk", "t", torch.tensor([0.8])),
    ],
)
def test_thresholds_are_tensors_or_numbers(tmp_path, architecture, threshold, value):
    said = MAPPING | {"architecture": architecture, "threshold": threshold}
    if architecture == "jump_relu":
        del said["k"]
    sae = read_sae(mapped(tmp_path, said, home_made() | {"t": value}))
    check_against(sae, *by_hand(weights(), activations(), above(value)))


def test_gated(tmp_path):
    w = gated_weights()
    said = {"architecture": "gated", "W_enc": "W_enc", "W_dec": "W_dec", "b_enc": "b_gate", "b_dec": "b_dec"}
    said |= {"r_mag": "r_mag", "b_mag": "b_mag"}
    check_against(read_sae(mapped(tmp_path, said, w)), *gated_by_hand(w, activations(), subtract=False))


def without(key):
    return {name: value for name, value in MAPPING.items() if name != key}


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("[", "cannot be read as YAML"),
        ("- topk", "holds a list; expected lines such as W_enc: encoder_weights"),
        ("", "holds a NoneType"),
        (without("architecture"), "architecture=None in"),
        (MAPPING | {"architecture": "transcoder"}, "allowed: relu, topk, batch_topk, jump_relu, gated"),
        (MAPPING | {"architecture": ["topk"]}, "is unknown; allowed"),
        (without("k"), "must say architecture, W_enc, W_dec, k of a topk dictionary"),
        (MAPPING | {"architecture": "relu"}, "missing [], unknown ['k']"),
        (MAPPING | {"W_encoder": "x"}, "unknown ['W_encoder']"),
        (without("W_dec"), "missing ['W_dec']"),
        (MAPPING | {"k": 2.5}, "k=2.5 in"),
        (MAPPING | {"k": 17}, "k=17 must be a whole number from 1 to n_latents=16"),
        (MAPPING | {"W_enc": "encoder"}, "W_enc='encoder' in"),
        (MAPPING | {"W_enc": "encoder"}, "which holds decoder_weights [16, 6], encoder_bias [16]"),
        (MAPPING | {"W_enc": ["encoder_weights"]}, "names no tensor of"),
        (MAPPING | {"b_enc": "encoder_bias.T"}, "names no tensor of"),
        (MAPPING | {"W_enc": "encoder_weights.T"}, "has shape [16, 6]; expected [d_in 6, latents 16], as"),
        (MAPPING | {"W_enc": "decoder_weights"}, "NAME.T is the transpose of NAME"),
        (MAPPING | {"pre_bias": "encoder_bias"}, "W_enc of"),
        (MAPPING | {"W_enc": "encoder_bias"}, "has shape [16]; expected [d_in 6, latents 16]"),
        (MAPPING | {"architecture": "batch_topk", "threshold": "encoder_bias"}, "threshold of"),
        (MAPPING | {"architecture": "batch_topk", "threshold": True}, "threshold=True in"),
        (MAPPING | {"architecture": "batch_topk", "threshold": float("nan")}, "threshold=nan in"),
        (MAPPING | {"hook_point": 5}, "hook_point='5' in"),
        (MAPPING | {"hook_point": "layer five"}, "is no known hook point"),
        (MAPPING | {"weights": "other.pt"}, "weights='other.pt' beside it"),
        (MAPPING | {"weights": 3}, "must be a text"),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path, said, line):
    assert line in refused(mapped(tmp_path, said))


def test_linear_weights_without_a_bias_are_not_read_the_wrong_way_round(tmp_path):
    tensors = {"encoder.weight": drawn(12, 5, seed=1), "decoder.weight": drawn(5, 12, seed=2), "zeros": torch.zeros(5)}
    tensors["t"] = torch.full((5,), 0.1)
    said = {"architecture": "relu", "W_enc": "encoder.weight", "W_dec": "decoder.weight"}
    line = refused(mapped(tmp_path, said, tensors))
    assert "is [d_in 12, latents 5]: without a bias" in line and "name NAME.T for both matrices" in line
    one_number = said | {"architecture": "jump_relu", "threshold": 0.1}
    assert "without a bias" in refused(mapped(tmp_path, one_number, tensors))
    turned = said | {"W_enc": "encoder.weight.T", "W_dec": "decoder.weight.T"}
    x = drawn(30, 5, seed=3)
    code = (x @ tensors["encoder.weight"].T).relu()
    check_against(read_sae(mapped(tmp_path, turned, tensors)), code, code @ tensors["decoder.weight"].T, x)
    # A tensor of one axis says that few latents are meant.
    for more in ({"b_enc": "zeros"}, {"architecture": "jump_relu", "threshold": "t"}):
        config = read_sae(mapped(tmp_path, said | more, tensors)).config
        assert (config.d_in, config.n_latents) == (12, 5)


@pytest.mark.parametrize(
    ("tensors", "line"),
    [
        (home_made() | {"encoder_bias": torch.full((N_LATENTS,), torch.nan)}, "b_enc of"),
        (home_made() | {"encoder_bias": torch.ones(N_LATENTS, dtype=torch.int32)}, "torch.int32"),
        (home_made() | {"decoder_weights": drawn(N_LATENTS, 2 * D_IN)}, "W_dec of"),  # a transcoder
        ([drawn(3)], "which holds none"),
        (torch.nn.Linear(2, 2), "could run code: it is refused; torch.save(model.state_dict()"),
    ],
)
def test_what_holds_no_weights_is_refused(tmp_path, tensors, line):
    assert line in refused(mapped(tmp_path, MAPPING, tensors, "sae.pt"))


def test_one_of_several_files_is_named(tmp_path):
    folder = mapped(tmp_path, MAPPING)
    torch.save({"other": drawn(3)}, folder / "step.pt")
    line = refused(folder)
    assert "needs one file of weights beside it" in line and "found sae.safetensors, step.pt: name one as" in line
    assert_home_made(read_sae(folder / "sae.safetensors"))
    assert_home_made(read_sae(mapped(folder, MAPPING | {"weights": "sae.safetensors"})))
    (folder / "sae.safetensors").unlink()
    (folder / "step.pt").unlink()
    assert "found none" in refused(folder)
    (folder / "mapping.yaml").unlink()
    assert f"no mapping.yaml in {folder}, which says" in refused(folder, format="mapping")


def test_a_file_that_is_not_whole_is_refused(tmp_path):
    (mapped(tmp_path, MAPPING) / "sae.safetensors").write_bytes(b"weights")
    assert "is truncated or not a safetensors file" in refused(tmp_path)


def test_a_mapping_goes_before_the_names_of_files(tmp_path):
    assert_home_made(read_sae(mapped(tmp_path, MAPPING, name="ae.pt")))
    assert "no known class of dictionary_learning" in refused(tmp_path, format="dictionary_learning")
    (tmp_path / "mapping.yaml").unlink()
    assert "a mapping.yaml beside it can say what they are" in refused(tmp_path)
