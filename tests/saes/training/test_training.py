"""Training: stacks equal their dictionaries alone, a killed run equals a whole one, planted dictionaries are found."""

import os
import re
import signal
import subprocess
import sys
from contextlib import nullcontext
from copy import deepcopy
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.places import importing
from helpers.random_saes import how_sparse
from helpers.synthetic_activations import planted

from sae_utils.data.activations import TensorSource
from sae_utils.errors import InputError
from sae_utils.saes import ARCHITECTURES, SAE, SAEConfig
from sae_utils.saes.training import Snapshots, TrainingConfig, optimisation, train, training
from sae_utils.saes.training.checkpoints import read_tensors


@pytest.fixture(scope="module")
def source():
    return TensorSource({"hook": planted(4096)[0], "other": planted(4096, d_in=16, seed=5)[0]})


def make(source, architecture="topk", seeds=(0, 1, 2), n_latents=128, hook="hook", **how):
    config = SAEConfig(source.d_in[hook], n_latents, architecture, **how_sparse(architecture, 3, 0.05), **how)
    return SAE.create(config, seeds, hook, source.normalisation[hook])


def steps(n, batch_size=64, **how):
    return TrainingConfig(n_tokens=n * batch_size, batch_size=batch_size, **how)


def run(source, stacks, config, checkpoint=None):
    return train(stacks, source, config, checkpoint, progress=False)


def assert_same_weights(a, b, largest=0.0):
    for name, t in a.state_dict().items():
        difference = (t - b.state_dict()[name]).abs().max().item()
        assert difference <= largest, f"{name} differs by {difference}"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_three_together_are_three_alone(source, architecture):
    """50 steps, with AuxK at work from the tenth on."""
    how = {"auxk": 8} if architecture in ("topk", "relu") else {}
    config = steps(50, dead_after=640)
    together = make(source, architecture, **how)
    before = together.W_dec.detach().clone()
    log = run(source, [together], config)[0]
    for i in range(3):
        alone = make(source, architecture, seeds=(i,), **how)
        log_alone = run(source, [alone], config)[0]
        assert_same_weights(together.dictionary(i), alone, 1e-5)
        torch.testing.assert_close(log.loss[:, i], log_alone.loss[:, 0], rtol=1e-5, atol=1e-6)
    assert (together.W_dec - before).abs().max() > 1e-3


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_same_seed_gives_the_same_weights(source, architecture):
    """In two runs to the bit; twice within a stack too, so none is treated in its own way. Not so with other data."""
    first, again, other = (make(source, architecture, (4, 4, 5)) for _ in range(3))
    for sae, data_seed in ((first, 0), (again, 0), (other, 1)):
        run(source, [sae], steps(20, data_seed=data_seed))
    assert_same_weights(first, again)
    assert (first.W_dec - other.W_dec).abs().max() > 1e-4
    assert_same_weights(first.dictionary(0), first.dictionary(1), 1e-6)
    assert (first.W_dec[0] - first.W_dec[2]).abs().max() > 0.1


def test_stacks_of_different_kinds_in_one_run_are_as_in_their_own(source):
    def stacks():
        return [
            make(source, "topk", (0, 1), 64),
            make(source, "topk", (0,), 512),
            make(source, "relu", (3, 1), 32, hook="other"),
            make(source, "batch_topk", (2,), 48, hook="other"),
        ]

    together, alone = stacks(), stacks()
    logs = run(source, together, steps(30))
    for i, sae in enumerate(alone):
        own = run(source, [sae], steps(30))[0]
        assert_same_weights(together[i], sae)
        assert torch.equal(logs[i].loss, own.loss)


def test_the_order_around_the_step(source, monkeypatch):
    """The optimiser gets gradients across the rows only, clipped, at the scheduled rate; norms are exact after it."""
    sae, seen = make(source), []

    def step(self):
        parallel = (sae.W_dec.grad * sae.W_dec).sum(-1).abs().max()
        norms = torch.stack([p.grad.flatten(1).norm(dim=1) for p in sae.parameters()]).norm(dim=0)
        seen.append((parallel.item(), norms.max().item(), self.param_groups[0]["lr"]))

    monkeypatch.setattr(torch.optim.Adam, "step", step)
    run(source, [sae], steps(20, lr=0.1, clip=1e-3, warmup=0.25, decay=0.5))
    for i, (parallel, norm, lr) in enumerate(seen):
        assert parallel < 1e-8
        assert norm == pytest.approx(1e-3, rel=1e-4)
        assert lr == pytest.approx(0.1 * optimisation.schedule(i, 20, 0.25, 0.5))
    assert len(seen) == 20


def test_log(source):
    sae = make(source)
    log = run(source, [sae], steps(25, log_every=10, dead_after=64 * 12))[0]
    assert log.tokens.tolist() == [640, 1280, 1600]
    assert log.loss.shape == log.fvu.shape == log.l0.shape == log.dead_fraction.shape == (3, 3)
    assert (log.fvu[-1] < log.fvu[0]).all() and (log.l0 <= 3).all()
    assert (log.dead_fraction[0] == 0).all()


def test_auxk_revives_dead_latents(source):
    """Latents that a negative bias keeps from being chosen: with AuxK more of them fire again than without."""
    alive = {}
    for auxk in (None, 32):
        sae = make(source, seeds=(0,), auxk=auxk, auxk_coefficient=1.0)
        with torch.no_grad():
            sae.b_enc[:, 64:] = -2.0
        run(source, [sae], steps(150, lr=0.01, dead_after=64 * 5))
        code = sae.encode(planted(2000, seed=3)[0]).dense(128)
        alive[auxk] = (code[:, 0, 64:] > 0).any(0).double().mean().item()
    assert alive[32] > alive[None] + 0.2, alive


def test_batch_topk_threshold_gives_the_training_l0_on_held_out_activations(source):
    sae = make(source, "batch_topk", seeds=(0, 1), n_latents=64)
    run(source, [sae], steps(400, 256, lr=3e-3))
    code = sae.encode(planted(4000, seed=99)[0])
    l0 = (code.values > 0).sum((0, 2)) / 4000
    assert ((l0 - 3).abs() < 0.3).all(), l0
    assert (sae.threshold > 0).all()


def test_topk_recovers_a_planted_dictionary():
    x, directions = planted(20_000)
    source = TensorSource({"hook": x})
    sae = make(source, seeds=(0,), n_latents=48)
    log = run(source, [sae], steps(1500, 256, lr=3e-3))[0]

    def mean_max_cosine(rows):
        return (directions @ rows.T).amax(1).mean().item()

    null = F.normalize(torch.randn(48, 24, generator=torch.Generator().manual_seed(5)), dim=-1)
    found = mean_max_cosine(sae.W_dec[0].detach())
    assert found > 0.9, found
    assert mean_max_cosine(null) < 0.6
    assert log.fvu[-1] < 0.2


KILLED = """
import os, signal, sys
from pathlib import Path
from test_training import Spy, kill_run
kill_run(Path(sys.argv[1]), end=lambda: os.kill(os.getpid(), signal.SIGKILL))
"""


def kill_run(checkpoint, last=18, end=lambda: None):
    """A run of two stacks with AuxK, a BatchTopK threshold, and a checkpoint every 10 of 40 steps; it may end early."""
    source = TensorSource({"hook": planted(1000)[0]})
    stacks = [make(source, "topk", (0, 1), auxk=8), make(source, "batch_topk", (2,), 64)]
    config, spy = steps(40, checkpoint_every=10, log_every=7, dead_after=640), Spy(source, last, end)
    return stacks, run(spy, stacks, config, checkpoint), spy


def test_killed_and_run_again_is_the_uninterrupted_run_to_the_bit(tmp_path):
    """By SIGKILL in step 18, then by an error in step 33 of what went on from there."""
    whole, logs, _ = kill_run(tmp_path / "whole", None)
    checkpoint = tmp_path / "killed"
    environment = importing(Path(__file__).parent) | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, "-c", KILLED, str(checkpoint)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    with pytest.raises(StopIteration):
        kill_run(checkpoint, 33 - 10)
    resumed, resumed_logs, spy = kill_run(checkpoint, None)
    assert spy.first_batch == 30
    for a, b in zip(whole, resumed, strict=True):
        assert_same_weights(a, b)
    for a, b in zip(logs, resumed_logs, strict=True):
        assert all(torch.equal(getattr(a, name), getattr(b, name)) for name in ("tokens", "loss", "fvu", "l0"))
    finished, *_ = kill_run(checkpoint)
    assert_same_weights(finished[0], whole[0])
    (a, about), (b, about_again) = (read_tensors(path, "training") for path in (tmp_path / "whole", checkpoint))
    assert about == about_again and a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class Spy:
    """A source that notes where it was asked to begin, and ends after ``last`` batches, as if killed there."""

    def __init__(self, inner, last=None, end=lambda: None):
        self.inner, self.d_in, self.hook_points, self.n_tokens = inner, inner.d_in, inner.hook_points, inner.n_tokens
        self.last, self.end = last, end

    def batches(self, *args, first_batch=0, **kwargs):
        self.first_batch = first_batch
        yield from islice(self.inner.batches(*args, first_batch=first_batch, **kwargs), self.last)
        self.end()


@pytest.mark.parametrize(("soon", "written"), [(1.0, [4, 8, 12, 16, 18]), (0.0, [4, 18])], ids=["quick", "slow"])
def test_checkpoints_that_take_long_are_written_less_often(tmp_path, source, monkeypatch, soon, written):
    """Here each is slow or none; the next waits for ever, and the last is written all the same."""
    found = []
    monkeypatch.setattr(training, "SOON", soon)
    monkeypatch.setattr(training, "APART", 1e9)
    monkeypatch.setattr(training, "write_tensors", lambda path, kind, tensors, about: found.append(about["step"]))
    run(source, [make(source)], steps(18, checkpoint_every=4), tmp_path / "checkpoint")
    assert found == written


def test_a_killed_write_leaves_the_checkpoint_before_it(tmp_path, source, monkeypatch):
    """The part file is written in full and never becomes the checkpoint: the run goes on from the one before."""
    whole, again = make(source), make(source)
    run(source, [whole], steps(20))
    path = tmp_path / "checkpoint"
    replace, calls = os.replace, []

    def killed_second_time(*args):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        replace(*args)

    monkeypatch.setattr(os, "replace", killed_second_time)
    with pytest.raises(KeyboardInterrupt):
        run(source, [make(source)], steps(20, checkpoint_every=8), path)
    monkeypatch.undo()
    spy = Spy(source)
    run(spy, [again], steps(20, checkpoint_every=8), path)
    assert spy.first_batch == 8
    assert_same_weights(whole, again)


def test_a_checkpoint_of_another_run_is_refused(tmp_path, source):
    path = tmp_path / "checkpoint"
    run(source, [make(source)], steps(4), path)
    before, frozen = path.read_bytes(), make(source)
    frozen.b_enc.requires_grad_(False)
    others = [
        ([make(source, seeds=(0, 1, 3))], steps(4)),
        ([make(source, n_latents=64)], steps(4)),
        ([make(source, auxk=2)], steps(4)),
        ([make(source)] * 2, steps(4)),
        ([make(source)], steps(5)),
        ([make(source)], steps(4, lr=1e-3)),
        ([make(source)], steps(4, data_seed=1)),
        ([frozen], steps(4)),
    ]
    for stacks, config in others:
        with pytest.raises(InputError, match="^checkpoint .* is of a run with other settings or data: "):
            run(source, stacks, config, path)
    elsewhere = TensorSource({name: 5 * x[:, 0] + 1 for name, x in source.read(np.arange(4096)).items()})
    for data, allowed in ((source, True), (elsewhere, False)):
        with nullcontext() if allowed else pytest.raises(InputError, match="other settings or data"):
            run(data, [make(data)], steps(4), path)
    assert path.read_bytes() == before


def test_what_cannot_work_is_refused_before_the_first_batch(source, monkeypatch):
    monkeypatch.setattr(source, "batches", None)
    elsewhere = SAE.create(SAEConfig(24, 8, k=2), [0], "nowhere")
    narrow = SAE.create(SAEConfig(7, 8, k=2), [0], "hook")
    all_frozen = make(source).requires_grad_(False)
    for stacks, config, start in (
        ([], steps(4), "stacks=[] must hold"),
        ([elsewhere], steps(4), "hook point 'nowhere' is not among the activations: hook, other"),
        ([narrow], steps(4), "d_in=7, but activations at 'hook' have 24 dimensions"),
        ([make(source)], steps(4, bfloat16=True), "bfloat16=True is for CUDA"),
        ([make(source), all_frozen], steps(4), "stacks[1] has no parameter that requires a gradient"),
    ):
        with pytest.raises(InputError, match=f"^{re.escape(start)}"):
            run(source, stacks, config)


@pytest.mark.parametrize("architecture", ["topk", "gated", "jump_relu"])
def test_decoder_rows_keep_norm_one(source, architecture):
    sae = make(source, architecture)
    run(source, [sae], steps(30, lr=0.01))
    assert (sae.W_dec.double().norm(dim=-1) - 1).abs().max() < 1e-6
    free = make(source, architecture, unit_norm_decoder=False)
    run(source, [free], steps(30, lr=0.01))
    assert (free.W_dec.norm(dim=-1) - 1).abs().max() > 1e-3


FROZEN = [("relu", "b_enc"), ("gated", "W_dec"), ("topk", "encoder"), ("topk", "W_dec"), ("batch_topk", "b_enc")]


@pytest.mark.parametrize(("architecture", "frozen"), [*FROZEN, ("jump_relu", "encoder")])
def test_frozen_parameters_stay_and_the_others_learn(source, architecture, frozen, tmp_path):
    """Also across a resume: the optimiser's state in the checkpoint is that of the learned ones alone."""

    def new():
        sae = make(source, architecture)
        sae.get_parameter(frozen).requires_grad_(False)
        return sae

    first, whole, resumed, config = new(), new(), new(), steps(20, lr=3e-3, checkpoint_every=8)
    run(source, [whole], config)
    for name, p in whole.named_parameters():
        assert torch.equal(p, first.get_parameter(name)) is (name == frozen), name
    path = tmp_path / "checkpoint"
    with pytest.raises(StopIteration):
        run(Spy(source, last=10), [new()], config, path)
    assert not any(f"adam.{frozen}" in name for name in read_tensors(path, "training")[0])
    run(source, [resumed], config, path)
    assert_same_weights(whole, resumed)


def test_snapshots_are_the_weights_after_so_many_tokens_and_do_not_disturb(source):
    """Tokens inside a batch count when it is complete; weights after 3 steps are those of a run killed there."""
    kept, config = {}, steps(10)
    plain, shown = [make(source), make(source, "relu")], [make(source), make(source, "relu")]
    run(source, plain, config)
    snapshots = Snapshots((64 * 7, 64 * 2 + 1), lambda i, n, sae: kept.update({(i, n): deepcopy(sae)}))
    train(shown, source, config, progress=False, snapshots=snapshots)
    assert list(kept) == [(0, 129), (1, 129), (0, 448), (1, 448)]
    for i, sae in enumerate(shown):
        assert_same_weights(sae, plain[i])
        after_three = make(source, ("topk", "relu")[i])
        with pytest.raises(StopIteration):
            run(Spy(source, last=3), [after_three], config)
        assert_same_weights(kept[i, 129], after_three)


@pytest.mark.parametrize("tokens", [(640,), (0,), (1, 2), (577,)])
def test_impossible_snapshots_are_refused(source, tokens):
    with pytest.raises(InputError, match="^snapshot.*tokens"):
        train([make(source)], source, steps(10), progress=False, snapshots=Snapshots(tokens, None))


BAD = {
    "n_tokens=1000000.0 ": {"n_tokens": 1e6},
    "n_tokens=100 is less than one batch of 2048": {"n_tokens": 100},
    "batch_size=1 must be a whole number of at least 2": {"batch_size": 1},
    "dead_after=0 ": {"dead_after": 0},
    "log_every=True ": {"log_every": True},
    "checkpoint_every=-1 ": {"checkpoint_every": -1},
    "data_seed=-1 ": {"data_seed": -1},
    "warmup=1.5 ": {"warmup": 1.5},
    "decay=-0.1 ": {"decay": -0.1},
    "base_lr=0 ": {"base_lr": 0},
    "lr=nan ": {"lr": float("nan")},
    "clip=inf ": {"clip": float("inf")},  # the gradients would be multiplied by inf / inf
    "betas[0]=1.0 ": {"betas": (1.0, 0.999)},
    "betas=0.9 ": {"betas": 0.9},
    "bfloat16='no' ": {"bfloat16": "no"},
}


@pytest.mark.parametrize("start", BAD)
def test_impossible_training_configs_are_refused(start):
    with pytest.raises(InputError, match=f"^{re.escape(start)}"):
        TrainingConfig(**{"n_tokens": 4096, **BAD[start]})


def test_progress_says_where_the_run_is(source, capsys):
    train([make(source)], source, steps(50), progress=True)
    shown = capsys.readouterr().err
    assert "SAEs" in shown and "3.20k/3.20k" in shown
