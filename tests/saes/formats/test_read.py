"""What read_sae recognises, what it says where it does not, and what fits a hook point or a stack."""

import json

import pytest
import torch
from helpers.foreign_files import D_IN, N_LATENTS, activations, drawn, ours, refused, weights, write

from sae_utils.errors import InputError
from sae_utils.saes.formats.hook_points import check_fits, hook_point_of
from sae_utils.saes.formats.read import read_sae
from sae_utils.saes.formats.saelens import write_saelens
from sae_utils.saes.formats.sparsify import write_sparsify
from sae_utils.saes.formats.stacks import stack_saes
from sae_utils.saes.training.checkpoints import save_sae


def test_our_own_checkpoints_are_read(tmp_path):
    stack = ours("topk", (3, 1))
    save_sae(stack, tmp_path / "stack.safetensors")
    back = read_sae(str(tmp_path / "stack.safetensors"))
    assert (back.config, back.seeds) == (stack.config, stack.seeds)
    assert all(torch.equal(a, b) for a, b in zip(back.state_dict().values(), stack.state_dict().values(), strict=True))


def test_what_was_found_is_said(tmp_path):
    assert "there is no such file or folder" in refused(tmp_path / "nothing")
    assert "found nothing; known: saelens (" in refused(tmp_path)
    for i in range(10):
        (tmp_path / f"file{i}.txt").write_text("x")
    line = refused(tmp_path)
    assert f"no SAE of a known format in {tmp_path}: found file0.txt, file1.txt" in line and "and 2 more" in line
    assert "is not a file of weights" in refused(tmp_path / "file0.txt")
    assert "format='safetensors' is unknown; allowed: saelens, sparsify" in refused(tmp_path, format="safetensors")


def test_two_formats_in_one_folder_must_be_told_apart(tmp_path):
    write_saelens(ours("relu"), tmp_path)
    write_sparsify(ours("topk"), tmp_path / "other")
    (tmp_path / "other" / "sae.safetensors").rename(tmp_path / "sae.safetensors")
    assert "several formats (saelens, sparsify)" in refused(tmp_path)
    assert read_sae(tmp_path, format="saelens").config.architecture == "relu"
    assert "k=None" in refused(tmp_path, format="sparsify")  # its settings are SAELens's


@pytest.mark.parametrize("cut", [0, 1, 8, 100, -1])
def test_weights_cut_short_are_refused(tmp_path, cut):
    write_saelens(ours("relu"), tmp_path)
    file = tmp_path / "sae_weights.safetensors"
    file.write_bytes(file.read_bytes()[:cut])
    assert f"{file} is truncated or not a safetensors file" in refused(tmp_path)


def test_settings_that_cannot_be_read_are_refused(tmp_path):
    write_saelens(ours("relu"), tmp_path)
    for text, said in (("{", "cannot be read as JSON"), ("[]", "holds a JSON list"), (None, "No such file")):
        (tmp_path / "cfg.json").unlink()
        if text is not None:
            (tmp_path / "cfg.json").write_text(text)
        assert said in refused(tmp_path)
        (tmp_path / "cfg.json").write_text("")


def test_shapes_are_refused_before_the_weights_are_loaded(tmp_path, monkeypatch):
    cfg = {"architecture": "standard"}
    monkeypatch.setattr("sae_utils.saes.formats.files.read_safetensors", lambda path: 1 / 0)
    for name, tensor, said in (
        ("b_enc", drawn(D_IN), f"b_enc of {tmp_path}/sae_weights.safetensors has shape [{D_IN}]; expected [latents"),
        ("W_dec", drawn(D_IN, N_LATENTS), "has shape [6, 16]; expected [latents 16, d_in 6]"),
        ("b_dec", drawn(1, D_IN), "has shape [1, 6]; expected [d_in 6]"),
        ("W_skip", drawn(D_IN), "unknown ['W_skip']"),
    ):
        write(tmp_path, "sae_weights.safetensors", weights() | {name: tensor}, cfg)
        assert said in refused(tmp_path)


@pytest.mark.parametrize(
    ("tensor", "said"),
    [(torch.full((D_IN,), float("inf")), "not finite"), (torch.ones(D_IN, dtype=torch.int32), "torch.int32")],
)
def test_values_that_are_no_weights_are_refused(tmp_path, tensor, said):
    write(tmp_path, "sae_weights.safetensors", weights() | {"b_dec": tensor}, {"architecture": "standard"})
    assert said in refused(tmp_path)


@pytest.mark.parametrize(
    ("name", "hook_point"),
    [
        ("layers.5.mlp", "blocks.5.hook_mlp_out"),
        ("layers.5", "blocks.5.hook_resid_post"),
        ("gpt_neox.layers.11.mlp", "blocks.11.hook_mlp_out"),
        ("transformer.h.0", "blocks.0.hook_resid_post"),
        ("resid_pre_layer_4", "blocks.4.hook_resid_pre"),
        ("blocks.4.hook_resid_pre", "blocks.4.hook_resid_pre"),
        ("layers.5.attention", ""),
        ("my_sae", ""),
    ],
)
def test_names_of_hook_points(name, hook_point):
    assert hook_point_of(name) == hook_point


def test_an_sae_must_fit_its_hook_point():
    sae = ours("topk", hook_point="blocks.2.hook_mlp_out")
    check_fits(sae, {"blocks.2.hook_mlp_out": D_IN})
    with pytest.raises(InputError, match="the SAE has d_in=6, but hook point 'blocks.2.hook_mlp_out' has 8 dimensions"):
        check_fits(sae, {"blocks.2.hook_mlp_out": 8})
    with pytest.raises(InputError, match="'blocks.2.hook_mlp_out' of the SAE is not among the activations: a, b"):
        check_fits(sae, {"a": D_IN, "b": D_IN})


@pytest.mark.parametrize("architecture", ["relu", "gated", "topk", "batch_topk", "jump_relu"])
def test_members_come_back_as_a_stack(architecture):
    stack, x = ours(architecture, (4, 9, 2)), activations()
    again = stack_saes([stack.dictionary(i) for i in range(3)])
    assert (again.config, again.seeds, again.hook_point) == (stack.config, stack.seeds, stack.hook_point)
    with torch.no_grad():
        assert torch.equal(again(x), stack(x))


def test_members_that_differ_make_no_stack():
    one = ours("topk")
    other = ours("topk")
    other.mean.add_(1)
    for saes, said in (
        ([], "saes=\\[\\]"),
        ([one, ours("relu")], "SAE 1 has config"),
        ([one, ours("topk", hook_point="b")], "SAE 1 has hook_point b"),
        ([one, other], "SAE 1 has another normalisation"),
    ):
        with pytest.raises(InputError, match=said):
            stack_saes(saes)
    assert stack_saes([one.fold_normalisation(), other.fold_normalisation()]).n_dictionaries == 2


def test_written_settings_are_json_of_other_libraries(tmp_path):
    """Raw activations: nothing of our normalisation is left for the other library to know."""
    sae = ours("topk")
    assert sae.mean.abs().min() > 0 and sae.scale != 1
    write_saelens(sae, tmp_path)
    cfg = json.loads((tmp_path / "cfg.json").read_text())
    assert cfg["normalize_activations"] == "none" and cfg["apply_b_dec_to_input"] is True
    back = read_sae(tmp_path)
    assert back.mean.abs().max() == 0 and back.scale == 1
