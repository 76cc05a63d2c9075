"""What read_sae recognises, here and on the hub, what it says where it does not, and what fits a stack."""

import shutil
from pathlib import Path

import huggingface_hub
import pytest
import torch
from helpers.foreign_files import activations, ours, refused

from sae_utils.data.models import hub
from sae_utils.errors import InputError
from sae_utils.saes import ARCHITECTURES
from sae_utils.saes.formats.common import hook_point_of, stack_saes
from sae_utils.saes.formats.read import read_sae
from sae_utils.saes.formats.saelens import write_saelens
from sae_utils.saes.formats.sparsify import write_sparsify
from sae_utils.saes.training import save_sae


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


@pytest.mark.parametrize(
    ("name", "hook_point"),
    [
        ("layers.5.mlp", "blocks.5.mlp.hook_out"),
        ("layers.5", "blocks.5.hook_resid_post"),
        ("gpt_neox.layers.11.mlp", "blocks.11.mlp.hook_out"),
        ("transformer.h.0", "blocks.0.hook_resid_post"),
        ("transformer.h.5.mlp", "blocks.5.mlp.hook_out"),
        ("resid_pre_layer_4", "blocks.4.hook_resid_pre"),
        ("mlp_out_layer_4", "blocks.4.mlp.hook_out"),
        ("blocks.5.hook_out", "blocks.5.hook_resid_post"),  # TransformerBridge's other name
        ("blocks.5.hook_in", "blocks.5.hook_resid_pre"),
        ("blocks.4.hook_resid_pre", "blocks.4.hook_resid_pre"),
        ("layers.5.attention", "layers.5.attention"),
        ("model.layers.5.self_attn", "model.layers.5.self_attn"),
        ("ln_final.hook_normalized", "ln_final.hook_normalized"),
    ],
)
def test_names_of_hook_points(name, hook_point):
    assert hook_point_of(name) == hook_point


@pytest.mark.parametrize("architecture", ARCHITECTURES)
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


REPOSITORY = "EleutherAI/sae-pythia-160m-32k"


@pytest.fixture
def downloaded(tmp_path, monkeypatch):
    """A repository with some SAEs and other files; the names of those that were downloaded."""
    there, cache, names = tmp_path / "there", tmp_path / "cache", []
    for layer in range(3):
        write_sparsify(ours("topk", (layer,)), there / f"layers.{layer}.mlp")
    write_sparsify(ours("topk", (4, 5)), there / "layers.9")
    write_saelens(ours("relu"), there)
    (there / "layers.1.mlp" / "optimizer.pt").write_bytes(b"large")
    (there / "notes").mkdir()
    (there / "notes" / "README.md").write_text("text")

    def list_repo_files(self, repository):
        assert repository == REPOSITORY
        return [path.relative_to(there).as_posix() for path in sorted(there.rglob("*")) if path.is_file()]

    def snapshot_download(repository, allow_patterns):
        names.extend(allow_patterns)
        for name in allow_patterns:
            (cache / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(there / name, cache / name)
        return str(cache)

    monkeypatch.setattr(hub, "why_not", lambda kind, name: None if name == REPOSITORY else "not on the hub")
    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", list_repo_files)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.chdir(tmp_path)
    return names


@pytest.mark.parametrize(
    ("inside", "seeds", "files"),
    [
        ("layers.1.mlp", (1,), ["layers.1.mlp/cfg.json", "layers.1.mlp/sae.safetensors"]),
        ("layers.9/seed5", (5,), ["layers.9/seed5/cfg.json", "layers.9/seed5/sae.safetensors"]),
        ("layers.9", (4, 5), [f"layers.9/seed{i}/{name}" for i in (4, 5) for name in ("cfg.json", "sae.safetensors")]),
        ("", (3,), ["cfg.json", "sae_weights.safetensors"]),
    ],
)
def test_the_files_of_one_folder_are_downloaded(downloaded, inside, seeds, files):
    sae = read_sae(f"{REPOSITORY}/{inside}".rstrip("/"))
    assert sae.seeds == seeds and downloaded == files


def test_what_is_not_there_is_said_before_anything_is_downloaded(downloaded, monkeypatch):
    line = refused(f"{REPOSITORY}/layers.5.mlp")
    assert f"{REPOSITORY} has no SAE in layers.5.mlp; it has ., layers.0.mlp, layers.1.mlp" in line
    assert "has no SAE in notes" in refused(f"{REPOSITORY}/notes")
    assert "no such file or folder here, and some/thing is not on the hub" in refused("some/thing/else")
    for path in ("nothing", "./some/thing", "../some/thing", "~/some/thing", Path.cwd() / "some"):
        assert "there is no such file or folder" in refused(path)
    assert downloaded == []

    def broken(repository, allow_patterns):
        raise ConnectionError("reset\nby peer")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", broken)
    assert "could not be downloaded: ConnectionError: reset by peer" in refused(f"{REPOSITORY}/layers.1.mlp")


def test_what_is_here_is_not_asked_for_there(downloaded):
    write_saelens(ours("gated"), Path("some") / "sae")
    assert read_sae("some/sae").config.architecture == "gated" and downloaded == []
