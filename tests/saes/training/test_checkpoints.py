"""A checkpoint comes back as it was written; anything else is refused with one line."""

import pickle
import shutil
from collections import namedtuple
from dataclasses import replace

import pytest
import torch
from helpers.random_saes import make, raw_activations
from safetensors.torch import save_file

from sae_utils.errors import InputError
from sae_utils.saes import ARCHITECTURES
from sae_utils.saes.training import load_sae, save_sae
from sae_utils.saes.training.checkpoints import read_tensors, write_tensors


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "sae.safetensors"
    save_sae(make("topk", n_latents=6), path)
    return path


def refused(path, kind="sae"):
    """The one line that reading ``path`` is refused with."""
    with pytest.raises(InputError) as error:
        read_tensors(path, kind)
    assert str(path) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_is_saved_comes_back(tmp_path, architecture):
    sae = make(architecture, seeds=(3, 1))
    sae = sae.copy(replace(sae.config, auxk=3, unit_norm_decoder=False))
    save_sae(sae, tmp_path / "new" / "folder" / "sae.safetensors")
    back = load_sae(tmp_path / "new" / "folder" / "sae.safetensors")
    assert (back.config, back.seeds, back.hook_point) == (sae.config, sae.seeds, sae.hook_point)
    assert back.state_dict().keys() == sae.state_dict().keys()
    assert all(torch.equal(t, back.state_dict()[name]) for name, t in sae.state_dict().items())
    x = raw_activations()
    with torch.no_grad():
        assert torch.equal(back(x), sae(x))
    assert [file.name for file in (tmp_path / "new" / "folder").iterdir()] == ["sae.safetensors"]


def test_every_kind_of_tensor_comes_back(tmp_path):
    tensors = {
        "scalar": torch.tensor(1.5),
        "empty": torch.zeros(0, 4, 2),
        "whole": torch.arange(5),
        "bool": torch.tensor([True, False]),
        "half": torch.ones(3, dtype=torch.bfloat16),
        "view": torch.arange(6.0).view(2, 3).T,
    }
    about = {"step": 7, "lr": 0.1 + 0.2, "text": "é\n\"'"}
    write_tensors(tmp_path / "a", "test", tensors, about)
    back, about_back = read_tensors(tmp_path / "a", "test")
    assert about_back == about and back.keys() == tensors.keys()
    for name, t in tensors.items():
        assert torch.equal(back[name], t) and back[name].dtype == t.dtype


def test_a_file_cut_short_anywhere_is_refused(saved, tmp_path):
    whole = saved.read_bytes()
    cut = tmp_path / "cut"
    for n in (0, 1, 7, 8, 9, len(whole) // 2, len(whole) - 1):
        cut.write_bytes(whole[:n])
        assert "is truncated or not a safetensors file" in refused(cut)
    cut.write_bytes(whole + b"\0")
    refused(cut)


def test_a_flipped_bit_in_any_byte_is_refused(saved, tmp_path):
    """In the header too, where the config and the seeds are: all of it is under the checksum."""
    whole = bytearray(saved.read_bytes())
    flipped = tmp_path / "flipped"
    for i in range(len(whole)):
        whole[i] ^= 1
        flipped.write_bytes(whole)
        refused(flipped)
        whole[i] ^= 1
    whole[-1] ^= 1
    flipped.write_bytes(whole)
    assert "is corrupt: what it holds does not match its sha256" in refused(flipped)


class Explosive:
    """Unpickling it would leave a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_refused_and_not_run(tmp_path, protocol):
    path, trace = tmp_path / "checkpoint", tmp_path / "trace"
    path.write_bytes(pickle.dumps(Explosive(trace), protocol))
    line = refused(path)
    assert ("is a pickle" if protocol >= 2 else "not a safetensors file") in line
    assert not trace.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_of_torch_save_is_refused(tmp_path, zipped):
    torch.save(make("topk").state_dict(), tmp_path / "sae.pt", _use_new_zipfile_serialization=zipped)
    assert "is a pickle or a torch archive, which can run code: only safetensors is read" in refused(
        tmp_path / "sae.pt"
    )


def test_a_header_that_begins_like_a_pickle_is_read(tmp_path):
    """The first bytes of a safetensors file are its header's length; 640 is 0x0280, as pickles of protocol 2 begin."""
    heads = set()
    for n in range(0, 24, 8):
        write_tensors(tmp_path / "file", "kind", {"x": torch.ones(2)}, {"filling": "x" * (416 + n)})
        heads.add((tmp_path / "file").read_bytes()[:2])
        assert read_tensors(tmp_path / "file", "kind")[0]["x"].sum() == 2
    assert b"\x80\x02" in heads


def test_foreign_safetensors_and_other_kinds_are_refused(saved, tmp_path):
    save_file({"W_dec": torch.zeros(3)}, tmp_path / "none")
    assert "is foreign: its header says no format, no kind" in refused(tmp_path / "none")
    save_file({"W_dec": torch.zeros(3)}, tmp_path / "other", metadata={"format": "pt"})
    assert "is foreign: its header says pt, no kind" in refused(tmp_path / "other")
    bare = {"format": "sae_utils/1", "kind": "sae"}
    save_file({"W_dec": torch.zeros(3)}, tmp_path / "bare", metadata=bare)
    assert "is corrupt" in refused(tmp_path / "bare")
    assert "its header says sae_utils/1, sae; expected sae_utils/1, training" in refused(saved, "training")


def test_what_is_not_a_file_is_refused(tmp_path):
    assert refused(tmp_path / "nothing").startswith("no checkpoint at ")
    assert refused(tmp_path).startswith("no checkpoint at ")
    (tmp_path / "text").write_text("not a checkpoint, but long enough to be read as one")
    assert "is truncated or not a safetensors file" in refused(tmp_path / "text")


def test_a_full_disk_is_refused_before_writing(saved, monkeypatch):
    before = saved.read_bytes()
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 100, 100))
    with pytest.raises(InputError, match="^no room for checkpoint .*: it needs .* MiB, 0.0 MiB are free$"):
        save_sae(make("relu"), saved)
    assert saved.read_bytes() == before and len(list(saved.parent.iterdir())) == 1
