"""A study of meta-SAEs: what is trained on what, and the numbers that it gives."""

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from sae_utils.analysis.directions import covariance, random_directions
from sae_utils.analysis.meta import nulls as meta_nulls
from sae_utils.analysis.meta import study as meta_study
from sae_utils.analysis.meta.meta_sae import MetaTraining, new_stack, quality, used
from sae_utils.analysis.meta.study import DECODER, PLANTED, Sizes
from sae_utils.analysis.statistics import over_seeds
from sae_utils.saes import SAE, SAEConfig

SIZES = Sizes(n_meta=12, k=2, widths=(6, 12), ks=(2, 3))
TRAINING = MetaTraining(n_steps=20, batch_size=50)


@pytest.fixture(scope="module")
def rows():
    """Two dictionaries of sums of the same twelve parts."""
    parts = random_directions(12, 16, seed=1).float()
    weights = torch.rand(2, 100, 12, generator=torch.Generator().manual_seed(0))
    return list(normalize((weights * (weights > 0.85)) @ parts + 1e-3, dim=-1))


@pytest.fixture(scope="module")
def study(rows):
    return meta_study.train_study(rows, SIZES, TRAINING, None)


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
        **{("covariance", s): main for s in (2, 3)},  # the second draws of dictionaries 0 and 1
        **{(kind, s): main for kind in ("random", "shuffled") for s in (0, 1)},
        (PLANTED, 0): {(12, 2), (12, 3)},
    }
    assert all(torch.equal(study.rows[DECODER, s], rows[s]) for s in (0, 1))
    which = (DECODER, 0), (DECODER, 1), ("covariance", 1), ("covariance", 3), ("random", 1), (PLANTED, 0)
    seeds = [tuple(seed - meta_study.OFFSET for seed in study.metas[kind, s, 12, 2].seeds) for kind, s in which]
    assert seeds == [(0, 1), (2, 3), (2, 3), (6,), (2,), (0, 1)]
    expected = {size: sum(len(m.seeds) for (*_, n, k), m in study.metas.items() if (n, k) == size) for size in around}
    assert meta_study.study_counts(2, SIZES) == expected
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
    for kind, size, draws in ((DECODER, (12, 2), ((0,), (1,))), ("covariance", (12, 2), ((0, 2), (1, 3)))):
        each = [[quality(study.metas[kind, s, *size], study.rows[kind, s]) for s in seeds] for seeds in draws]
        values = [np.mean([np.mean(q.explained_variance) for q in of_one]) for of_one in each]
        assert found[kind, *size].values == pytest.approx(values)
        assert found[kind, *size].explained_variance.estimate == pytest.approx(np.mean(values))
        assert found[kind, *size].l0 == pytest.approx(np.mean([np.mean(q.l0) for of_one in each for q in of_one]))
    difference = np.subtract(found[DECODER, 12, 2].values, found["covariance", 12, 2].values)
    assert meta_study.above_null(list(found.values()), 12, 2) == over_seeds(difference)
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


def test_rows_with_parts_explain_more_than_their_covariance_and_rows_without_do_not():
    """D-12 and D-11 in small: sums of two of 24 parts, against independent directions."""
    sums, directions = [], []
    for s in (0, 1):
        generator = torch.Generator().manual_seed(s)
        parts = random_directions(24, 16, seed=60 + s).float()
        pairs = torch.rand(200, 24, generator=generator).topk(2, dim=1).indices
        sums.append(normalize(parts[pairs].sum(1), dim=-1))
        directions.append(random_directions(200, 16, seed=70 + s).float())
    gains = []
    sizes, training = Sizes(24, 2, repeats=1), MetaTraining(100, 64, lr=3e-2)
    for rows in (sums, directions):
        study = meta_study.train_study(rows, sizes, training, None, (DECODER, "covariance"))
        gains.append(meta_study.above_null(meta_study.explained(study), 24, 2).estimate)
    assert gains[0] > 0.1 and abs(gains[1]) < 0.03


def test_saebench_takes_a_quarter_of_the_width():
    sizes, training = meta_study.saebench(1024, 1500, TRAINING)
    assert sizes.all == [(256, 4)] and (training.n_steps, training.lr, training.batch_size) == (1500, 5e-4, 50)
    counts = meta_study.study_counts(3, sizes, (DECODER, "covariance"))
    assert counts == {(256, 4): 6}


def test_stability_of_equal_and_of_unrelated_meta_saes(study):
    metas = [study.metas[DECODER, s, 12, 2] for s in (0, 1)]
    alive = [used(meta, study.rows[DECODER, s]) for s, meta in enumerate(metas)]
    spread = covariance([torch.cat([study.rows[DECODER, s] for s in (0, 1)])])
    same = meta_study.stability_between([metas[0]] * 3, [alive[0]] * 3, spread)
    assert same["shared_strict"].estimate == 1 and same["decoder_cosine"].estimate == pytest.approx(1)
    unlike = meta_study.stability_between(metas, alive, spread)
    assert unlike["decoder_cosine"].estimate < 0.99
    within = meta_study.stability_within(metas, [study.rows[DECODER, s] for s in (0, 1)])
    assert 0 < within["decoder_cosine"].estimate <= 1 and set(within) == set(unlike)


def test_meta_encoders_are_compared_in_the_metric_of_their_rows(study):
    """What an encoder has along a direction that no row has changes no code, and nothing here."""
    rows = torch.cat([study.rows[DECODER, 0], torch.zeros(100, 2)], dim=1)
    meta = new_stack(18, 12, 2, (0, 1))
    with torch.no_grad():
        meta.W_dec[1], meta.encoder[1] = meta.W_dec[0], meta.encoder[0]
        before = meta_study.stability_within([meta] * 2, [rows] * 2)["encoder_cosine"].estimate
        meta.encoder[1, :, -1] += 100
    after = meta_study.stability_within([meta] * 2, [rows] * 2)["encoder_cosine"].estimate
    assert before == pytest.approx(1) and after == pytest.approx(1)


def test_every_null_has_its_own_rows(study):
    names = [(kind, s) for kind in meta_nulls.KINDS for s in (0, 1)]
    for i, one in enumerate(names):
        assert all(not torch.allclose(study.rows[one], study.rows[other]) for other in names[i + 1 :])
