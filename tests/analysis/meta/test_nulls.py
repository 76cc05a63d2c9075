"""Null rows keep what they say they keep and no more; parts that were planted are found."""

import pytest
import torch

from sae_utils.analysis.directions import random_directions
from sae_utils.analysis.meta import meta_sae
from sae_utils.analysis.meta import nulls as meta_nulls
from sae_utils.analysis.meta.meta_sae import MetaTraining, train_meta
from sae_utils.analysis.meta.nulls import null_rows, planted_composites, random_recovery, recovery
from sae_utils.errors import InputError


@pytest.fixture(scope="module")
def rows():
    """Unit rows that are long in some dimensions."""
    stretched = random_directions(3000, 6, seed=0).float() * torch.tensor([5.0, 3, 2, 1, 1, 1])
    return torch.nn.functional.normalize(stretched, dim=-1)


@pytest.mark.parametrize("kind", meta_nulls.KINDS)
def test_null_rows_are_unit_rows_drawn_by_the_seed(rows, kind):
    found = null_rows(rows, kind, seed=1)
    assert found.shape == rows.shape and found.dtype == torch.float32
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3000))
    assert torch.equal(found, null_rows(rows, kind, seed=1))
    assert not torch.allclose(found, null_rows(rows, kind, seed=2))
    assert (found * rows).sum(1).mean().abs() < 0.1  # no row is the one that it stands for


def test_what_each_null_keeps(rows):
    def spread(x):
        return x.T @ x / len(x)

    for kind in ("covariance", "shuffled"):  # near, not equal: lengths are set to 1 after drawing
        found = spread(null_rows(rows, kind, 0))
        assert (found.diag() - spread(rows).diag()).abs().max() < 0.1
        assert found[0, 0] > 4 * found[3, 3]
    assert (spread(null_rows(rows, "random", 0)).diag() - 1 / 6).abs().max() < 0.03
    with pytest.raises(InputError, match="random, covariance, shuffled"):
        null_rows(rows, "other", 0)


def test_a_shuffled_row_is_made_of_values_of_its_dimension():
    rows = torch.nn.functional.normalize(torch.rand(50, 3, generator=torch.Generator().manual_seed(0)) + 0.1)
    found = null_rows(rows, "shuffled", 0)
    ratios = rows[:, 0][:, None] / rows[:, 1]  # lengths change afterwards, ratios do not
    for first, second, _ in found[:10].tolist():
        assert (ratios - first / second).abs().min() < 1e-4


def test_planted_rows_are_the_sums_of_their_parts():
    planted = planted_composites(n=90, d=12, n_parts=8, seed=3, most=3)
    assert torch.equal(planted.rows[:8], planted.parts)
    counts = planted.made_of.sum(1)
    assert (counts[:8] == 1).all() and set(counts[8:].tolist()) == {2, 3}
    for row, made_of in zip(planted.rows, planted.made_of, strict=True):
        basis = planted.parts[made_of]
        weights = torch.linalg.lstsq(basis.T, row[:, None]).solution
        assert (basis.T @ weights - row[:, None]).norm() < 1e-5  # in their span
        assert (weights > 0).all() and weights.max() <= 2.001 * weights.min()
    with pytest.raises(InputError, match="n_parts=90"):
        planted_composites(n=90, d=12, n_parts=90, seed=3)


def test_a_meta_sae_finds_the_planted_parts_and_random_directions_do_not():
    planted = planted_composites(n=1000, d=64, n_parts=48, seed=0, most=3)
    meta = train_meta(planted.rows, n_meta=48, k=2, seeds=(0, 1), training=MetaTraining(400, 100))
    assert abs(meta_sae.new_stack(64, 48, 2).W_dec[0] @ planted.parts.T).max() < 0.9  # not given away
    for index in range(2):
        found = recovery(meta, planted, threshold=0.9, index=index)
        assert found.precision > 0.9 and found.recall > 0.9
        assert found.code_precision > 0.9 and found.code_recall > 0.7
    assert random_recovery(planted, 48, threshold=0.9, seed=0) == {"precision": 0, "recall": 0}


def test_recovery_counts_as_defined():
    """A perfect meta-SAE, then one whose last meta-latent is no part."""
    planted = planted_composites(n=60, d=40, n_parts=4, seed=0, most=2)
    parts, _ = torch.linalg.qr(planted.parts.T)  # orthogonal parts: codes are products
    weights = planted.made_of.float()
    planted = meta_nulls.Planted(torch.nn.functional.normalize(weights @ parts.T, dim=-1), parts.T, planted.made_of)
    meta = train_meta(planted.rows, n_meta=5, k=2, training=MetaTraining(1, 60))
    stray = torch.nn.functional.normalize(parts.T[0] + parts.T[1], dim=-1)
    with torch.no_grad():
        meta.threshold.fill_(0.1)
        meta.b_dec.zero_()
        for rows in (meta.W_dec, meta.encoder):
            rows[0] = torch.cat([parts.T, torch.zeros(1, 40)])
        assert meta_nulls.recovery(meta, planted, 0.9) == meta_nulls.Recovery(1, 1, 1, 1)
        for rows in (meta.W_dec, meta.encoder):
            rows[0, 3:] = stray
    found = meta_nulls.recovery(meta, planted, 0.9)
    assert found.precision == pytest.approx(3 / 5) and found.recall == pytest.approx(3 / 4)
    sums = planted.made_of[planted.made_of.sum(1) > 1]
    right = sums[:, :3].sum()
    wrong = 2 * sums[:, :2].any(1).sum()  # both strays are active where part 0 or 1 is
    assert found.code_precision == pytest.approx(float(right / (right + wrong)))
    assert found.code_recall == pytest.approx(float(right / sums.sum()))
