"""Meta-SAEs against their definitions written out, and against dictionaries whose parts are known."""

import pytest
import torch

from sae_utils.analysis.directions import random_directions
from sae_utils.analysis.meta import meta_sae
from sae_utils.analysis.meta.meta_sae import MetaTraining, meta_codes, reconstruct, train_meta
from sae_utils.analysis.meta.nulls import planted_composites
from sae_utils.errors import InputError

TRAINING = MetaTraining(n_steps=50, batch_size=100)


@pytest.fixture(scope="module")
def planted():
    return planted_composites(n=500, d=24, n_parts=20, seed=0, most=3)


@pytest.fixture(scope="module")
def meta(planted):
    return train_meta(planted.rows, n_meta=20, k=2, seeds=(0, 1), training=TRAINING)


def test_codes_and_reconstruction_are_the_formulas(planted, meta):
    with torch.no_grad():
        for s in range(2):
            pre = (planted.rows - meta.b_dec[s]) @ meta.W_enc[s]
            code = torch.where(pre > meta.threshold[s], pre, 0.0)
            torch.testing.assert_close(meta_codes(meta, planted.rows, s), code)
            x_hat = code @ meta.W_dec[s] + meta.b_dec[s]
            torch.testing.assert_close(reconstruct(meta, planted.rows, s), x_hat)
            mean = planted.rows.mean(0)
            expected = 1 - (planted.rows - x_hat).square().sum() / (planted.rows - mean).square().sum()
            found = meta_sae.quality(meta, planted.rows)
            assert found.explained_variance[s] == pytest.approx(float(expected), abs=1e-5)
            assert found.l0[s] == pytest.approx(float((code > 0).sum() / 500))
            assert found.dead_fraction[s] == pytest.approx(float((~(code > 0).any(0)).sum() / 20))
            assert (meta_sae.used(meta, planted.rows, s) == (code > 0).any(0)).all()
    assert not meta.b_enc.any()


def test_the_inference_threshold_gives_the_training_l0_on_held_out_rows():
    """Trained on some sums of the parts, evaluated on others that it never saw."""
    rows = planted_composites(n=3000, d=24, n_parts=20, seed=1, most=3).rows
    order = torch.randperm(3000, generator=torch.Generator().manual_seed(0))
    meta = train_meta(rows[order[:2000]], n_meta=20, k=2, training=MetaTraining(300, 200))
    for part in (order[:2000], order[2000:]):
        assert meta_sae.quality(meta, rows[part]).l0[0] == pytest.approx(2, rel=0.05)


def test_only_the_direction_of_a_row_counts(planted, meta):
    scaled = planted.rows * torch.linspace(0.1, 10, 500)[:, None]
    torch.testing.assert_close(meta_codes(meta, scaled), meta_codes(meta, planted.rows), rtol=1e-4, atol=1e-5)
    assert meta_sae.explained_variance(scaled, reconstruct(meta, scaled)) == pytest.approx(
        meta_sae.explained_variance(planted.rows, reconstruct(meta, planted.rows)), abs=1e-5
    )


def test_together_is_as_alone_and_the_store_gives_the_same(planted, tmp_path):
    rows = {"one": planted.rows, "two": planted.rows.flip(0)}
    stacks = [meta_sae.new_stack(24, 12, 2, [4], name) for name in rows]
    short = MetaTraining(20, 100)
    together = meta_sae.train_together(rows, stacks, short, tmp_path)
    alone = meta_sae.new_stack(24, 12, 2, [4], "one")
    meta_sae.train_together({"one": planted.rows}, [alone], short)
    assert torch.equal(alone.W_dec, together[0].W_dec)
    assert not torch.equal(together[0].W_dec, together[1].W_dec)
    again = [meta_sae.new_stack(24, 12, 2, [4], name) for name in rows]
    read = meta_sae.train_together(rows, again, short, tmp_path)
    assert all(torch.equal(a.W_dec, b.W_dec) for a, b in zip(read, together, strict=True))
    assert not torch.equal(again[0].W_dec, together[0].W_dec)  # they were read, not trained


def test_with_decoder_takes_the_nearest_directions_and_refits_the_encoder_alone(planted, meta):
    directions = random_directions(7, 24, seed=5).float()
    new = meta_sae.with_decoder(meta, 3 * directions, "decoder", index=1)
    cosine = torch.nn.functional.normalize(meta.W_dec[1], dim=-1) @ directions.T
    torch.testing.assert_close(new.W_dec[0], directions[cosine.argmax(1)])
    assert torch.equal(new.encoder[0], meta.encoder[1])
    before = new.W_dec.detach().clone(), new.encoder.detach().clone()
    refitted = meta_sae.train_together({"decoder": planted.rows}, [new], MetaTraining(20, 100))[0]
    assert torch.equal(refitted.W_dec, before[0]) and not torch.equal(refitted.encoder, before[1])


def test_rows_that_cannot_be_trained_on_are_refused(planted):
    broken = planted.rows.clone()
    broken[3] = 0
    with pytest.raises(InputError, match="finite and not zero"):
        train_meta(broken, 4)
    with pytest.raises(InputError, match="batch_size=100 is more than the 50 decoder rows"):
        train_meta(planted.rows[:50], 4, training=TRAINING)
