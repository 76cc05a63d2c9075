"""Damaged folders of every format: whole they are read, else refused in one line, whatever the damage is."""

import json
from copy import deepcopy

import numpy as np
import pytest
import torch
from helpers.foreign_files import D_IN, N_LATENTS, ours, refused, thresholds, weights
from safetensors.torch import load_file, save_file

from sae_utils.saes.formats.read import FILES, read_sae
from sae_utils.saes.formats.saelens import write_saelens
from sae_utils.saes.formats.sparsify import write_sparsify
from sae_utils.saes.training import save_sae
from sae_utils.saes.training.checkpoints import read_tensors, write_tensors

WHERE = "model.layers.1.output"
SCOPE = {"hf_hook_point_in": WHERE, "hf_hook_point_out": WHERE, "width": N_LATENTS, "architecture": "jump_relu"}
TRAINER = {"dict_class": "BatchTopKSAE", "seed": 1, "activation_dim": D_IN, "submodule_name": "resid_post_layer_1"}


def state():
    w = weights()
    matrices = {"encoder.weight": w["W_enc"].T, "decoder.weight": w["W_dec"].T, "encoder.bias": w["b_enc"]}
    return matrices | {"b_dec": w["b_dec"], "k": torch.tensor(3), "threshold": torch.tensor(0.5)}


def write(folder, format):
    folder.mkdir()
    jump = weights() | {"threshold": thresholds()}
    match format:
        case "saelens":
            write_saelens(ours("batch_topk"), folder)
        case "sparsify":
            write_sparsify(ours("topk"), folder)
        case "dictionary_learning":
            torch.save(state(), folder / "ae.pt")
            (folder / "config.json").write_text(json.dumps({"trainer": TRAINER}))
        case "gemma_scope":
            np.savez(folder / "params.npz", **jump)
        case "gemma_scope_2":
            tensors = {name.replace("W_", "w_"): tensor for name, tensor in jump.items()}
            save_file(tensors, folder / "params.safetensors")
            (folder / "config.json").write_text(json.dumps(SCOPE))
    return folder


def settings_of(folder):
    return next((path for name in ("cfg.json", "config.json") if (path := folder / name).is_file()), None)


@pytest.fixture(params=FILES.items(), ids=FILES.values())
def files(request, tmp_path):
    """A folder that is read, its weights and its settings, in each format."""
    name, format = request.param
    folder = write(tmp_path / format, format)
    assert read_sae(folder).config.d_in == D_IN
    return folder, folder / name, settings_of(folder)


def test_weights_that_are_cut_or_gone(files):
    folder, file, _ = files
    whole = file.read_bytes()
    for cut in (0, 1, 4, 9, 100, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:cut])
        assert f"{file} is truncated or not a" in refused(folder)
    file.unlink()
    assert "no SAE of a known format" in refused(folder)
    file.mkdir()
    refused(folder)


def test_a_changed_byte_is_read_or_refused(files):
    folder, file, _ = files
    whole, rng = file.read_bytes(), np.random.default_rng(0)
    for at in [*rng.integers(0, len(whole), 30), *rng.integers(0, min(len(whole), 600), 30)]:
        changed = bytearray(whole)
        changed[at] ^= int(rng.integers(1, 256))
        file.write_bytes(changed)
        try:
            read_sae(folder)
        except Exception:
            refused(folder)


def every_setting(cfg, before=()):
    for name, value in cfg.items():
        yield *before, name
        if isinstance(value, dict):
            yield from every_setting(value, (*before, name))


def test_settings_of_other_types_are_read_or_refused(files):
    folder, _, settings = files
    if settings is None:
        return
    cfg = json.loads(settings.read_text())
    for names in every_setting(cfg):
        for value in (None, "3", [3], {"a": 1}, True, -1, 0, 2.5, float("nan"), float("inf"), 10**400):
            changed = deepcopy(cfg)
            inner = changed
            for name in names[:-1]:
                inner = inner[name]
            inner[names[-1]] = value
            settings.write_text(json.dumps(changed))
            try:
                read_sae(folder)
            except Exception:
                refused(folder)
    for text in ("", "null", "[]", '"x"', "{", "[" * 100_000, "9" * 5000):
        settings.write_text(text)
        assert str(settings) in refused(folder)
    settings.unlink()
    if settings.name == "cfg.json" or folder.name == "gemma_scope_2":
        assert f"{settings} cannot be read as JSON" in refused(folder)


@pytest.mark.parametrize(
    ("format", "changes", "said"),
    [
        ("saelens", {"k": "3", "metadata": {}, "architecture": "topk"}, "missing [], unknown ['threshold']"),
        ("saelens", {"d_in": [6]}, "d_in=[6] in"),
        ("saelens", {"apply_b_dec_to_input": "false"}, "apply_b_dec_to_input='false' in"),
        ("saelens", {"metadata": "none"}, "must be an object"),
        ("saelens", {"architecture": ["gated"]}, "must be a text"),
        ("saelens", {"metadata": {"hook_name": 3}}, "hook_name='3' in"),
        ("sparsify", {"k": "3"}, "k=3 in"),
        ("sparsify", {"k": 10**400}, "must be a whole number of at least 1"),
        ("sparsify", {"hook_point": [3]}, "must be a text"),
        ("dictionary_learning", {"trainer": "3"}, "must be an object"),
        ("dictionary_learning", {"trainer": TRAINER | {"submodule_name": 3}}, "submodule_name='3' in"),
        (
            "dictionary_learning",
            {"trainer": TRAINER | {"submodule_name": "attention_out_layer_3"}},
            "was trained at 'attention_out_layer_3', which is no known hook point (known: layers.N, layers.N.mlp,",
        ),
        ("gemma_scope_2", {"width": "16k"}, "width='16k' in"),
        ("gemma_scope_2", {"architecture": "topk"}, "architecture='topk' in"),
        ("gemma_scope_2", {"affine_connection": True}, "is a transcoder"),
        ("gemma_scope_2", {"hf_hook_point_out": "model.layers.1.mlp.output"}, "is a transcoder, from model.layers.1"),
        ("gemma_scope_2", {"hf_hook_point_in": None, "hf_hook_point_out": None}, "names no hf_hook_point_in"),
        (
            "gemma_scope_2",
            {"hf_hook_point_in": "model.embed_tokens.output", "hf_hook_point_out": None},
            "was trained at 'model.embed_tokens.output', which is no known hook point",
        ),
    ],
)
def test_what_is_said_of_settings(tmp_path, format, changes, said):
    folder = write(tmp_path / format, format)
    settings = settings_of(folder)
    settings.write_text(json.dumps(json.loads(settings.read_text()) | changes))
    assert said in refused(folder)


@pytest.mark.parametrize("format", ["saelens", "sparsify", "gemma_scope_2"])
def test_tensors_that_are_no_weights(tmp_path, format):
    folder = write(tmp_path / format, format)
    file = next(folder.glob("*.safetensors"))
    good = load_file(file)
    for name, tensor in good.items():
        for bad, said in (
            (tensor.long(), "torch.int64; expected floating point"),
            (tensor.to(torch.complex64), "torch.complex64; expected floating point"),
            (torch.zeros([0] * tensor.ndim), f"{name} of {file} has shape"),
            (torch.zeros(()), f"{name} of {file} has shape []"),
            (torch.full_like(tensor, torch.inf), f"{name} of {file} holds values that are not finite"),
        ):
            save_file(good | {name: bad}, file)
            assert said in refused(folder)
        save_file({other: t for other, t in good.items() if other != name}, file)
        assert f"missing ['{name}'], unknown []" in refused(folder)


def test_pickles_of_more_or_less_than_tensors(tmp_path):
    """Nothing in them runs."""
    folder = write(tmp_path / "ae", "dictionary_learning")
    for name, value in (
        ("b_dec", state()["b_dec"].to_sparse()),
        ("b_dec", torch.zeros(D_IN, device="meta")),
        ("b_dec", "text"),
        (3, torch.ones(2)),
    ):
        torch.save(state() | {name: value}, folder / "ae.pt")
        assert "expected a state dict of tensors" in refused(folder)
    torch.save(state() | {"b_dec": torch.nn.Linear(1, 1)}, folder / "ae.pt")
    assert "which could run code: it is refused" in refused(folder)


def test_arrays_that_are_no_weights(tmp_path):
    folder = write(tmp_path / "scope", "gemma_scope")
    good = dict(np.load(folder / "params.npz"))
    expected = read_sae(folder).W_dec
    np.savez(folder / "params.npz", **(good | {"W_dec": good["W_dec"].astype(">f4")}))
    assert torch.equal(read_sae(folder).W_dec, expected)
    for bad, said in (
        (np.array([{}], dtype=object), "is truncated or not an npz file: Object arrays cannot be loaded"),
        (good["b_dec"].astype(np.longdouble), "is truncated or not an npz file"),
        (good["b_dec"].astype("U5"), "is truncated or not an npz file"),
        (good["b_dec"].astype(int), "has dtype torch.int64; expected floating point"),
    ):
        np.savez(folder / "params.npz", **(good | {"b_dec": bad}))
        assert said in refused(folder)


def test_our_own_files_that_hold_no_stack(tmp_path):
    file = tmp_path / "own.safetensors"
    save_sae(ours("topk"), file)
    tensors, about = read_tensors(file, "sae")
    for wrong, said in (
        ((tensors, about | {"config": None}), "holds no SAE: "),
        ((tensors, {}), "holds no SAE: hook_point=None is no name"),
        ((tensors, about | {"config": about["config"] | {"d_in": 7}}), "holds no SAE: Error(s) in loading state_dict"),
        ((tensors, about | {"seeds": 3}), "holds no SAE: "),
        ((tensors | {"b_dec": torch.full((1, D_IN), torch.nan)}, about), "b_dec holds values that are not finite"),
    ):
        write_tensors(file, "sae", *wrong)
        assert said in refused(file)
