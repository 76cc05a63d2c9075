"""benchmarks/gpu.py on the CPU: the same code path at small sizes, its exit codes, and what counts as a difference."""

import pytest
import torch

from sae_utils.memory import FORWARD_TOKENS
from sae_utils.paths import ROOT


@pytest.fixture
def modules(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import gpu
    import gpu_cases
    import gpu_checks

    return gpu, gpu_checks, gpu_cases


def test_every_check_runs_and_passes_on_the_cpu(modules, monkeypatch, capsys):
    gpu, checks, cases = modules
    monkeypatch.setattr(checks, "STEPS", checks.Interrupting.limit + 1)
    monkeypatch.setitem(FORWARD_TOKENS, "cpu", 512)
    assert gpu.main(["--device", "cpu", "--small"]) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert "FAIL" not in out and "all checks passed" in lines
    passed = [line for line in lines if line.startswith("PASS  ")]
    for name in cases.CONFIGS:
        assert sum(line.startswith(f"PASS  {name}: ") for line in passed) >= 6
    for subject in ("top_k", "encode_top_k", "keep_top_k", "keep_batch_top_k", "sparse_encode", "sparse_decode"):
        assert any(line.startswith(f"PASS  {subject}") for line in passed)
    assert any("zero by construction" in line for line in lines)
    for members in (1, 8):  # at two sizes of batch
        assert sum(line.startswith(f"  stack of {members}: ") and "of the limit" in line for line in lines) == 2
    assert "recorded" in lines[-1]


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without CUDA")
def test_without_cuda_it_says_so_in_one_line(modules, capsys):
    assert modules[0].main([]) == 2
    said = capsys.readouterr()
    assert not said.out and len(said.err.splitlines()) == 1 and "nothing was checked" in said.err


def test_a_failed_check_gives_exit_code_1(modules, monkeypatch, capsys):
    gpu, checks, _ = modules
    monkeypatch.setattr(gpu, "check_all", lambda device, small: [checks.Check("a sum", 2e-3, 1e-3)])
    for report in ("report_throughput", "report_recorded"):
        monkeypatch.setattr(gpu, report, lambda *_: None)
    assert gpu.main(["--device", "cpu", "--small"]) == 1
    assert "FAIL  a sum" in capsys.readouterr().out


def test_a_difference_is_seen(modules):
    _, checks, _ = modules
    reference = torch.tensor([1.0, -4.0])
    assert checks.difference(reference, reference) == 0
    assert checks.difference(torch.tensor([1.0, -3.0]), reference) == 0.25
    for wrong in (torch.tensor([1.0, float("nan")]), torch.ones(3)):
        assert not checks.Check("", checks.difference(wrong, reference), 1.0).passed


def test_a_wrong_gradient_is_caught(modules, monkeypatch):
    """The twins differ where one of them gets another batch: the checks are not empty."""
    _, checks, cases = modules
    right, calls = checks.training_loss, []

    def wrong_on_first_call(sae, x, dead):
        calls.append(x)
        return right(sae, x + 0.01 if len(calls) == 1 else x, dead)

    monkeypatch.setattr(checks, "training_loss", wrong_on_first_call)
    results = list(checks.check_architecture("cpu", "topk", cases.CONFIGS["topk"]))
    assert [check.passed for check in results] == [False, False, True]


def test_choices_are_clear_even_in_float32(modules):
    """On the picked batches a change of the rounding, here to float64, moves no choice and stays within tolerance."""
    _, checks, cases = modules
    for config in cases.CONFIGS.values():
        sae, x = cases.clear_case(config)
        dead = torch.zeros(sae.b_enc.shape, dtype=torch.bool)
        dead[:, : cases.DEAD] = True
        gradients = []
        for dtype in (torch.float32, torch.float64):
            twin = sae.to(dtype)
            twin.zero_grad()
            checks.training_loss(twin, x.to(dtype), dead).loss.sum().backward()
            gradients.append([p.grad.clone() for p in twin.parameters()])
        worst = max(checks.difference(a, b) for a, b in zip(*gradients, strict=True))
        assert worst < checks.GRADIENT / 5
