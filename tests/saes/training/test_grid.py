"""Cells are trained in one pass for each source, once each, and are what training them alone would give."""

import pytest
import torch
from helpers.synthetic_activations import planted

from sae_utils.data.activations import TensorSource
from sae_utils.errors import InputError
from sae_utils.saes.sae import SAE, SAEConfig
from sae_utils.saes.training import store as trained
from sae_utils.saes.training.grid import Cell, train_cells
from sae_utils.saes.training.training import TrainingConfig, train

TRAINING = TrainingConfig(640, 64)
CENTRE = Cell(SAEConfig(8, 16, "topk", 3), "h", 640)


@pytest.fixture
def sources():
    here = {"h": planted(1000, 8, 16)[0]}
    others = {"other": planted(1000, 8, 16, seed=4)[0], "third": planted(1000, 8, 16, seed=5)[0]}
    return [TensorSource(here), TensorSource(others)]


def test_vary_changes_one_thing():
    assert CENTRE.vary(k=5) == Cell(SAEConfig(8, 16, "topk", 5), "h", 640)
    assert CENTRE.vary("other") == Cell(CENTRE.config, "other", 640)
    assert CENTRE.vary(n_tokens=64) == Cell(CENTRE.config, "h", 64)


def test_each_cell_is_as_trained_alone_and_each_source_is_passed_once(sources, tmp_path, monkeypatch):
    passes = []

    def counted(stacks, source, *rest):
        passes.append((len(stacks), source.hook_points))
        return train(stacks, source, *rest)

    monkeypatch.setattr(trained, "train", counted)
    cells = [CENTRE, CENTRE.vary(k=2), CENTRE, CENTRE.vary("third"), CENTRE.vary("other", n_latents=8)]
    stacks = train_cells(cells, (0, 1), sources, TRAINING, tmp_path, progress=False)
    assert passes == [(2, ("h",)), (2, ("other", "third"))]
    assert list(stacks) == [CENTRE, *cells[1:2], *cells[3:]]
    for cell, sae in stacks.items():
        source = sources[0] if cell.hook_point == "h" else sources[1]
        alone = SAE.create(cell.config, (0, 1), cell.hook_point, source.normalisation[cell.hook_point])
        train([alone], source, TRAINING, progress=False)
        assert all(torch.equal(a, b) for a, b in zip(sae.parameters(), alone.parameters(), strict=True))


def test_fewer_tokens_are_snapshots_of_the_run(sources, tmp_path, monkeypatch):
    """The centre at 640 tokens is that of the sweep; its snapshots differ, and a run of 128 tokens is another thing."""
    calls = []
    monkeypatch.setattr(trained, "train", lambda *args: calls.append(args[0]) or train(*args))
    cells = [CENTRE.vary(n_tokens=n) for n in (128, 320, 640)]
    stacks = train_cells(cells, (0, 1), sources, TRAINING, tmp_path, progress=False)
    assert [len(stacks) for stacks in calls] == [1]
    short = SAE.create(CENTRE.config, (0, 1), "h", sources[0].normalisation["h"])
    train([short], sources[0], TrainingConfig(128, 64), progress=False)
    weights = [stacks[cell].W_dec for cell in cells] + [short.W_dec]
    assert all(not torch.equal(a, b) for i, a in enumerate(weights) for b in weights[:i])


def test_a_hook_point_that_no_source_has_is_refused(sources, tmp_path):
    with pytest.raises(InputError, match="^hook point 'nowhere' is in none of the sources"):
        train_cells([CENTRE.vary("nowhere")], (0,), sources, TRAINING, tmp_path)
