"""Training says what it needs before it starts, and is refused where that cannot fit."""

import logging

import numpy as np
import psutil
import pytest
import torch
from helpers.synthetic_activations import planted
from helpers.tiny_language_model import make_tiny

from sae_utils import memory
from sae_utils.data.activations.source import ActivationStream, TensorSource
from sae_utils.data.models.language_model import load_language_model
from sae_utils.device_memory import free_memory, weights_bytes
from sae_utils.errors import InputError
from sae_utils.saes.sae import SAE, SAEConfig
from sae_utils.saes.training import memory_check
from sae_utils.saes.training import store as trained
from sae_utils.saes.training.memory_check import plan_training
from sae_utils.saes.training.store import train_or_load
from sae_utils.saes.training.training import TrainingConfig

TRAINING = TrainingConfig(640, 64)
HOOK = "blocks.0.hook_mlp_out"


@pytest.fixture
def source():
    return TensorSource({"h": planted(1000, 8, 16)[0]})


def new(seeds=(0, 1), n_latents=16, hook="h", d_in=8):
    return SAE.create(SAEConfig(d_in, n_latents, "topk", 3), seeds, hook)


def test_a_plan_has_every_stack_once_and_the_largest_step(source):
    one, other = new(), new((3,), 64)
    plan = plan_training([one, other], source, TRAINING)
    plans = [memory.training_plan(*shape, 64, "topk", 3, device="cpu") for shape in ((2, 8, 16), (1, 8, 64))]
    assert plan == plans[0] + plans[1] and plan.step == max(p.step for p in plans)
    assert plan.dictionaries == sum(t.nbytes for sae in (one, other) for t in sae.state_dict().values())


def test_a_streams_model_and_buffer_are_in_the_plan(tmp_path):
    model = load_language_model(make_tiny(tmp_path))
    stream = ActivationStream(model, np.ones((9, 16), dtype=np.int64), [HOOK], block_rows=4)
    plan = plan_training([new(hook=HOOK, d_in=16)], stream, TRAINING)
    assert plan.buffer == 4 * 16 * 16 * 4 and plan.model == weights_bytes(model) > 0


def test_the_plan_is_logged_once_before_the_training(source, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(memory_check, "free_memory", lambda device: 10**9)
    with caplog.at_level(logging.INFO):
        train_or_load([new()], source, TRAINING, tmp_path, progress=False)
        train_or_load([new()], source, TRAINING, tmp_path, progress=False)  # read, not trained
    (said,) = caplog.messages
    assert said == f"training needs {plan_training([new()], source, TRAINING)}; cpu has 1.00 GB free"


def test_what_cannot_fit_is_refused_before_the_first_step(source, tmp_path, monkeypatch):
    plan = plan_training([new()], source, TRAINING)
    missing = plan.total - plan.dictionaries  # the dictionaries are there
    monkeypatch.setattr(trained, "train", lambda *_: pytest.fail("trained"))
    monkeypatch.setattr(memory_check, "free_memory", lambda device: missing)
    with pytest.raises(InputError, match=r"this needs .* dictionaries .*, optimiser .*; cpu has .* free") as error:
        train_or_load([new()], source, TRAINING, tmp_path, progress=False)
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())
    monkeypatch.setattr(memory_check, "free_memory", lambda device: 1 + int(missing / memory.HEADROOM))
    with pytest.raises(pytest.fail.Exception, match="trained"):
        train_or_load([new()], source, TRAINING, tmp_path, progress=False)


def test_where_memory_cannot_be_asked_nothing_is_refused(source, tmp_path, monkeypatch):
    monkeypatch.setattr(memory_check, "free_memory", lambda device: None)
    assert len(train_or_load([new()], source, TRAINING, tmp_path, progress=False)) == 1


def test_free_memory_of_each_kind_of_device(monkeypatch):
    assert 0 < free_memory("cpu") <= psutil.virtual_memory().total
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 5000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 700)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 300)
    assert free_memory("cuda:1") == 1400  # torch gives back what it holds and does not use
    assert free_memory("mps") is None
