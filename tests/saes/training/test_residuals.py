"""Boosting: members learn the residual, side by side as alone, and their losses, AuxK's too, are about the residual."""

import numpy as np
import pytest
import torch
from helpers.random_saes import how_sparse
from helpers.synthetic_activations import planted

from sae_utils.data.activations import TensorSource
from sae_utils.errors import InputError
from sae_utils.saes import SAE, SAEConfig, losses
from sae_utils.saes.ensembles.paper_c import SEED_STRIDE, boosted_cells, boosted_ensemble
from sae_utils.saes.training import (
    HeldSource,
    PartSource,
    ResidualSource,
    StackTrainer,
    TrainingConfig,
    grid,
    residuals,
    train,
)
from sae_utils.saes.training.grid import Activations, Cell, train_cells

HOOK = "hook"
READS = Activations((HOOK, "other"), 4096)


@pytest.fixture(scope="module")
def source():
    return TensorSource({HOOK: planted(4096)[0], "other": planted(4096, seed=1)[0]}, block_rows=1000)


def training(n_steps=40, batch_size=64, **how):
    return TrainingConfig(n_tokens=n_steps * batch_size, batch_size=batch_size, **how)


def firsts(source, seeds=(0, 1), architecture="topk", **how):
    config = SAEConfig(24, 32, architecture, **how_sparse(architecture, 3, 0.05), **how)
    stack = SAE.create(config, seeds, HOOK, source.normalisation[HOOK])
    train([stack], source, training(), progress=False)
    return [stack.dictionary(i) for i in range(len(seeds))]


def boost(firsts, n_members, source, folder):
    """Boosted ensembles that begin with each of some dictionaries."""
    named = {f"first {i}": sae for i, sae in enumerate(firsts)}
    cells = []
    for name, sae in named.items():
        first = Cell(name, sae.config, HOOK, sae.seeds, training(), READS)
        cells += boosted_cells(first, 0, n_members, f"boosted {name}")
    trained = train_cells(cells, {READS: source}, folder, trained=named, progress=False)
    return [boosted_ensemble(trained, name, 0, n_members, f"boosted {name}") for name in named]


def all_of(source, name=HOOK):
    return source.read(np.arange(len(source.order.keep)))[name].flatten(0, 1)


@pytest.mark.parametrize("architecture", ["topk", "relu", "jump_relu"])
def test_each_member_lowers_the_error(source, tmp_path, architecture):
    ensemble = boost(firsts(source, (0,), architecture), 3, source, tmp_path)[0]
    x = all_of(source)
    errors = [(ensemble.outputs(x)[:, :j].sum(1) - x).square().sum().item() for j in (1, 2, 3)]
    assert errors[2] < errors[1] < errors[0]
    assert [m.seeds for m in ensemble.members] == [(0,), (SEED_STRIDE,), (2 * SEED_STRIDE,)]
    assert {m.hook_point for m in ensemble.members} == {HOOK}


def test_two_side_by_side_are_two_alone(source, tmp_path):
    both = boost(firsts(source), 3, source, tmp_path / "both")
    for first, together in zip(firsts(source), both, strict=True):
        alone = boost([first], 3, source, tmp_path / "alone")[0]
        assert torch.equal(together(all_of(source)), alone(all_of(source)))
    names = [sorted(path.name for path in (tmp_path / folder).iterdir()) for folder in ("both", "alone")]
    assert names[0] == names[1]  # so what one machine trains for one ensemble is found by another that trains both


def test_residuals_computed_anew_give_what_residuals_in_memory_give(source, tmp_path, monkeypatch):
    """And what is trained once is read the second time."""
    held = boost(firsts(source), 3, source, tmp_path / "held")
    monkeypatch.setattr(grid, "hold", lambda residual: residual)
    live = boost(firsts(source), 3, source, tmp_path / "live")
    assert torch.equal(held[1](all_of(source)), live[1](all_of(source)))
    monkeypatch.setattr("sae_utils.saes.training.store.train", lambda *a: pytest.fail("trained again"))
    again = boost(firsts(source), 3, source, tmp_path / "live")
    assert torch.equal(again[1](all_of(source)), live[1](all_of(source)))


def test_a_residual_is_what_the_frozen_dictionary_leaves(source):
    a, b = firsts(source)
    residual = ResidualSource(source, {"r0": a, "r1": b})
    rows = np.array([3, 5, 4000])
    x = source.read(rows)[HOOK]
    torch.testing.assert_close(residual.read(rows)["r1"][:, 0], x[:, 0] - b(x[:, 0])[:, 0])
    first, again = (next(s.batches(100, 7)) for s in (residual, HeldSource(residual)))
    assert torch.equal(first["r0"], again["r0"])
    scale = residual.normalisation["r0"].scale
    assert scale > source.normalisation[HOOK].scale  # a residual is smaller, so its units are finer


def test_auxk_is_about_the_residual_not_the_input(source, monkeypatch):
    """The released code gives the auxiliary loss of a boosted TopK the original activation."""
    first = firsts(source, (0,), auxk=4)[0]
    residual = ResidualSource(source, {"r": first})
    second = SAE.create(first.config, [1], "r", residual.normalisation["r"])
    targets, real = [], losses.auxk_loss
    monkeypatch.setattr(losses, "auxk_loss", lambda *a: targets.append(a[2]) or real(*a))
    batch = next(residual.batches(64, 0))["r"]
    left = second.normalise(batch) - (second(batch)[:, 0] - second.mean) * second.scale
    StackTrainer(second, training(dead_after=1)).step(0, batch)
    torch.testing.assert_close(targets[0], left.detach(), rtol=1e-4, atol=1e-5)
    raw = next(source.batches(64, 0))[HOOK]
    assert (targets[0] - second.normalise(raw)).abs().max() > 1


def test_content_names_what_the_residual_is_of(source):
    a, b = firsts(source)
    contents = [ResidualSource(source, {"r": sae}).content for sae in (a, b)]
    contents += [ResidualSource(source, {"s": a}).content, HeldSource(source).content, HeldSource(source, 100).content]
    assert len(set(contents)) == 5
    assert ResidualSource(source, {"r": a}).content == contents[0]


def test_held_rows_have_the_tokens_asked_for(source, monkeypatch):
    held = HeldSource(source, 100)
    assert held.n_tokens == 100
    assert torch.equal(all_of(held), all_of(source)[:100])
    monkeypatch.setattr(residuals, "HELD_GB", 1e-9)
    assert residuals.hold(source, 100) is source
    with pytest.raises(InputError, match="n_tokens=5000 must be at most the 4096"):
        HeldSource(source, 5000)


def test_parts_share_no_row_and_make_up_the_whole(source):
    parts = [PartSource(source, which, 3) for which in range(3)]
    assert torch.equal(torch.cat([all_of(part) for part in parts]), all_of(source))
    assert {part.n_tokens for part in parts} == {1365, 1366}
    assert len({source.content, *(part.content for part in parts)}) == 4
    again = PartSource(source, 1, 3)
    assert again.content == parts[1].content
    halves = [PartSource(source, 1, 3, first, 2) for first in (0, 1)]
    assert all(torch.equal(all_of(half), all_of(again)[first::2]) for first, half in enumerate(halves))
    assert len({again.content, *(half.content for half in halves)}) == 3
    batch = next(again.batches(64, 0))["other"]
    here = all_of(again, "other")
    assert all((row == here).all(1).any() for row in batch)
    with pytest.raises(InputError, match="no activations are left"):
        PartSource(source, 0, 5000)


def test_wrong_first_members_are_refused(source, tmp_path):
    a = firsts(source)[0]
    with pytest.raises(InputError, match=r"seeds \[0, 0\] of the first members of boosted ensembles must differ"):
        boost([a, a.copy()], 2, source, tmp_path)
    a.hook_point = "elsewhere"
    with pytest.raises(InputError, match="'elsewhere' is not among the activations: hook, other"):
        boost([a], 2, source, tmp_path)


def test_the_residual_of_a_stack_is_refused(source):
    with pytest.raises(InputError, match="of one dictionary each, not of a stack of 2"):
        ResidualSource(source, {HOOK: SAE.create(SAEConfig(24, 32, "topk", 3), [0, 1], HOOK)})
