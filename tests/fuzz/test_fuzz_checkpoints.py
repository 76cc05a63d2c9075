"""Damaged files of our own give what the whole file gives, or one InputError.

All that they hold is under a checksum, so damage anywhere counts, weights included. What a file with a right checksum
holds may still be wrong, for another version may have written it: that is tried, too.
"""

import json
from dataclasses import asdict
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from helpers.fuzzing import altered, damaged, damages, examples, or_refused, with_header
from helpers.random_saes import make, raw_activations
from helpers.tiny_language_model import TableModel
from hypothesis import given
from hypothesis import strategies as st

from sae_utils.data.activations import TensorSource, build_cache
from sae_utils.saes import ARCHITECTURES
from sae_utils.saes.ensembles import Ensemble
from sae_utils.saes.ensembles.ensemble import load_ensemble, save_ensemble
from sae_utils.saes.training import TrainingConfig, train
from sae_utils.saes.training.checkpoints import load_sae, save_sae, write_tensors

SAES = {architecture: make(architecture, n_latents=8, seeds=(0, 1)) for architecture in ARCHITECTURES}


@cache
def saved(architecture):
    """The bytes of a file."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "sae.safetensors"
        save_sae(SAES[architecture], path)
        return path.read_bytes()


def assert_equal(found, sae):
    assert found is None or (found.config, found.seeds, found.hook_point) == (sae.config, sae.seeds, sae.hook_point)
    if found is not None:
        expected = sae.state_dict()
        assert found.state_dict().keys() == expected.keys()
        assert all(torch.equal(tensor, expected[name]) for name, tensor in found.state_dict().items())


@examples(150)
@given(damages(), st.sampled_from(ARCHITECTURES))
def test_a_damaged_dictionary_is_the_same_or_refused(tmp_path_factory, damage, architecture):
    path = tmp_path_factory.getbasetemp() / "sae.safetensors"
    path.write_bytes(damaged(saved(architecture), damage))
    assert_equal(or_refused(load_sae, path), SAES[architecture])


@examples(100)
@given(st.data(), st.sampled_from(ARCHITECTURES))
def test_a_header_that_says_something_else_is_refused(tmp_path_factory, data, architecture):
    path = tmp_path_factory.getbasetemp() / "sae.safetensors"
    path.write_bytes(with_header(saved(architecture), lambda header: data.draw(altered(header))))
    assert_equal(or_refused(load_sae, path), SAES[architecture])


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


ENSEMBLE = Ensemble([SAES["topk"].dictionary(0), SAES["topk"].dictionary(1)], [0.25, 0.75])


@examples(40)
@given(st.data())
def test_a_damaged_ensemble_is_the_same_or_refused(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "ensemble.safetensors"
    save_ensemble(ENSEMBLE, path)
    content = path.read_bytes()
    if data.draw(st.booleans(), "header"):
        path.write_bytes(with_header(content, lambda header: data.draw(altered(header))))
    else:
        path.write_bytes(damaged(content, data.draw(damages())))
    found = or_refused(load_ensemble, path)
    if found:
        assert torch.equal(found(raw_activations()), ENSEMBLE(raw_activations()))


CONFIG = TrainingConfig(120, 20, base_lr=1e-3, log_every=2, checkpoint_every=3)


def new():
    return make("topk", n_latents=8, seeds=(0, 1))


def trained(checkpoint=None):
    sae = new()
    train([sae], TensorSource({"hook": raw_activations(64)}), CONFIG, checkpoint, progress=False)
    return sae


class Killed(Exception):
    """In the middle of a run."""


class Dying(TensorSource):
    """Four batches, and no more."""

    def _batches(self, *args):
        for i, batch in enumerate(super()._batches(*args)):
            if i == 4:
                raise Killed
            yield batch


@cache
def half_done():
    """The bytes of a checkpoint in the middle of a run, and the stack at the end of one."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "training.safetensors"
        with pytest.raises(Killed):
            train([new()], Dying({"hook": raw_activations(64)}), CONFIG, path, progress=False)
        return path.read_bytes(), trained()


@examples(60)
@given(st.data())
def test_a_damaged_training_checkpoint_ends_in_the_same_weights_or_is_refused(tmp_path_factory, data):
    content, expected = half_done()
    path = tmp_path_factory.getbasetemp() / "training.safetensors"
    if data.draw(st.booleans(), "header"):
        path.write_bytes(with_header(content, lambda header: data.draw(altered(header))))
    else:
        path.write_bytes(damaged(content, data.draw(damages())))
    assert_equal(or_refused(trained, path), expected)


HOOKS = ("blocks.0.hook_mlp_out", "blocks.1.hook_mlp_out")
ROWS = np.random.default_rng(0).integers(1, 300, size=(10, 8)).astype(np.uint16)


def cached(folder):
    """A batch and the normalisation of a cache that is opened, or built where it lacks something."""
    cache = build_cache(folder, TableModel(), ROWS, HOOKS, rows_per_shard=4, block_rows=5, progress=False)
    batches = cache.batches(16, 0)
    return [next(batches) for _ in range(5)], cache.normalisation


@cache
def whole_cache():
    """The bytes of all files of a cache by name, and what it gives."""
    with TemporaryDirectory() as parent:
        folder = Path(parent) / "cache"
        expected = cached(folder)
        return {path.name: path.read_bytes() for path in folder.iterdir()}, expected


@examples(150)
@given(st.data())
def test_a_damaged_cache_gives_the_same_batches_or_is_refused(tmp_path_factory, data):
    files, (batches, normalisation) = whole_cache()
    folder = tmp_path_factory.getbasetemp() / "cache"
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    name = data.draw(st.sampled_from(sorted(files)))
    content = files[name]
    how = data.draw(st.sampled_from(["bytes", "gone", "values"]))
    if how == "values" and name.endswith(".json"):
        content = json.dumps(data.draw(altered(json.loads(content)))).encode()
    elif how == "values" and name.endswith(".safetensors"):
        content = with_header(content, lambda header: data.draw(altered(header)))
    else:
        content = damaged(content, data.draw(damages()))
    for other, whole in files.items():
        if other != name or how != "gone":
            (folder / other).write_bytes(content if other == name else whole)
    found = or_refused(cached, folder)
    if found:
        for batch, expected in zip(found[0], batches, strict=True):
            assert all(torch.equal(batch[hook], expected[hook]) for hook in HOOKS)
        for hook in HOOKS:
            assert torch.equal(found[1][hook].mean, normalisation[hook].mean)
            assert found[1][hook].scale == normalisation[hook].scale
