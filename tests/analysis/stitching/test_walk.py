"""The walk to a large SAE: every dictionary on it against a forward pass, its exact end, and its summary."""

import numpy as np
import pytest
import torch
from helpers.stitched_pairs import pair, related

from sae_utils.analysis.stitching.insertion import insert
from sae_utils.analysis.stitching.swap_groups import relate
from sae_utils.analysis.stitching.walk import (
    Step,
    Walk,
    dictionary_after,
    insert_all_novel,
    pair_errors,
    random_orders,
    summarise_walk,
    swaps_alone,
    walk_along,
    walk_chain,
    walk_steps,
    without_shrinkage,
)
from sae_utils.saes import ARCHITECTURES, evaluate


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_step_is_what_a_forward_pass_gives(architecture):
    small, large, x, relation, error = related(architecture)
    assert len(relation.groups) >= 3 and len(relation.novel) >= 3
    for shuffle in (None, np.random.default_rng(0)):
        steps = walk_steps(relation, error, shuffle=shuffle)
        found = walk_along(steps, error)
        assert found.phase == tuple(step.phase for step in steps)
        for i in range(len(steps) + 1):
            dictionary = dictionary_after(small, large, steps[:i])
            expected = evaluate(dictionary, [x])
            assert found.mse[i] == pytest.approx(expected.mse.item(), rel=1e-9)
            assert found.l0[i] == pytest.approx(expected.l0.item(), rel=1e-9)
            assert found.n_latents[i] == dictionary.config.n_latents


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_walk_ends_exactly_at_the_larger_sae(architecture, dtype):
    small, large, x, relation, error = related(architecture, dtype)
    for bias in ("with_swaps", "first", "last"):
        end = dictionary_after(small, large, walk_steps(relation, error, bias))
        for name in ("encoder", "W_dec", "b_enc", "b_dec"):
            assert torch.equal(getattr(end, name), getattr(large, name)), name
        assert torch.equal(end(x), large(x))
        found = walk_along(walk_steps(relation, error, bias), error)
        assert found.mse[-1] == pytest.approx(evaluate(large, [x]).mse.item(), rel=1e-6)
        assert found.n_latents[-1] == 40
    start = dictionary_after(small, large, [])
    assert torch.equal(start(x), small(x)) and torch.equal(start.b_dec, small.b_dec)


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


def test_insertions_come_in_the_order_of_what_each_alone_changes():
    small, large, x, relation, error = related("relu")
    steps = [step for step in walk_steps(relation, error) if step.phase == "insert"]
    change = insert(small, large, [x]).change[0, 0]
    alone = [error.change(step.direction(error)) for step in steps]
    np.testing.assert_allclose(alone, [change[step.inserted[0]] for step in steps], rtol=1e-9)
    assert alone == sorted(alone)


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
    assert summary.rising_share == pytest.approx(3 / 6)
    assert summary.largest_climb == pytest.approx(0.15)
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


def test_random_orders_differ_and_end_alike():
    _, _, _, relation, error = related("relu")
    summaries = random_orders(relation, error, 5)
    assert len({s.largest_climb for s in summaries}) > 1
    ends = [s.total_change for s in summaries]
    assert ends == pytest.approx([ends[0]] * 5)
    assert [s.change["insert"] for s in summaries] == pytest.approx([summaries[0].change["insert"]] * 5)


def test_a_chain_is_walked_link_by_link():
    small, large, x, relation, error = related("topk")
    widest, _, _ = pair("topk", seeds=((5,), (6,)), widths=(60, 61))
    ones = [evaluate(sae, [x]).alive[0].numpy() for sae in (small, large, widest)]
    chain = [small, large, widest]
    links = walk_chain(chain, ones, pair_errors(chain, lambda: x.split(50)), 0.7)
    assert len(links) == 2 and links[0].relation.counts() == relation.counts()
    np.testing.assert_allclose(links[0].walk.mse, walk_along(walk_steps(relation, error), error).mse)
    assert links[1].walk.mse[0] == pytest.approx(links[0].walk.mse[-1])
    assert links[1].walk.mse[-1] == pytest.approx(evaluate(widest, [x]).mse.item())
    for link in links:
        phases = ["start", *link.walk.phase]
        inserted, swapped = phases.count("insert"), phases.count("swap")
        expected = {0, inserted // 2, inserted, (2 * inserted + swapped) // 2, inserted + swapped, len(phases) - 1}
        assert link.marks() == sorted(expected)


def test_all_that_lower_mse_alone_inserted_together():
    small, large, x, _, error = related("relu")
    found = insert(small, large, [x], sets=True)
    assert found.novel.any() and insert_all_novel(error) == pytest.approx(
        found.change_of_set(0, 0, found.novel[0, 0]), rel=1e-9
    )


@pytest.mark.parametrize("architecture", ["relu", "batch_topk"])
def test_shrinkage_is_undone_by_the_best_factor(architecture):
    small, large, x, _, error = related(architecture)
    found = without_shrinkage(error)

    def scaled(factor):
        same = small.dictionary(0)
        with torch.no_grad():
            same.W_dec.mul_(factor)
        return same

    mse = [evaluate(scaled(found.factor + step), [x]).mse.item() for step in (-1e-3, 0, 1e-3)]
    assert mse[1] < mse[0] and mse[1] < mse[2]
    expected = insert(scaled(found.factor), large, [x]).change[0, 0]
    np.testing.assert_allclose(found.change, expected, rtol=1e-7, atol=1e-9 * np.abs(expected).max())
