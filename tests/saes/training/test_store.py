"""Trained dictionaries are found again by what they are, and never confused."""

import ast
import logging
from contextlib import ExitStack

import numpy as np
import pytest
import torch
from helpers.synthetic_activations import planted
from helpers.tiny_language_model import make_tiny

from sae_utils import memory
from sae_utils.data.activations import ActivationStream, TensorSource
from sae_utils.data.models.language_model import load_language_model
from sae_utils.errors import InputError
from sae_utils.paths import PACKAGE
from sae_utils.saes import SAE, SAEConfig
from sae_utils.saes.training import TrainingConfig, train, train_or_load, train_or_load_history
from sae_utils.saes.training import store as trained
from sae_utils.saes.training.locks import claimed
from sae_utils.saes.training.store import CODE, plan_training, stack_key

CONFIG = SAEConfig(8, 16, "topk", 3)
TRAINING = TrainingConfig(640, 64)
HOOK = "blocks.0.hook_mlp_out"


@pytest.fixture
def source():
    return TensorSource({"h": planted(1000, 8, 16)[0]})


def new(seeds=(0, 1), config=CONFIG, hook="h"):
    return SAE.create(config, seeds, hook)


def same(a: SAE, b: SAE) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.fixture
def get(source, tmp_path):
    """``train_or_load``, or its history where ``tokens`` are given, into the test's folder unless another is."""

    def of(*stacks, tokens=None, folder=tmp_path, config=TRAINING):
        if tokens is None:
            return train_or_load(stacks, source, config, folder, progress=False)
        return train_or_load_history(stacks, source, config, folder, tokens, progress=False)

    return of


@pytest.fixture
def passes(monkeypatch):
    """The seeds of the stacks of each pass that is trained; a test may add to it."""
    made = []

    def watched(stacks, *rest):
        made.append([sae.seeds for sae in stacks])
        return train(stacks, *rest)

    monkeypatch.setattr(trained, "train", watched)
    return made


def test_trained_once_and_then_read_and_only_what_is_missing_is_trained(source, tmp_path, get, passes):
    alone = new()
    train([alone], source, TRAINING, progress=False)
    assert same(get(new())[0], alone)
    assert [path.name[:12] for path in tmp_path.iterdir()] == ["dictionaries"]
    out = get(new([5]), new(), new([6]))
    assert passes == [[(0, 1)], [(5,), (6,)]]
    assert [sae.seeds for sae in out] == [(5,), (0, 1), (6,)] and same(out[1], alone) and out[1].hook_point == "h"


def test_what_another_process_trains_is_waited_for_while_the_rest_is_trained(tmp_path, monkeypatch, get, passes):
    get(new(), folder=tmp_path / "elsewhere")
    (made,) = (tmp_path / "elsewhere").iterdir()

    def other_process_ends(seconds):
        passes.append("waited")
        held.close()
        made.rename(tmp_path / made.name)

    monkeypatch.setattr(trained.time, "sleep", other_process_ends)
    with ExitStack() as held:
        held.enter_context(claimed([tmp_path / f".{made.stem}.lock"]))
        out = get(new([5]), new(), new([6]))
    assert passes == [[(0, 1)], [(5,), (6,)], "waited"]
    assert [sae.seeds for sae in out] == [(5,), (0, 1), (6,)]
    assert all(path.suffix == ".safetensors" for path in tmp_path.iterdir() if path.is_file())


def test_whatever_weights_depend_on_changes_the_key(source, monkeypatch):
    other_units = new()
    other_units.scale.fill_(2.0)
    frozen = new()
    frozen.b_enc.requires_grad_(False)
    keys = [
        stack_key(new(), source, TRAINING),
        stack_key(new((0, 2)), source, TRAINING),
        stack_key(new(config=SAEConfig(8, 16, "topk", 4)), source, TRAINING),
        stack_key(new(config=SAEConfig(8, 16, "batch_topk", 3)), source, TRAINING),
        stack_key(other_units, source, TRAINING),
        stack_key(frozen, source, TRAINING),
        stack_key(new(), source, TrainingConfig(704, 64)),
        stack_key(new(), source, TrainingConfig(640, 64, data_seed=1)),
        stack_key(new(), TensorSource({"h": planted(1000, 8, 16)[0] + 1e-3}), TRAINING),
        stack_key(new(), TensorSource({"h": planted(1000, 8, 16)[0]}, block_rows=10), TRAINING),
    ]
    assert len(set(keys)) == len(keys)
    assert stack_key(new(), source, TRAINING) == keys[0]
    monkeypatch.setattr(trained, "code_digest", lambda device: "other")
    assert stack_key(new(), source, TRAINING) not in keys


def imports(name: str) -> set[str]:
    """Files of ``sae_utils.saes`` that the file imports, by themselves or through another."""
    found = set()
    for node in ast.walk(ast.parse((PACKAGE / name).read_text())):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("sae_utils.saes"):
            modules = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            files = [f"{module.removeprefix('sae_utils.').replace('.', '/')}.py" for module in modules]
            found |= {file for file in files if (PACKAGE / file).is_file()}
    return found.union(*(imports(file) for file in found))


def test_code_names_every_module_that_training_uses():
    used = imports("saes/training/training.py") | {"saes/training/training.py"}
    changes_no_number = {f"saes/training/{name}.py" for name in ("checkpoints", "finite", "recorded")}
    assert used - set(CODE) == changes_no_number
    assert all((PACKAGE / name).is_file() for name in CODE)


def kinds(folder):
    """What the files of a folder are, by the beginnings of their names."""
    return sorted(path.name.partition("-")[0] for path in folder.glob("*.safetensors"))


def killed_after(n_batches: int):
    """``train`` that ends with an error after so many batches."""

    def killed(stacks, source, *rest):
        steps, batches = iter(range(n_batches)), source.batches
        source.batches = lambda *a, **k: (batch for batch in batches(*a, **k) if next(steps, None) is not None or 1 / 0)
        try:
            train(stacks, source, *rest)
        finally:
            source.batches = batches

    return killed


def test_a_history_is_of_one_run_and_is_read_again(tmp_path, get, passes):
    """Stacks may be wanted at different tokens; the last one is the one that train_or_load gives."""
    (end,) = get(new(), folder=tmp_path / "plain")
    first, again = (get(new(), new([5]), tokens=[[128, 320], []]) for _ in range(2))
    assert [list(history) for history in first] == [[128, 320, 640], [640]]
    assert same(first[0][640], end) and not same(first[0][128], first[0][320])
    assert all(same(a[n], b[n]) for a, b in zip(first, again, strict=True) for n in a)
    assert same(get(new())[0], end) and len(passes) == 2


def test_a_killed_call_goes_on_with_all_its_snapshots_and_leaves_no_checkpoint(tmp_path, monkeypatch, get):
    """Killed in step 7, checkpoint after step 4: the snapshot after step 2 is kept, that after step 5 made again."""
    how = {"config": TrainingConfig(640, 64, checkpoint_every=4), "tokens": [[128, 320, 576]]}
    (whole,) = get(new(), folder=tmp_path / "whole", **how)
    with monkeypatch.context() as patch:
        patch.setattr(trained, "train", killed_after(6))
        with pytest.raises(ZeroDivisionError):
            get(new(), **how)
    assert "training" in kinds(tmp_path)
    (resumed,) = get(new(), **how)
    assert list(resumed) == [128, 320, 576, 640] and kinds(tmp_path) == ["dictionaries"] * 4
    assert all(same(resumed[n], whole[n]) for n in whole)


def test_a_damaged_file_is_refused(tmp_path, get):
    get(new())
    (path,) = tmp_path.iterdir()
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    with pytest.raises(InputError, match="corrupt"):
        get(new())


def test_a_plan_has_every_stack_once_and_the_largest_step(source):
    one, other = new(), new((3,), SAEConfig(8, 64, "topk", 3))
    plan = plan_training([one, other], source, TRAINING)
    plans = [memory.training_plan(sae.config, sae.n_dictionaries, 64, "cpu") for sae in (one, other)]
    assert plan == plans[0] + plans[1] and plan.step == max(p.step for p in plans)
    assert plan.dictionaries == sum(t.nbytes for sae in (one, other) for t in sae.state_dict().values())


def test_a_streams_model_and_buffer_are_in_the_plan(tmp_path):
    model = load_language_model(make_tiny(tmp_path))
    stream = ActivationStream(model, np.ones((9, 16), dtype=np.int64), [HOOK], block_rows=4)
    plan = plan_training([new(config=SAEConfig(16, 16, "topk", 3), hook=HOOK)], stream, TRAINING)
    assert plan.buffer == 4 * 16 * 16 * 4 and plan.model == sum(p.nbytes for p in model.weights.parameters()) > 0


def test_the_plan_is_logged_once_before_the_training(source, monkeypatch, caplog, get):
    monkeypatch.setattr(trained, "free_memory", lambda device: 10**9)
    with caplog.at_level(logging.INFO):
        get(new())
        get(new())  # read, not trained
    (said,) = caplog.messages
    assert said == f"training needs {plan_training([new()], source, TRAINING)}; cpu has 1.00 GB free"


def test_what_cannot_fit_is_refused_before_the_first_step(source, tmp_path, monkeypatch, get):
    plan = plan_training([new()], source, TRAINING)
    missing = plan.total - plan.dictionaries  # the dictionaries are there
    monkeypatch.setattr(trained, "train", lambda *_: pytest.fail("trained"))
    monkeypatch.setattr(trained, "free_memory", lambda device: missing)
    with pytest.raises(InputError, match=r"this needs .* dictionaries .*, optimiser .*; cpu has .* free"):
        get(new())
    assert not list(tmp_path.iterdir())
    for enough in (1 + int(missing / memory.HEADROOM), None):  # None: it cannot be asked
        monkeypatch.setattr(trained, "free_memory", lambda device, enough=enough: enough)
        with pytest.raises(pytest.fail.Exception, match="trained"):
            get(new())
