"""On disk or streamed: by size, by room, by what the numbers need; the same batches either way."""

import logging
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.tiny_language_model import make_tiny

from sae_utils.data.activations import ActivationCache, ActivationStream, open_source
from sae_utils.data.models.language_model import LanguageModel, load_language_model
from sae_utils.memory import MemoryPlan

HOOK = "blocks.1.hook_mlp_out"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def model(folder):
    return load_language_model(folder)


@pytest.fixture
def rows():
    return np.random.default_rng(1).integers(1, 300, (6, 16)).astype(np.uint16)


def batch(source):
    return next(source.batches(32, data_seed=3))[HOOK]


def names(folder):
    """Of the caches in a folder, without their hashes."""
    return sorted(path.name.partition("-")[0] + path.name[28:] for path in folder.glob("activations-*"))


def test_what_fits_is_cached_once_under_a_name_of_its_content(model, rows, tmp_path):
    for _ in range(2):
        assert isinstance(open_source(model, rows, [HOOK], tmp_path), ActivationCache)
        assert names(tmp_path) == ["activations"]
    open_source(model, rows[:3], [HOOK], tmp_path)
    open_source(model, rows, ["blocks.0.hook_mlp_out"], tmp_path)
    assert names(tmp_path) == ["activations"] * 3


def test_what_does_not_fit_is_streamed_and_gives_the_same_batches(model, rows, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        stream = open_source(model, rows, [HOOK], tmp_path / "none", largest_gb=1e-9)
    assert isinstance(stream, ActivationStream) and not (tmp_path / "none").exists()
    weights = sum(p.nbytes for p in model.weights.parameters())
    assert stream.memory("cpu") == MemoryPlan(model=weights, buffer=6 * 16 * 16 * 4)
    assert [r.getMessage() for r in caplog.records] == [
        f"activations are streamed (a cache of them would take 3.07 kB); cpu needs {stream.memory('cpu')}"
    ]
    cache = open_source(model, rows, [HOOK], tmp_path)
    a, b = batch(stream), batch(cache)
    np.testing.assert_allclose(a, b, atol=2e-3 * float(a.abs().max()))  # float16 keeps 11 bits


def test_no_room_on_the_disk_means_a_stream(model, rows, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=3000))
    stream = open_source(model, rows, [HOOK], tmp_path / "cache")
    assert isinstance(stream, ActivationStream) and not (tmp_path / "cache").exists()
    (warning,) = caplog.messages
    assert "needs 3.07 kB and the disk has 3.00 kB free: the activations are streamed instead" in warning


def test_a_cache_of_a_bfloat16_model_is_in_bfloat16_and_loses_nothing(folder, rows, tmp_path):
    half = load_language_model(folder, dtype="bfloat16")
    cache = open_source(half, rows, [HOOK], tmp_path)
    assert cache.manifest["dtype"] == "bfloat16" and names(tmp_path) == ["activations-bfloat16"]
    assert torch.equal(batch(cache), batch(open_source(half, rows, [HOOK], tmp_path, largest_gb=0)))


def test_beyond_float16_the_cache_is_in_bfloat16_now_and_later(model, rows, tmp_path, monkeypatch, caplog):
    plain = LanguageModel.activations
    monkeypatch.setattr(LanguageModel, "activations", lambda *a: {h: 1e6 * x for h, x in plain(*a).items()})
    cache = open_source(model, rows, [HOOK], tmp_path)
    assert cache.manifest["dtype"] == "bfloat16" and batch(cache).isfinite().all()
    assert names(tmp_path) == ["activations-beyond-float16"]
    assert [m.partition(" are ")[2] for m in caplog.messages] == [
        "beyond torch.float16: the cache is built again in bfloat16"
    ]
    caplog.clear()
    assert torch.equal(batch(open_source(model, rows, [HOOK], tmp_path)), batch(cache))
    assert not caplog.messages and len(names(tmp_path)) == 1
