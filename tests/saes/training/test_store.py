"""Trained dictionaries are found again by what they are, and never confused."""

import ast

import pytest
import torch
from helpers.synthetic_activations import planted

from sae_utils.data.activations.source import TensorSource
from sae_utils.errors import InputError
from sae_utils.paths import PACKAGE
from sae_utils.saes.sae import SAE, SAEConfig
from sae_utils.saes.training import store as trained
from sae_utils.saes.training.store import CODE, stack_key, train_or_load, train_or_load_history
from sae_utils.saes.training.training import TrainingConfig, train

CONFIG = SAEConfig(8, 16, "topk", 3)
TRAINING = TrainingConfig(640, 64)


@pytest.fixture
def source():
    return TensorSource({"h": planted(1000, 8, 16)[0]})


def new(seeds=(0, 1), config=CONFIG, hook="h"):
    return SAE.create(config, seeds, hook)


def same(a: SAE, b: SAE) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_trained_once_and_then_read(source, tmp_path, monkeypatch):
    alone = new()
    train([alone], source, TRAINING, progress=False)
    (first,) = train_or_load([new()], source, TRAINING, tmp_path, progress=False)
    assert same(first, alone)
    monkeypatch.setattr(trained, "train", lambda *_: pytest.fail("trained again"))
    (second,) = train_or_load([new()], source, TRAINING, tmp_path, progress=False)
    assert same(second, alone)
    assert second.seeds == (0, 1) and second.hook_point == "h"
    assert [path.name[:12] for path in tmp_path.iterdir()] == ["dictionaries"]


def test_only_what_is_missing_is_trained(source, tmp_path, monkeypatch):
    train_or_load([new()], source, TRAINING, tmp_path, progress=False)
    seen = []

    def watched(stacks, *rest):
        seen.extend(sae.seeds for sae in stacks)
        return train(stacks, *rest)

    monkeypatch.setattr(trained, "train", watched)
    out = train_or_load([new([5]), new(), new([6])], source, TRAINING, tmp_path, progress=False)
    assert seen == [(5,), (6,)]
    assert [sae.seeds for sae in out] == [(5,), (0, 1), (6,)]


def test_whatever_weights_depend_on_changes_the_key(source):
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


def test_the_code_that_trains_is_in_the_key(source, monkeypatch):
    before = stack_key(new(), source, TRAINING)
    monkeypatch.setattr(trained, "code_digest", lambda: "other")
    assert stack_key(new(), source, TRAINING) != before


def imports(name: str) -> set[str]:
    """Files of the layer ``dictionary`` that the file imports, by themselves or through another."""
    found = set()
    for node in ast.walk(ast.parse((PACKAGE / name).read_text())):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("sae_utils.saes"):
            names = [alias.name for alias in node.names] if node.module == "sae_utils.saes" else [""]
            found |= {f"{node.module.replace('.', '/')}/{part}".rstrip("/") + ".py" for part in names}
    found = {path.removeprefix("sae_utils/") for path in found}
    return found.union(*(imports(path) for path in found)) if found else found


def test_code_names_every_module_that_training_uses():
    used = imports("saes/training/training.py") | {"saes/training/training.py"}
    assert used - set(CODE) == {"saes/training/checkpoints.py"}
    assert all((PACKAGE / name).is_file() for name in CODE)


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


def test_a_killed_call_goes_on_and_leaves_no_checkpoint(source, tmp_path, monkeypatch):
    (whole,) = train_or_load([new()], source, TRAINING, tmp_path / "whole", progress=False)
    often = TrainingConfig(640, 64, checkpoint_every=4)

    with monkeypatch.context() as patch:
        patch.setattr(trained, "train", killed_after(6))
        with pytest.raises(ZeroDivisionError):
            train_or_load([new()], source, often, tmp_path, progress=False)
    assert [path.name[:8] for path in tmp_path.glob("*.safetensors")] == ["training"]
    (resumed,) = train_or_load([new()], source, often, tmp_path, progress=False)
    assert same(resumed, whole)
    assert [path.name[:12] for path in tmp_path.glob("*.safetensors")] == ["dictionaries"]


def test_a_history_is_of_one_run_and_is_read_again(source, tmp_path, monkeypatch):
    """Stacks may be wanted at different tokens; the last one is the one that train_or_load gives."""
    (end,) = train_or_load([new()], source, TRAINING, tmp_path / "plain", progress=False)
    args = source, TRAINING, tmp_path, [[128, 320], []]
    first = train_or_load_history([new(), new([5])], *args, progress=False)
    assert [list(history) for history in first] == [[128, 320, 640], [640]]
    assert same(first[0][640], end) and not same(first[0][128], first[0][320])
    monkeypatch.setattr(trained, "train", lambda *_: pytest.fail("trained again"))
    again = train_or_load_history([new(), new([5])], *args, progress=False)
    assert all(same(a[n], b[n]) for a, b in zip(first, again, strict=True) for n in a)
    assert same(train_or_load([new()], source, TRAINING, tmp_path, progress=False)[0], end)


def test_a_killed_history_has_all_its_snapshots(source, tmp_path, monkeypatch):
    """Killed in step 7, checkpoint after step 4: the snapshot after step 2 is kept, that after step 5 made again."""
    config, tokens = TrainingConfig(640, 64, checkpoint_every=4), [[128, 320, 576]]
    (whole,) = train_or_load_history([new()], source, config, tmp_path / "whole", tokens, progress=False)
    with monkeypatch.context() as patch:
        patch.setattr(trained, "train", killed_after(6))
        with pytest.raises(ZeroDivisionError):
            train_or_load_history([new()], source, config, tmp_path, tokens, progress=False)
    (resumed,) = train_or_load_history([new()], source, config, tmp_path, tokens, progress=False)
    assert list(resumed) == [128, 320, 576, 640]
    assert all(same(resumed[n], whole[n]) for n in whole)


def test_a_damaged_file_is_refused(source, tmp_path):
    train_or_load([new()], source, TRAINING, tmp_path, progress=False)
    (path,) = tmp_path.iterdir()
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    with pytest.raises(InputError, match="corrupt"):
        train_or_load([new()], source, TRAINING, tmp_path, progress=False)
