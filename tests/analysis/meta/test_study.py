"""A study of meta-SAEs: what is trained on what, and the numbers that it gives."""

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from sae_utils.analysis.directions import random_directions
from sae_utils.analysis.meta import nulls as meta_nulls
from sae_utils.analysis.meta import study as meta_study
from sae_utils.analysis.meta.meta_sae import MetaTraining, new_stack, quality, used
from sae_utils.analysis.meta.study import DECODER, PLANTED, Sizes
from sae_utils.saes import SAE, SAEConfig

SIZES = Sizes(n_meta=12, k=2, widths=(6, 12), ks=(2, 3))
TRAINING = MetaTraining(n_steps=60, batch_size=50)


@pytest.fixture(scope="module")
def rows():
    """Two dictionaries of sums of the same twelve parts."""
    parts = random_directions(12, 16, seed=1).float()
    weights = torch.rand(2, 100, 12, generator=torch.Generator().manual_seed(0))
    return list(normalize((weights * (weights > 0.85)) @ parts + 1e-3, dim=-1))


@pytest.fixture(scope="module")
def study(rows):
    return meta_study.train_study(rows, SIZES, TRAINING, None)


def test_sizes_are_listed_once():
    assert SIZES.all == [(12, 2), (6, 2), (12, 3)]


def test_as_many_frequent_latents_of_each_dictionary():
    frequency = torch.tensor([[0.5, 0, 0.1, 0.3], [0.2, 0.6, 0.1, 0.4]])
    kept = meta_study.frequent(frequency)
    assert kept.tolist() == [[True, False, True, True], [True, True, False, True]]


def test_what_is_trained_on_what(study, rows):
    main, around = {(12, 2)}, {(12, 2), (6, 2), (12, 3)}
    sizes = {}
    for kind, seed, *size in study.metas:
        sizes.setdefault((kind, seed), set()).add(tuple(size))
    assert sizes == {
        **{(kind, s): around for kind in (DECODER, "covariance") for s in (0, 1)},
        **{(kind, s): main for kind in ("random", "shuffled") for s in (0, 1)},
        (PLANTED, 0): {(12, 2), (12, 3)},
    }
    assert all(torch.equal(study.rows[DECODER, s], rows[s]) for s in (0, 1))
    seeds = [study.metas[kind, s, 12, 2].seeds for kind, s in ((DECODER, 0), (DECODER, 1), ("random", 1), (PLANTED, 0))]
    assert [tuple(seed - meta_study.OFFSET for seed in each) for each in seeds] == [(0, 1), (2, 3), (2,), (0, 1)]
    first, second = (study.metas[kind, 1, 12, 2] for kind in ("random", "covariance"))
    assert not torch.equal(first.W_dec, second.W_dec)


def test_no_meta_sae_begins_as_a_dictionary_or_as_planted_parts():
    firsts = [SAE.create(SAEConfig(16, 12, "topk", 2), [seed]).W_dec[0, 0] for seed in range(8)]
    firsts.append(meta_nulls.planted_composites(100, 16, 12, seed=0, most=4).parts[0])
    metas = new_stack(16, 12, 2, range(meta_study.OFFSET, meta_study.OFFSET + 8))
    cosines = metas.W_dec[:, 0] @ torch.stack(firsts).T
    assert cosines.max() < 0.95


def test_explained_is_the_quality_of_each(study):
    found = {(e.kind, e.n_meta, e.k): e for e in meta_study.explained(study)}
    assert len(found) == 3 + 3 + 2 + 2
    for kind, size in ((DECODER, (12, 2)), ("covariance", (12, 3))):
        each = [quality(study.metas[kind, s, *size], study.rows[kind, s]) for s in (0, 1)]
        values = [np.mean(q.explained_variance) for q in each]
        assert found[kind, *size].values == pytest.approx(values)
        assert found[kind, *size].explained_variance.estimate == pytest.approx(np.mean(values))
        assert found[kind, *size].l0 == pytest.approx(np.mean([q.l0 for q in each]))
    planted = quality(study.metas[PLANTED, 0, 12, 2], study.planted.rows)
    assert found[PLANTED, 12, 2].values == planted.explained_variance


def test_refit_with_the_meta_decoder_itself_keeps_it_and_random_directions_are_worse(study):
    directions = [
        {"itself": study.metas[DECODER, s, 12, 2].W_dec[0], "random": random_directions(12, 16, seed=40 + s)}
        for s in (0, 1)
    ]
    found = meta_study.refit(study, SIZES, directions, TRAINING, None)
    for s in (0, 1):
        before = quality(study.metas[DECODER, s, 12, 2], study.rows[DECODER, s]).explained_variance[0]
        assert found[s]["itself"] > before - 0.05
        assert found[s]["random"] < found[s]["itself"]


def test_pooled_meta_saes_see_every_width(rows):
    groups = [{4: rows[s][:40], 8: rows[s][40:]} for s in (0, 1)]
    metas = meta_study.train_pooled(groups, SIZES, TRAINING, None)
    whole = [{8: torch.cat([group[4], group[8]])} for group in groups]
    again = meta_study.train_pooled(whole, SIZES, TRAINING, None)
    assert len(metas) == 2
    assert all(torch.equal(a.W_dec, b.W_dec) for a, b in zip(metas, again, strict=True))


def test_stability_of_equal_and_of_unrelated_meta_saes(study):
    metas = [study.metas[DECODER, s, 12, 2] for s in (0, 1)]
    alive = [used(meta, study.rows[DECODER, s]) for s, meta in enumerate(metas)]
    same = meta_study.stability_between([metas[0]] * 3, [alive[0]] * 3)
    assert same["shared_strict"].estimate == 1 and same["decoder_cosine"].estimate == pytest.approx(1)
    unlike = meta_study.stability_between(metas, alive)
    assert unlike["decoder_cosine"].estimate < 0.99
    both = [tuple(used(meta, study.rows[DECODER, s], m) for m in (0, 1)) for s, meta in enumerate(metas)]
    within = meta_study.stability_within(metas, both)
    assert 0 < within["decoder_cosine"].estimate <= 1 and set(within) == set(unlike)


def test_every_null_has_its_own_rows(study):
    names = [(kind, s) for kind in meta_nulls.KINDS for s in (0, 1)]
    for i, one in enumerate(names):
        assert all(not torch.allclose(study.rows[one], study.rows[other]) for other in names[i + 1 :])
