"""Damaged files of our own give what the whole file gives, or one InputError.

All that they hold is under a checksum, so damage anywhere counts, weights included. What a file with a right checksum
holds may still be wrong, for another version may have written it: that is tried, too.
"""

import json
import shutil
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from helpers.fuzzing import altered, examples, or_refused, spoiled
from helpers.random_saes import make, raw_activations
from helpers.tiny_language_model import TableModel
from hypothesis import given
from hypothesis import strategies as st

from sae_utils.data.activations import TensorSource, build_cache
from sae_utils.saes import ARCHITECTURES
from sae_utils.saes.training import TrainingConfig, train
from sae_utils.saes.training.checkpoints import load_sae, save_sae, write_tensors

SAES = {architecture: make(architecture, n_latents=8, seeds=(0, 1)) for architecture in ARCHITECTURES}
CONFIG = TrainingConfig(120, 20, base_lr=1e-3, log_every=2, checkpoint_every=3)
HOOKS = ("blocks.0.hook_mlp_out", "blocks.1.hook_mlp_out")
ROWS = np.random.default_rng(0).integers(1, 300, size=(10, 8)).astype(np.uint16)


class Killed(Exception):
    """In the middle of a run."""


class Dying(TensorSource):
    """Four batches, and no more."""

    def _batches(self, *args):
        for i, batch in enumerate(super()._batches(*args)):
            if i == 4:
                raise Killed
            yield batch


def held_by(sae):
    return {**sae.state_dict(), "about": (sae.config, sae.seeds, sae.hook_point)}


def loaded(folder):
    return held_by(load_sae(folder / "sae.safetensors"))


def trained(folder, source=TensorSource):
    """A stack at the end of a run that has its checkpoint in the folder, or begins."""
    sae = make("topk", n_latents=8, seeds=(0, 1))
    source = source({"hook": raw_activations(64)})
    train([sae], source, CONFIG, folder / "training.safetensors", progress=False)
    return held_by(sae)


def half_trained(folder):
    with suppress(Killed):
        trained(folder, Dying)


def cached(folder):
    """Batches and the normalisation of a cache that is opened, or built where it lacks something."""
    found = build_cache(folder, TableModel(), ROWS, HOOKS, rows_per_shard=4, block_rows=5, progress=False)
    batches = found.batches(16, 0)
    out = {f"{hook} {i}": x for i, batch in zip(range(5), batches, strict=False) for hook, x in batch.items()}
    for hook, normalisation in found.normalisation.items():
        out |= {f"{hook} mean": normalisation.mean, f"{hook} scale": normalisation.scale}
    return out


KINDS = {  # of files: what writes them into a folder, and what reads them
    **{name: (lambda folder, sae=sae: save_sae(sae, folder / "sae.safetensors"), loaded) for name, sae in SAES.items()},
    "training": (half_trained, trained),
    "cache": (cached, cached),
}


@cache
def whole(kind):
    """The bytes of all files by name, and what is read from them."""
    write, read = KINDS[kind]
    with TemporaryDirectory() as parent:
        folder = Path(parent) / "whole"
        folder.mkdir()
        write(folder)
        return {path.name: path.read_bytes() for path in folder.iterdir()}, read(folder)


@pytest.mark.parametrize("kind", KINDS)
@examples(80)
@given(data=st.data())
def test_damaged_files_give_the_same_or_are_refused(tmp_path_factory, kind, data):
    files, expected = whole(kind)
    folder = tmp_path_factory.getbasetemp() / kind
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    name = data.draw(st.sampled_from(sorted(files)))
    for other, content in files.items():
        if other != name:
            (folder / other).write_bytes(content)
        elif data.draw(st.integers(0, 9), "gone at 0"):
            (folder / name).write_bytes(spoiled(data, content, Path(name).suffix[1:]))
    found = or_refused(KINDS[kind][1], folder)
    if found:
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert torch.equal(found[key], value) if isinstance(value, torch.Tensor) else found[key] == value


@examples(100)
@given(st.data(), st.sampled_from(ARCHITECTURES))
def test_a_whole_file_that_holds_something_else_loads_as_it_says_or_is_refused(tmp_path_factory, data, architecture):
    """What another version may have written: other settings, other tensors, under a checksum that is right."""
    sae, path = SAES[architecture], tmp_path_factory.getbasetemp() / "other.safetensors"
    about = {"config": asdict(sae.config), "seeds": list(sae.seeds), "hook_point": sae.hook_point}
    tensors = {name: tensor.clone() for name, tensor in sae.state_dict().items()}
    if data.draw(st.booleans(), "settings"):
        about = data.draw(altered(about))
    else:
        name = data.draw(st.sampled_from(sorted(tensors)), "tensor")
        change = data.draw(st.sampled_from(["gone", "renamed", "reshaped", "nan", "whole numbers"]))
        tensor = tensors.pop(name)
        if change != "gone":
            tensors[name + ("2" if change == "renamed" else "")] = {
                "renamed": tensor,
                "reshaped": tensor[None],
                "nan": torch.full_like(tensor, torch.nan),
                "whole numbers": tensor.long(),
            }[change]
    write_tensors(path, "sae", tensors, about)
    found = or_refused(load_sae, path)
    if found:
        assert json.loads(json.dumps(asdict(found.config))).items() >= about["config"].items()
        assert (list(found.seeds), found.hook_point) == (about["seeds"], about["hook_point"])
        assert all(torch.equal(t.float().squeeze(), found.state_dict()[n].squeeze()) for n, t in tensors.items())
        assert torch.isfinite(found(raw_activations())).all()
