"""SAEs on the hub, which a folder here stands for: what is asked for, what is downloaded, what is said otherwise."""

import shutil
from pathlib import Path

import huggingface_hub
import pytest
from helpers.foreign_files import ours, refused

from sae_utils.data.models import hub
from sae_utils.saes.formats.read import read_sae
from sae_utils.saes.formats.saelens import write_saelens
from sae_utils.saes.formats.sparsify import write_sparsify

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
