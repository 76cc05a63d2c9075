"""Notebook 11 trains every method alike but for what the method is."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from sae_utils.data.activations import TensorSource
from sae_utils.run.parameters.checks import check_elsewhere
from sae_utils.run.parameters.presets import values_of
from sae_utils.run.parameters.reproducible import METHODS, ReproducibleParameters
from sae_utils.run.plans import plan_of
from sae_utils.run.plans import reproducible as planned
from sae_utils.run.plans.known_truth import world_source
from sae_utils.run.plans.model_facts import model_facts
from sae_utils.saes import SAEConfig
from sae_utils.saes.training.grid import Activations

NAME = "11_most_reproducible"


def parameters(**changes):
    return check_elsewhere(NAME, values_of("tiny", NAME) | changes)


def plan(**changes):
    p = parameters(**changes)
    return p, plan_of(NAME, p, model_facts(p.model))


def test_every_method_has_a_cell_at_each_point_of_its_grid_and_on_each_world():
    p, found = plan()
    names = {cell.name for cell in found.cells}
    on_model = {planned.name_of(m, s) for m in METHODS for s in planned.sparsities_of(p, m)}
    worlds = planned.worlds_of(p).values()
    on_worlds = {planned.world_cell_name(world, m) for world in worlds for m in METHODS}
    members = {name for name in names if planned.MEMBERS in name}
    assert names - members == on_model | on_worlds and len(members) == len(p.ks) + len(worlds)


def test_methods_differ_in_nothing_but_what_they_are():
    p, found = plan()
    for cell in found.cells:
        config = cell.config
        latents = p.n_latents if cell.reads.split == "train" else 2 * p.n_atoms
        assert (config.n_latents, config.auxk, cell.training.batch_size) == (latents, None, p.batch_size)
        seeds = range(p.n_seeds, 3 * p.n_seeds) if planned.MEMBERS in cell.name else range(p.n_seeds)
        assert cell.seeds == tuple(seeds)
        if cell.reads.split == "train":
            assert cell.training == found["topk 4"].training


def test_settings_are_those_of_the_papers():
    configs = {m: planned.config_of(m, 128, 64, 4) for m in METHODS}
    assert configs["matryoshka"].widths == (2, 6, 14, 30, 64) and configs["matryoshka"].architecture == "batch_topk"
    assert configs["ortsae"].gamma == 0.25 and configs["ortsae"].architecture == "batch_topk"
    assert configs["weight_decay"].decay == pytest.approx(0.0128) and not configs["weight_decay"].unit_norm_decoder
    assert configs["matryoshka_topk"] == replace(configs["matryoshka"], architecture="topk")
    assert configs["archetypal"] == configs["archetypal_own"] and configs["archetypal"].n_points == 64
    assert configs["archetypal"].mixture_rate == 1 / 64
    assert configs["consensus"] == configs["topk_longer"] == configs["topk"] == SAEConfig(128, 64, "topk", 4)
    assert configs["free_norms"] == replace(configs["topk"], unit_norm_decoder=False)
    assert planned.config_of("relu", 128, 64, 2.4).sparsity == 2.4


def test_with_saes_methods_may_be_none():
    _, found = plan(saes=["somewhere"], methods=[])
    assert not found.cells and [one.split for one in found.activations] == ["held_out"]
    assert {cell.config.n_latents for cell in plan(saes=["somewhere"])[1].cells} == {64}


def test_what_begins_elsewhere_begins_there(tmp_path):
    methods = ["topk", "archetypal", "archetypal_own", "topk_longer", "consensus"]
    small = {"n_latents": 12, "ks": [3], "n_tokens": 1024, "n_seeds": 3}
    p = SimpleNamespace(**ReproducibleParameters(methods=methods).model_dump() | small)
    x = torch.randn(1024, 6, generator=torch.Generator().manual_seed(0))
    reads = Activations(("here",), 1024)
    cells = planned.model_cells(p, reads, 6)
    cells = [replace(cell, training=replace(cell.training, n_tokens=256)) for cell in cells]
    trained, begun, agreed = planned.train_methods(cells, {reads: TensorSource({"here": x})}, tmp_path, p)
    assert set(trained) == {cell.name for cell in cells}
    shared, own = begun["archetypal 3"].points, begun["archetypal_own 3"].points
    assert torch.equal(shared[0], shared[1]) and not torch.equal(own[0], own[1])
    assert begun["consensus 3"].seeds == trained["topk 3"].seeds == (0, 1, 2)
    assert not torch.equal(begun["consensus 3"].W_dec, trained["consensus 3"].W_dec)
    assert set(agreed) == {"consensus 3"} and all(0 <= n <= 12 for n in agreed["consensus 3"])
    assert torch.equal(begun["topk_longer 3"].W_dec, trained["topk 3"].W_dec)
    assert not torch.equal(begun["topk_longer 3"].W_dec, trained["topk_longer 3"].W_dec)


def test_shards_find_the_worlds_of_either_notebook():
    p = parameters()
    world = planned.worlds_of(p)["hierarchy"]
    source = world_source(p, Activations((world.name,), 500, "world"))
    assert source.n_tokens == 500 and source.hook_points == (world.name,)
