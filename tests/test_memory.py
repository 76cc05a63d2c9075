"""Estimates of memory against what tensors really take."""

import subprocess
import sys

import psutil
import pytest
import torch
from helpers.random_saes import how_sparse
from torch.profiler import ProfilerActivity, profile

from sae_utils import memory
from sae_utils.errors import InputError
from sae_utils.memory import MemoryPlan, check_fits, human
from sae_utils.saes import ARCHITECTURES, SAE, SAEConfig
from sae_utils.saes.training import StackTrainer, TrainingConfig

SHAPES = [(2, 32, 1024, 512), (2, 128, 512, 64), (3, 64, 512, 512)]  # members, d_in, latents, batch


def trainer(config, members, batch):
    sae = SAE.create(config, range(members), "x")
    return StackTrainer(sae, TrainingConfig(10 * batch, batch, log_every=1000, dead_after=1))


def n_bytes(tensors) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


def measured_over_planned(config, members, batch) -> float:
    """Bytes allocated at once in the second step, above what was there before it, over the estimate."""
    training = trainer(config, members, batch)
    x = torch.randn(batch, config.d_in, generator=torch.Generator().manual_seed(0))
    training.step(0, x)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        training.step(1, x)
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    gradient = n_bytes(training.learned.values())
    return peak / (gradient + memory.training_plan(config, members, batch, "cpu").step)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_dictionaries_and_optimiser_are_counted_to_the_byte(architecture):
    shape = 3, 16, 64, architecture
    training = trainer(SAEConfig(16, 64, architecture, **how_sparse(architecture)), 3, 8)
    training.step(0, torch.randn(8, 16))
    state = training.sae.state_dict().values()
    assert memory.dictionary_bytes(*shape) == n_bytes(state)
    moments = [t for s in training.optimizer.state.values() for name, t in s.items() if name != "step"]
    gradients = list(training.learned.values())
    assert memory.optimiser_bytes(*shape) == n_bytes(moments) + n_bytes(gradients) + n_bytes([training.since_fired])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_step_takes_no_more_than_estimated_and_not_far_less(architecture, shape):
    members, d_in, n_latents, batch = shape
    config = SAEConfig(d_in, n_latents, architecture, **how_sparse(architecture, 8, 1.0))
    least = 0.25 if architecture == "batch_topk" else 0.5  # the estimate allows it one more try at its candidates
    assert least < measured_over_planned(config, members, batch) < 1.02


def test_aux_k_is_counted():
    assert 0.4 < measured_over_planned(SAEConfig(32, 1024, k=8, auxk=16), 2, 512) < 1.02


@pytest.mark.parametrize(
    ("members", "batch", "peak"), [(1, 4096, 1.2), (8, 4096, 6.31), (1, 16384, 1.43), (8, 16384, 6.64)]
)
def test_on_cuda_a_step_takes_what_an_h100_gave_it(members, batch, peak):
    """GiB, by benchmarks/gpu.py on 26 November 2026; of four batches of activations one is planned."""
    plan = memory.training_plan(SAEConfig(768, 32768, k=32), members, batch)
    assert 0.7 * plan.total < peak * 2**30 < 1.05 * plan.total


def test_activations_and_rows():
    assert memory.activation_bytes(1000, 768) == 1000 * 768 * 2
    assert memory.activation_bytes(1000, 768, "torch.float32") == 1000 * 768 * 4
    assert memory.rows_bytes(1000, 50_304) == 2000 and memory.rows_bytes(1000, 128_256) == 4000
    with pytest.raises(InputError, match="dtype='int8' is unknown; allowed: float32"):
        memory.item_bytes("int8")


def test_buffers_of_small_corpora_have_256_rows_and_others_half_a_million_activations():
    assert memory.buffer_rows(12_000, 256) == memory.buffer_rows(2**17, 256) == 256
    assert memory.buffer_rows(2**17 + 1, 256) == 2048 and memory.buffer_rows(10**6, 128) == 4096
    assert memory.buffer_rows(10**6, 8192) == 256


@pytest.mark.parametrize(
    ("size", "said"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.00 kB"), (15_690, "15.7 kB"), (999_600, "1.00 MB"),
     (9_999_000, "10.0 MB"), (1.57e9, "1.57 GB"), (2.5e18, "2500 PB")],
)  # fmt: skip
def test_sizes_in_words(size, said):
    assert human(size) == said


def test_a_plan_says_its_parts_and_adds_up():
    one = MemoryPlan(model=320_000_000, dictionaries=10_000_000, step=5_000_000)
    two = one + MemoryPlan(dictionaries=10_000_000, optimiser=1_000_000, step=9_000_000)
    assert two == MemoryPlan(320_000_000, 0, 20_000_000, 1_000_000, 9_000_000) and two.total == 350_000_000
    assert str(two) == "350 MB: language model 320 MB, dictionaries 20.0 MB, optimiser 1.00 MB, temporary 9.00 MB"
    assert str(MemoryPlan()) == "0 bytes"


def test_what_does_not_fit_is_refused():
    plan = MemoryPlan(model=10_000, dictionaries=80_000)
    check_fits(plan, 100_000, "cuda:0")
    check_fits(plan, 92_000, "cuda:0", present=10_000)
    with pytest.raises(InputError, match=r"needs 90.0 kB: language model .* cuda:0 has 99.0 kB free: take"):
        check_fits(plan, 99_000, "cuda:0")
    with pytest.raises(InputError, match="beside 10.0 kB of this that is there already"):
        check_fits(plan, 80_000, "cuda:0", present=10_000)


def test_a_plan_is_made_without_torch():
    code = "import sys; import sae_utils.memory; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_free_memory_of_each_kind_of_device(monkeypatch):
    assert 0 < memory.free_memory("cpu") <= psutil.virtual_memory().total
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 5000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 700)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 300)
    assert memory.free_memory("cuda:1") == 1400  # torch gives back what it holds and does not use
    assert memory.free_memory("mps") is None
