"""dictionary_learning files, written from their key lists, against that library's formulas written out here."""

import json
import pickle

import pytest
import torch
from helpers.foreign_files import (
    D_IN,
    N_LATENTS,
    K,
    activations,
    check_against,
    drawn,
    gated_weights,
    refused,
    thresholds,
    top_k,
    weights,
)

from sae_utils.saes.formats.read import read_sae


def save(folder, state, trainer=None):
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(state, folder / "ae.pt")
    if trainer is not None:
        sizes = {"activation_dim": D_IN, "dict_size": N_LATENTS}
        (folder / "config.json").write_text(json.dumps({"trainer": sizes | trainer, "buffer": {}}))
    return folder


def linear(w):
    """``nn.Linear`` keeps its weights transposed."""
    return {"encoder.weight": w["W_enc"].T.contiguous(), "decoder.weight": w["W_dec"].T.contiguous()}


def k_and_threshold(threshold):
    return {"k": torch.tensor(K, dtype=torch.int), "threshold": torch.tensor(threshold)}


TRAINER = {"seed": 5, "layer": 8, "submodule_name": "resid_post_layer_8"}


def test_standard(tmp_path):
    w, x = weights(), activations()
    save(tmp_path, linear(w) | {"encoder.bias": w["b_enc"], "bias": w["b_dec"]}, TRAINER)
    code = ((x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]).relu()
    sae = read_sae(tmp_path)
    check_against(sae, code, code @ w["W_dec"] + w["b_dec"])
    assert (sae.seeds, sae.hook_point) == ((5,), "blocks.8.hook_resid_post")


def test_the_april_update_does_not_subtract_its_bias(tmp_path):
    w, x = weights(), activations()
    save(tmp_path, linear(w) | {"encoder.bias": w["b_enc"], "decoder.bias": w["b_dec"]})
    code = (x @ w["W_enc"] + w["b_enc"]).relu()
    sae = read_sae(tmp_path / "ae.pt")
    check_against(sae, code, code @ w["W_dec"] + w["b_dec"])
    assert (sae.seeds, sae.hook_point) == ((0,), "")


def test_gated(tmp_path):
    w, x = gated_weights(), activations()
    names = {"decoder_bias": "b_dec", "r_mag": "r_mag", "gate_bias": "b_gate", "mag_bias": "b_mag"}
    save(tmp_path, linear(w) | {theirs: w[ours] for theirs, ours in names.items()})
    x_enc = (x - w["b_dec"]) @ w["W_enc"]
    code = (x_enc + w["b_gate"] > 0) * (w["r_mag"].exp() * x_enc + w["b_mag"]).relu()
    check_against(read_sae(tmp_path), code, code @ w["W_dec"] + w["b_dec"])


def test_jumprelu_does_not_subtract_its_bias(tmp_path):
    w, x = weights() | {"threshold": thresholds()}, activations()
    save(tmp_path, w, {"dict_class": "JumpReluAutoEncoder"})
    pre = x @ w["W_enc"] + w["b_enc"]
    code = (pre * (pre > w["threshold"])).relu()
    check_against(read_sae(tmp_path), code, code @ w["W_dec"] + w["b_dec"])


def test_topk_and_batchtopk_have_the_same_tensors(tmp_path):
    w, x = weights(), activations()
    state = linear(w) | {"encoder.bias": w["b_enc"], "b_dec": w["b_dec"]}
    pre = ((x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]).relu()
    for name, code in {"AutoEncoderTopK": top_k(pre), "BatchTopKSAE": pre * (pre > 0.8)}.items():
        folder = save(tmp_path / name, state | k_and_threshold(0.8), TRAINER | {"dict_class": name})
        sae = read_sae(folder)
        check_against(sae, code, code @ w["W_dec"] + w["b_dec"])
        assert sae.config.k == K
    save(tmp_path / "bare", state | k_and_threshold(0.8))
    assert "TopK or BatchTopK?" in refused(tmp_path / "bare") and "found None" in refused(tmp_path / "bare")
    old = save(tmp_path / "old", state | {"k": torch.tensor(K)})  # before thresholds there was TopK alone
    assert read_sae(old).config.architecture == "topk"


def test_a_checkpoint_finds_the_settings_of_its_run(tmp_path):
    w = weights()
    state = linear(w) | {"encoder.bias": w["b_enc"], "b_dec": w["b_dec"]} | k_and_threshold(-1.0)
    save(tmp_path, state, {"dict_class": "BatchTopKSAE", "submodule_name": "gpt_neox.layers.3.mlp"})
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "ae.pt").rename(tmp_path / "checkpoints" / "ae_100.pt")
    sae, x = read_sae(tmp_path / "checkpoints" / "ae_100.pt"), activations()
    code = ((x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]).relu()  # -1: the threshold was never set
    check_against(sae, code, code @ w["W_dec"] + w["b_dec"])
    assert (sae.config.architecture, sae.hook_point) == ("batch_topk", "blocks.3.mlp.hook_out")


def test_matryoshka(tmp_path):
    w, x = weights(), activations()
    save(tmp_path, w | k_and_threshold(0.8) | {"group_sizes": torch.tensor([4, N_LATENTS - 4])})
    pre = (x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]
    code = pre.relu() * (pre > 0.8)
    check_against(read_sae(tmp_path), code, code @ w["W_dec"] + w["b_dec"])


class Explosive:
    """Unpickling it would leave a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path, zipped):
    trace = tmp_path / "trace"
    torch.save({"bias": Explosive(trace)}, tmp_path / "ae.pt", _use_new_zipfile_serialization=zipped)
    assert "which could run code: it is refused" in refused(tmp_path)
    (tmp_path / "ae.pt").write_bytes(pickle.dumps(Explosive(trace), protocol=2))
    refused(tmp_path)
    assert not trace.exists()


def test_what_is_not_a_state_dict_is_refused(tmp_path):
    whole = (save(tmp_path / "cut", weights()) / "ae.pt").read_bytes()
    for n in (0, 1, 2, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut" / "ae.pt").write_bytes(whole[:n])
        assert "is truncated or not a file of torch.save" in refused(tmp_path / "cut")
    save(tmp_path / "list", [drawn(2)])
    assert "holds a list; expected a state dict" in refused(tmp_path / "list")
    save(tmp_path / "none", {})
    assert "expected a state dict of tensors" in refused(tmp_path / "none")
    save(tmp_path / "other", {"encoder.weight": drawn(2, 2), "W_skip": drawn(2, 2)})
    assert "no known class of dictionary_learning: W_skip, encoder.weight" in refused(tmp_path / "other")
    save(tmp_path / "size", weights() | {"threshold": thresholds()}, {"dict_size": 7})
    assert "dict_size=7" in refused(tmp_path / "size")
    save(tmp_path / "shape", weights() | {"threshold": thresholds()[:-1]})
    assert f"threshold of {tmp_path / 'shape' / 'ae.pt'} has shape [{N_LATENTS - 1}]" in refused(tmp_path / "shape")


def test_a_changed_weight_is_refused(tmp_path):
    """The archive has a checksum of each tensor, which torch does not look at."""
    w = weights()
    file = save(tmp_path, linear(w) | {"encoder.bias": w["b_enc"], "bias": w["b_dec"]}) / "ae.pt"
    content = bytearray(file.read_bytes())
    place = content.find(w["b_dec"].numpy().tobytes())
    content[place + 3] ^= 1
    file.write_bytes(content)
    assert "does not match its checksum" in refused(tmp_path)


def test_a_batch_topk_without_its_threshold_is_no_topk(tmp_path):
    w = weights()
    state = linear(w) | {"encoder.bias": w["b_enc"], "b_dec": w["b_dec"], "k": torch.tensor(K)}
    assert "lacks the threshold of a BatchTopKSAE" in refused(save(tmp_path, state, {"dict_class": "BatchTopKSAE"}))
