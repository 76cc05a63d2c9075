"""The walk to a large SAE: every dictionary on it against a forward pass, its exact end, and its summary."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.stitched_pairs import pair, related
from torch.nn.functional import normalize

from sae_utils.analysis.stitching import walk as walks
from sae_utils.analysis.stitching.swap_groups import relate
from sae_utils.analysis.stitching.together import insert_together
from sae_utils.analysis.stitching.walk import (
    Step,
    Walk,
    climb_over_fall,
    dictionary_after,
    pair_errors,
    summarise_walk,
    swaps_alone,
    walk_along,
    walk_chain,
    walk_steps,
)
from sae_utils.saes import ARCHITECTURES, evaluate

ORDERS = ("greedy", "gentle", "cosine", "random")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_step_is_what_a_forward_pass_gives(architecture):
    small, large, x, relation, error = related(architecture)
    assert len(relation.groups) >= 3 and len(relation.novel) >= 3
    for order in ORDERS:
        steps = walk_steps(relation, error, order)
        found = walk_along(steps, error)
        assert found.phase == tuple(step.phase for step in steps)
        for i in (*range(0, len(steps), 3), len(steps)):  # sums: what is wrong at a step stays wrong
            dictionary = dictionary_after(small, large, steps[:i])
            expected = evaluate(dictionary, [x])
            assert found.mse[i] == pytest.approx(expected.mse.item(), rel=1e-9)
            assert found.l0[i] == pytest.approx(expected.l0.item(), rel=1e-9)
            assert found.n_latents[i] == dictionary.config.n_latents


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_walk_ends_exactly_at_the_larger_sae(architecture, dtype):
    small, large, x, relation, error = related(architecture, dtype)
    for order in ORDERS:
        end = dictionary_after(small, large, walk_steps(relation, error, order))
        for name in ("encoder", "W_dec", "b_enc", "b_dec"):
            assert torch.equal(getattr(end, name), getattr(large, name)), name
        assert torch.equal(end(x), large(x))
        found = walk_along(walk_steps(relation, error, order), error)
        assert found.mse[-1] == pytest.approx(evaluate(large, [x]).mse.item(), rel=1e-6)
        assert found.n_latents[-1] == 40
    start = dictionary_after(small, large, [])
    assert torch.equal(start(x), small(x)) and torch.equal(start.b_dec, small.b_dec)


@pytest.mark.parametrize("architecture", ["relu", "topk"])
def test_pairs_that_never_fire_together_need_not_be_held(architecture, monkeypatch):
    _, _, _, relation, dense = related(architecture)
    monkeypatch.setattr(walks, "MOST_DENSE", 64)  # 24 + 40 latents and the bias
    *_, found = related(architecture)
    assert found.quadratic.nnz < dense.quadratic.size
    np.testing.assert_allclose(found.quadratic.toarray(), dense.quadratic, rtol=1e-9, atol=1e-15)
    for order in ORDERS:
        steps, others = (walk_steps(relation, error, order) for error in (dense, found))
        assert [(s.inserted.tolist(), s.removed.tolist()) for s in steps] == [
            (s.inserted.tolist(), s.removed.tolist()) for s in others
        ]
        np.testing.assert_allclose(walk_along(others, found).mse, walk_along(steps, dense).mse, rtol=1e-9)
    of_dense, of_found = (vars(insert_together(error, error, relation.novel)) for error in (dense, found))
    assert of_found == pytest.approx(of_dense)
    alone = swaps_alone(relation, dense).items()
    assert swaps_alone(relation, found) == {kind: pytest.approx(of) for kind, of in alone}


@pytest.mark.parametrize("architecture", ["relu", "topk"])
def test_phases_come_in_order_and_use_every_latent_once(architecture):
    _, _, _, relation, error = related(architecture)
    steps = walk_steps(relation, error)
    phases = [step.phase for step in steps]
    assert phases == sorted(phases, key=["insert", "swap", "remove", "dead"].index)
    assert sorted(np.concatenate([step.inserted for step in steps])) == list(range(40))
    assert sorted(np.concatenate([step.removed for step in steps])) == list(range(24))
    biases = [step.bias for step in steps]
    n_insert, n_swap = phases.count("insert"), phases.count("swap")
    assert biases[:n_insert] == [0.0] * n_insert
    np.testing.assert_allclose(biases[n_insert : n_insert + n_swap], np.arange(1, n_swap + 1) / n_swap)
    assert set(biases[n_insert + n_swap :]) == {1.0}


@pytest.mark.parametrize("order", ["greedy", "gentle"])
def test_each_step_is_chosen_among_all_that_are_left(order):
    small, large, x, relation, error = related("relu")
    steps, at = walk_steps(relation, error, order), np.zeros(len(error.linear))
    assert {step.phase for step in steps} == {"insert", "swap", "dead"}
    for phase in ("insert", "swap"):
        left = [step for step in steps if step.phase == phase]
        while left:  # the bias moves with swaps, which does not count in the order
            changes = [error.change(at + replace(step, bias=0.0).direction(error)) - error.change(at) for step in left]
            falling = [change for change in changes if change < 0]
            wanted = max(falling) if order == "gentle" and falling else min(changes)
            assert changes[0] == pytest.approx(wanted, abs=1e-12)
            at += replace(left.pop(0), bias=0.0).direction(error)


def test_by_cosine_the_least_novel_goes_in_last_and_the_surest_group_is_swapped_first():
    small, large, _, relation, error = related("topk")
    cosine = (normalize(large.W_dec[0], dim=-1) @ normalize(small.W_dec[0, :-3], dim=-1).T).amax(1).detach().numpy()
    steps = walk_steps(relation, error, "cosine")
    novel = [cosine[step.inserted].max() for step in steps if step.phase == "insert"]
    groups = [cosine[step.inserted].max() for step in steps if step.phase == "swap"]
    assert novel == sorted(novel) and groups == sorted(groups, reverse=True) and novel[-1] <= 0.7 < groups[-1]


def test_without_a_group_the_bias_moves_at_the_end():
    small, large, x, _, error = related("relu")
    relation = relate(small.W_dec[0], large.W_dec[0], 1.0)
    steps = walk_steps(relation, error)
    assert {step.bias for step in steps[:-1]} == {0.0} and steps[-1].bias == 1.0
    assert torch.equal(dictionary_after(small, large, steps)(x), large(x))


def test_summary_of_a_known_walk():
    found = Walk(
        np.array([10.0, 8, 9, 6, 7, 7.5, 5, 5]),
        np.array([4.0, 5, 6, 5, 5, 5, 4, 4]),
        np.array([4, 5, 6, 6, 6, 6, 5, 7]),
        ("insert", "insert", "swap", "swap", "swap", "remove", "dead"),
    )
    summary = summarise_walk(found)
    assert summary.steps == {"insert": 2, "swap": 3, "remove": 1}
    assert summary.rising == pytest.approx({"insert": 1 / 2, "swap": 2 / 3, "remove": 0.0})
    assert summary.change == pytest.approx({"insert": -0.1, "swap": -0.15, "remove": -0.25})
    assert summary.l0_change == pytest.approx({"insert": 2, "swap": -1, "remove": -1})
    assert summary.climb == pytest.approx({"insert": 0.1, "replace": 0.15, "all": 0.15})
    assert summary.total_change == pytest.approx(-0.5)


def test_a_swap_alone_is_a_forward_pass_with_the_group_exchanged():
    small, large, x, relation, error = related("topk")
    found = swaps_alone(relation, error)
    base = evaluate(small, [x])
    assert sum(kind["groups"] for kind in found.values()) == len(relation.groups)
    for kind, numbers in found.items():
        swaps = [Step("swap", g.large, g.small) for g in relation.groups if g.kind == kind]
        quality = [evaluate(dictionary_after(small, large, [step]), [x]) for step in swaps]
        if swaps:
            assert numbers["mse"] == pytest.approx(np.mean([q.mse.item() for q in quality]) / base.mse.item() - 1)
            assert numbers["l0"] == pytest.approx(np.mean([q.l0.item() for q in quality]) - base.l0.item())


def test_a_chain_climbs_as_a_share_of_its_fall():
    first = summarise_walk(Walk(np.array([10.0, 8, 9, 6]), *2 * (np.arange(4),), ("insert", "insert", "swap")))
    second = summarise_walk(Walk(np.array([5.0, 4, 4.5]), *2 * (np.arange(3),), ("insert", "swap")))
    assert climb_over_fall([first, second], "insert") == pytest.approx(0.1 / (0.4 + 0.1))
    assert climb_over_fall([first, second], "replace") == pytest.approx(0.1 / (0.4 + 0.1))
    rising = summarise_walk(Walk(np.array([4.0, 5]), *2 * (np.arange(2),), ("insert",)))
    assert np.isnan(climb_over_fall([rising], "all"))


def test_a_chain_is_walked_link_by_link():
    small, large, x, relation, error = related("topk")
    widest, _, _ = pair("topk", seeds=((5,), (6,)), widths=(60, 61))
    ones = [evaluate(sae, [x]).alive[0].numpy() for sae in (small, large, widest)]
    chain = [small, large, widest]
    errors = pair_errors(chain, lambda: x.split(50))
    links = walk_chain(chain, ones, errors, errors, 0.7)
    assert len(links) == 2 and links[0].relation.counts() == relation.counts()
    np.testing.assert_allclose(links[0].walk.mse, walk_along(walk_steps(relation, error), error).mse)
    assert links[1].walk.mse[0] == pytest.approx(links[0].walk.mse[-1])
    assert links[1].walk.mse[-1] == pytest.approx(evaluate(widest, [x]).mse.item())
    for link in links:
        phases = ["start", *link.walk.phase]
        inserted, swapped = phases.count("insert"), phases.count("swap")
        expected = {0, inserted // 2, inserted, (2 * inserted + swapped) // 2, inserted + swapped, len(phases) - 1}
        assert link.marks() == sorted(expected)


@pytest.mark.parametrize("order", ["greedy", "gentle"])
def test_the_order_is_chosen_on_other_tokens_than_it_is_judged_on(order):
    small, large, x, relation, _ = related("relu")
    alive = [evaluate(sae, [x]).alive[0].numpy() for sae in (small, large)]
    choosing, judging = (pair_errors([small, large], lambda part=part: [part]) for part in (x[:40], x[40:]))
    (link,) = walk_chain([small, large], alive, choosing, judging, 0.7, order)
    chosen, seen = ([s.inserted.tolist() for s in walk_steps(relation, e[0], order)] for e in (choosing, judging))
    assert [step.inserted.tolist() for step in link.steps] == chosen != seen
    for i in (1, len(link.steps) // 2, len(link.steps)):
        end = dictionary_after(small, large, link.steps[:i])
        assert link.walk.mse[i] == pytest.approx(evaluate(end, [x[40:]]).mse.item())
        assert link.walk_when_chosen.mse[i] == pytest.approx(evaluate(end, [x[:40]]).mse.item())
