"""Cells are trained in few passes, once each, and are what training them alone would give."""

from dataclasses import replace

import pytest
import torch
from helpers.synthetic_activations import planted

from sae_utils.data.activations import TensorSource
from sae_utils.errors import InputError
from sae_utils.saes import SAE, SAEConfig
from sae_utils.saes.ensembles.paper_c import boosted_cells
from sae_utils.saes.training import HeldSource, TrainingConfig, train
from sae_utils.saes.training import store as trained
from sae_utils.saes.training.grid import STACK_MEMORY, Activations, Cell, passes, train_cells

TRAINING = TrainingConfig(640, 64)
HERE, THERE = Activations(("h",), 1000), Activations(("other", "third"), 1000, streamed=True)
CENTRE = Cell("centre", SAEConfig(8, 16, "topk", 3), "h", (0, 1), TRAINING, HERE)


def vary(name, **config):
    return replace(CENTRE, name=name, config=replace(CENTRE.config, **config))


def alone(cell, source):
    sae = SAE.create(cell.config, cell.seeds, cell.hook_point, source.normalisation[cell.hook_point])
    train([sae], source, cell.training, progress=False)
    return sae


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


@pytest.fixture
def sources():
    here = {"h": planted(1000, 8, 16)[0]}
    others = {"other": planted(1000, 8, 16, seed=4)[0], "third": planted(1000, 8, 16, seed=5)[0]}
    return {HERE: TensorSource(here), THERE: TensorSource(others)}


@pytest.fixture
def calls(monkeypatch):
    """(stacks, hook points, tokens) of each pass that is trained."""
    made = []

    def counted(stacks, source, config, *rest):
        made.append((len(stacks), source.hook_points, config.n_tokens))
        return train(stacks, source, config, *rest)

    monkeypatch.setattr(trained, "train", counted)
    return made


def test_each_cell_is_as_trained_alone_and_each_source_is_passed_once(sources, tmp_path, calls):
    elsewhere = [replace(CENTRE, name=name, hook_point=name, reads=THERE) for name in ("third", "other")]
    cells = [CENTRE, vary("k 2", k=2), vary("k 3", k=3), *elsewhere]
    stacks = train_cells(cells, sources, tmp_path, progress=False)
    assert calls == [(2, ("h",), 640), (2, ("other", "third"), 640)]
    assert stacks["k 3"] is stacks["centre"]
    assert all(equal(stacks[cell.name], alone(cell, sources[cell.reads])) for cell in cells)


def test_other_lengths_are_other_passes_and_what_is_there_is_not_trained(sources, tmp_path, calls):
    longer = replace(CENTRE, name="longer", training=TrainingConfig(1280, 64))
    first = train_cells([CENTRE], sources, tmp_path, progress=False)
    found = train_cells([CENTRE, longer], sources, tmp_path, trained=first, progress=False)
    assert found["centre"] is first["centre"] and equal(found["longer"], alone(longer, sources[HERE]))
    train_cells([CENTRE, longer], sources, tmp_path, progress=False)
    assert calls == [(1, ("h",), 640), (1, ("h",), 1280)]


def test_a_pass_is_split_where_memory_is_short_with_the_same_weights(sources, tmp_path, calls, monkeypatch):
    cells = [CENTRE, vary("k 2", k=2), vary("again")]
    one = CENTRE.memory("cpu").total
    split = [[cell.name for cell in group] for group in passes(cells, "cpu", one)]
    assert split == [["centre", "again"], ["k 2"]]
    assert [len(group) for group in passes(cells, "cpu")] == [3]
    together = train_cells(cells, sources, tmp_path / "together", progress=False)
    monkeypatch.setattr("sae_utils.saes.training.grid.total_memory", lambda device: 1.9 * one)
    split = train_cells(cells, sources, tmp_path / "split", progress=False)
    assert [n for n, *_ in calls] == [2, 1, 1]
    assert all(equal(together[name], split[name]) for name in split)


FIVE = replace(CENTRE, name="five", seeds=(3, 1, 4, 0, 5))


def memory_for(n_seeds: int, cell: Cell = FIVE) -> float:
    """Bytes of a device that holds a stack of so many seeds of a cell, and no larger one."""
    return replace(cell, seeds=cell.seeds[:n_seeds]).memory("cpu").total / STACK_MEMORY


@pytest.mark.parametrize(
    ("held", "groups"),
    [
        (5, [(3, 1, 4, 0, 5)]),
        (4, [(3, 1, 4), (0, 5)]),
        (3, [(3, 1, 4), (0, 5)]),
        (2, [(3, 1), (4, 0), (5,)]),
        (1, [(3,), (1,), (4,), (0,), (5,)]),
    ],
)
def test_parts_are_the_fewest_groups_of_seeds_that_memory_holds(held, groups):
    total = memory_for(held)
    parts = FIVE.parts("cpu", total)
    assert [part.seeds for part in parts] == groups
    assert all(replace(part, seeds=FIVE.seeds) == FIVE for part in parts)
    assert all(part.parts("cpu", total) == [part] for part in parts)


def test_what_has_first_weights_or_comes_after_others_is_not_cut_nor_anything_where_memory_is_unknown():
    uncut = [replace(FIVE, given=True), replace(FIVE, frozen=(("first", 0),))]
    assert all(cell.parts("cpu", 1.0) == [cell] for cell in uncut) and FIVE.parts("cpu", None) == [FIVE]
    assert len(FIVE.parts("cpu", 1.0)) == 5  # refused when they are trained


CUT = {
    "batch_topk": replace(FIVE, config=SAEConfig(8, 16, "batch_topk", 3), snapshots=(128, 320)),
    "jump_relu": replace(FIVE, config=SAEConfig(8, 16, "jump_relu", sparsity=1.0), fixed=("W_dec",)),
}


@pytest.mark.parametrize("architecture", CUT)
def test_a_stack_that_memory_does_not_hold_is_its_parts_side_by_side(
    sources, tmp_path, calls, monkeypatch, architecture
):
    """To the bit those of its parts; to 4 digits the whole one's, for larger stacks multiply in another order."""
    cell = CUT[architecture]
    pair = replace(cell, name="pair", seeds=(3, 1), snapshots=())
    uncut = train_cells([cell], sources, tmp_path / "uncut", progress=False)
    monkeypatch.setattr("sae_utils.saes.training.grid.total_memory", lambda device: memory_for(2, cell))
    for _ in range(2):
        found = train_cells([cell, pair], sources, tmp_path, progress=False)
        assert [n for n, *_ in calls] == 4 * [1]  # the second time nothing is trained
    names = [cell.at(n) for n in (*cell.snapshots, 640)]
    assert len(list(tmp_path.glob("dictionaries-*"))) == 3 * len(names)  # nothing joined is stored
    assert set(found) == {*names, "pair"}
    assert all(torch.equal(t, found["five"].stacked()[key][:2]) for key, t in found["pair"].stacked().items())
    for name in names:
        joined, whole = found[name].state_dict(), uncut[name].state_dict()
        assert (found[name].seeds, found[name].hook_point) == (FIVE.seeds, "h")
        assert all(torch.allclose(joined[key], t, rtol=1e-4, atol=1e-5) for key, t in whole.items())
    for at in (0, 2, 4):
        part = train_cells([replace(cell, seeds=FIVE.seeds[at : at + 2])], sources, tmp_path, progress=False)
        for name in names:
            assert part[name].normalisation.scale == found[name].normalisation.scale
            assert torch.equal(part[name].mean, found[name].mean)
            side = found[name].stacked()
            assert all(torch.equal(t, side[key][at : at + 2]) for key, t in part[name].stacked().items())


def test_a_whole_stack_that_is_stored_is_not_cut(sources, tmp_path, calls, monkeypatch):
    whole = train_cells([FIVE], sources, tmp_path, progress=False)
    monkeypatch.setattr("sae_utils.saes.training.grid.total_memory", lambda device: memory_for(2))
    assert equal(train_cells([FIVE], sources, tmp_path, progress=False)["five"], whole["five"])
    assert len(calls) == 1
    watched = replace(FIVE, snapshots=(128,))  # which the store lacks
    train_cells([watched], sources, tmp_path, progress=False)
    assert [n for n, *_ in calls] == [1, 1, 1, 1]


def test_boosting_goes_on_from_a_stack_that_was_cut(sources, tmp_path, monkeypatch):
    cells = [FIVE, *boosted_cells(FIVE, 3, 3, "boosted")]
    uncut = train_cells(cells, sources, tmp_path / "uncut", progress=False)
    monkeypatch.setattr("sae_utils.saes.training.grid.total_memory", lambda device: memory_for(2))
    cut = train_cells(cells, sources, tmp_path, progress=False)
    for name, sae in uncut.items():
        assert torch.allclose(cut[name].W_dec, sae.W_dec, rtol=1e-4, atol=1e-5) and cut[name].seeds == sae.seeds


@pytest.mark.parametrize("held", [0.5, 0.01])
def test_a_seed_that_memory_does_not_hold_is_refused(sources, tmp_path, calls, monkeypatch, held):
    """By what training one part needs, or, with still less, by the weights of all."""
    monkeypatch.setattr("sae_utils.saes.training.grid.total_memory", lambda device: held * memory_for(1))
    monkeypatch.setattr(trained, "free_memory", lambda device: held * memory_for(1))
    with pytest.raises(InputError, match="^this needs "):
        train_cells([FIVE], sources, tmp_path, progress=False)
    assert not calls and not list(tmp_path.glob("*.safetensors"))


def test_snapshots_are_of_the_one_run(sources, tmp_path, calls):
    """The centre has the weights of a cell without them; a run of 128 tokens is another thing."""
    watched = replace(CENTRE, snapshots=(128, 320))
    stacks = train_cells([watched, vary("k 3", k=3)], sources, tmp_path, progress=False)
    assert [n for n, *_ in calls] == [1]
    names = [watched.at(n) for n in (128, 320, 640)]
    assert names[2] == "centre" and stacks["k 3"] is stacks["centre"] and list(stacks) == [*names, "k 3"]
    short = alone(replace(CENTRE, training=TrainingConfig(128, 64)), sources[HERE])
    weights = [stacks[name].W_dec for name in names] + [short.W_dec]
    assert all(not torch.equal(a, b) for i, a in enumerate(weights) for b in weights[:i])


def test_stages_of_several_ensembles_come_one_after_the_other(sources, tmp_path, calls):
    stages = [cell for i in (0, 1) for cell in boosted_cells(CENTRE, i, 3, f"boosted {i}")]
    train_cells([*reversed(stages), CENTRE], sources, tmp_path, progress=False)
    assert [n for n, *_ in calls] == [1, 2, 2]
    assert calls[2][1] == ("h less 2 of seed 1", "h less 2 of seed 0")


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (replace(CENTRE, needs=("pilots",), open=("sparsity",)), "waits for pilots: sparsity is open"),
        (replace(CENTRE, frozen=(("first", 0),)), "comes after 'first', which is not among the cells"),
        (replace(CENTRE, given=True), "has no first weights in begun"),
        (replace(CENTRE, name="narrow", given=True), "its weights are SAEConfig.*n_latents=4"),
        (replace(vary("centre", unit_norm_decoder=False), fixed=("W_dec",)), "only a decoder with rows of length one"),
    ],
)
def test_cells_that_cannot_be_trained_yet_are_refused(sources, tmp_path, cell, said):
    begun = {"narrow": SAE.create(SAEConfig(8, 4, "topk", 3), (0, 1), "h")}
    with pytest.raises(InputError, match=f"^cell '(centre|narrow)'.* {said}"):
        train_cells([cell], sources, tmp_path, begun=begun)


def test_what_is_held_is_in_the_units_of_the_whole_source(sources, tmp_path):
    held = replace(HERE, held=700)
    sources[held] = HeldSource(sources[HERE], 700)
    assert sources[held].normalisation["h"].scale != sources[HERE].normalisation["h"].scale
    found = train_cells([replace(CENTRE, reads=held)], sources, tmp_path, progress=False)["centre"]
    assert found.normalisation.scale == pytest.approx(sources[HERE].normalisation["h"].scale, rel=1e-7)
