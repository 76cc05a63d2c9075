"""Which stacks' steps are recorded as CUDA graphs. That recorded steps are the same: benchmarks/gpu_checks.py."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from sae_utils.memory import RECORDED
from sae_utils.saes import SAE, SAEConfig
from sae_utils.saes.methods.matryoshka import Matryoshka
from sae_utils.saes.training.recorded import is_recordable

TOPK = SAEConfig(8, 16, "topk", k=2)


def on_cuda(config, n_parameters=1000):
    """What ``is_recordable`` asks of a stack, as if it were on a GPU."""
    weights = [SimpleNamespace(numel=lambda: n_parameters)]
    return SimpleNamespace(config=config, W_dec=SimpleNamespace(is_cuda=True), parameters=lambda: weights)


def test_a_stack_on_the_cpu_is_not_recorded():
    assert not is_recordable(SAE.create(TOPK, [0], "x"))


@pytest.mark.parametrize(
    ("config", "n_parameters", "recorded"),
    [
        (TOPK, RECORDED, True),
        (SAEConfig(8, 16, "relu", sparsity=1.0), 1000, True),
        (TOPK, RECORDED + 1, False),  # the GPU takes longer than Python
        (replace(TOPK, auxk=4), 1000, False),  # what is dead changes
        (SAEConfig(8, 16, "batch_topk", k=2), 1000, False),  # asks how many were offered
        (Matryoshka(8, 16, "topk", k=2, widths=(8, 16)), 1000, False),  # a loss of its own
    ],
)
def test_small_steps_that_are_all_the_same_are_recorded(config, n_parameters, recorded):
    assert is_recordable(on_cuda(config, n_parameters)) is recorded
