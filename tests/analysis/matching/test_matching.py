from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from sae_utils.analysis.directions import random_directions
from sae_utils.analysis.matching import overlap as seeds
from sae_utils.analysis.matching.matching import DEFINITIONS, Rows, compare, match, nearest
from sae_utils.errors import InputError


def dictionaries(n=60, m=60, d=16, noise=1.2, seed=0):
    """Encoder and decoder of two dictionaries whose latents are alike by degrees, in another order and scale."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    decoder_a = normal(n, d)
    encoder_a = decoder_a + 0.5 * normal(n, d)
    source = torch.arange(m) % n
    level = noise * torch.rand(m, 1, generator=generator) * 2
    decoder_b = decoder_a[source] + level * normal(m, d)
    encoder_b = encoder_a[source] + level * normal(m, d)
    order = torch.randperm(m, generator=generator)
    return Rows(encoder_a, decoder_a), Rows(3 * encoder_b[order], 0.1 * decoder_b[order])


def cosine_matrix(a, b):
    a, b = a.double().numpy(), b.double().numpy()
    return (a @ b.T) / np.outer(np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1))


def defined_fractions(a, b, t=0.7):
    """The definitions of PAPERS.md A.3, written out once more."""
    enc, dec = cosine_matrix(a.encoder, b.encoder), cosine_matrix(a.decoder, b.decoder)
    i, p_dec = linear_sum_assignment(-dec)
    _, p_enc = linear_sum_assignment(-enc)
    return {
        "strict": np.mean((p_dec == p_enc) & (dec[i, p_dec] >= t) & (enc[i, p_enc] >= t)),
        "notebook": np.mean((dec[i, p_dec] > t) & (enc[i, p_enc] > t)),
        "max_cosine": np.mean((dec.max(1) > t) & (enc.max(1) > t)),
        "encoder_cosine": enc[i, p_enc].mean(),
    }


@pytest.mark.parametrize("seed", range(3))
def test_curve_is_the_fraction_at_each_threshold(seed):
    pair = dictionaries(seed=seed)
    overlap, thresholds = compare(*pair), np.linspace(0, 1, 11)
    assert 0.1 < overlap.fraction(overlap.shared("strict")) < 0.9, "the case must be able to tell criteria apart"
    cosine = seeds.latent_values(overlap, "encoder_cosine").mean()
    assert cosine == pytest.approx(defined_fractions(*pair)["encoder_cosine"], rel=1e-12)
    found = seeds.curves({(0, 1): overlap, (0, 2): compare(pair[0], pair[0])}, thresholds)
    for i, t in enumerate(thresholds):
        expected = defined_fractions(*pair, t=t)
        assert {c: found[c][0, i] for c in found} == {c: expected[c] for c in ("strict", "notebook", "max_cosine")}
        assert t == 1 or all(found[c][1, i] == 1 for c in found)


def test_permuting_and_rescaling_latents_changes_nothing():
    a, b = dictionaries()
    before = compare(a, b)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    scale = torch.rand(60, 1, generator=torch.Generator().manual_seed(2)) + 0.1
    after = compare(a, Rows(b.encoder[order] * scale, b.decoder[order] * scale.flip(0)))
    for criterion in DEFINITIONS:
        assert (before.shared(criterion) == after.shared(criterion)).all()
    assert (order.numpy()[after.decoder.partner] == before.decoder.partner).all()
    np.testing.assert_allclose(after.decoder.cosine, before.decoder.cosine, rtol=1e-6)


@pytest.mark.parametrize("planted", [0, 17, 40])
def test_planted_overlap_is_recovered(planted):
    n, d = 40, 64
    common, only_a, only_b = random_directions(3 * n, d, seed=3).split(n)
    a = torch.cat([common[:planted], only_a[planted:]])
    b = torch.cat([common[:planted], only_b[planted:]]).flip(0)
    overlap = compare(Rows(a, a), Rows(b, b))
    shared = overlap.shared("strict")
    assert shared[:planted].all() and not shared[planted:].any()
    assert (overlap.decoder.partner[:planted] == n - 1 - np.arange(planted)).all()


def test_zero_rows_have_cosine_zero_and_are_never_shared():
    a, _ = dictionaries(n=12)
    a.encoder[3], a.decoder[3] = 0, 0
    overlap = compare(a, a)
    assert overlap.decoder.cosine[3] == 0 and overlap.decoder_nearest.cosine[3] <= 0.7
    assert overlap.fraction(overlap.shared("strict")) == pytest.approx(11 / 12)


@pytest.mark.parametrize(("n", "m"), [(30, 20), (20, 30)])
def test_rectangular_widths(n, m):
    a, b = dictionaries(n=n, m=m)
    overlap = compare(a, b)
    matched = overlap.decoder.partner >= 0
    assert matched.sum() == min(n, m) == len(set(overlap.decoder.partner[matched]))
    assert np.isnan(overlap.decoder.cosine[~matched]).all() and not np.isnan(overlap.decoder.cosine[matched]).any()
    for criterion in ("strict", "notebook", "decoder_only"):
        assert not overlap.shared(criterion)[~matched].any()
    assert not overlap.agree[~matched].any()
    total = cosine_matrix(a.decoder, b.decoder)
    rows, columns = linear_sum_assignment(-total)
    assert overlap.decoder.cosine[matched].sum() == pytest.approx(total[rows, columns].sum(), rel=1e-12)


def test_dead_latents_are_left_out_before_matching():
    a, b = dictionaries()
    alive_a, alive_b = torch.rand(2, 60, generator=torch.Generator().manual_seed(9)) > 0.3
    overlap = compare(replace(a, alive=alive_a), replace(b, alive=alive_b))
    alone = compare(*(Rows(side.encoder[kept], side.decoder[kept]) for side, kept in ((a, alive_a), (b, alive_b))))
    kept = alive_b.nonzero()[:, 0].numpy()
    assert (overlap.decoder.partner[~alive_a.numpy()] == -1).all()
    assert np.isnan(overlap.decoder_nearest.cosine[~alive_a.numpy()]).all()
    found = alone.encoder.partner
    assert (overlap.encoder.partner[alive_a.numpy()] == np.where(found >= 0, kept[found], -1)).all()
    for criterion in DEFINITIONS:
        assert overlap.fraction(overlap.shared(criterion)) == alone.fraction(alone.shared(criterion))
    assert not overlap.shared("strict")[~alive_a.numpy()].any()


def test_random_directions_are_uniform_on_the_sphere():
    rows = random_directions(5000, 3, seed=1)
    np.testing.assert_allclose(rows.norm(dim=1), 1, rtol=1e-12)
    np.testing.assert_allclose(rows.mean(dim=0), 0, atol=0.04)  # 5 standard errors of sqrt(1 / 3 / 5000)


def test_nearest_is_the_row_maximum_and_never_below_the_match():
    a, b = (side.decoder for side in dictionaries())
    np.testing.assert_allclose(nearest(a, b).cosine, cosine_matrix(a, b).max(axis=1), rtol=1e-12)
    assert (nearest(a, b).cosine >= match(a, b).cosine).all()


def test_stack_is_compared_pair_by_pair():
    encoders, decoders = torch.randn(2, 3, 20, 8, generator=torch.Generator().manual_seed(0))
    pairs = seeds.overlap_of_pairs(encoders, decoders)
    assert list(pairs) == [(0, 1), (0, 2), (1, 2)]
    alone = compare(Rows(encoders[0], decoders[0]), Rows(encoders[2], decoders[2]))
    assert (pairs[0, 2].decoder.partner == alone.decoder.partner).all()
    summary = seeds.summarise(pairs)
    each = [o.decoder.cosine.mean() for o in pairs.values()]
    assert summary["decoder_cosine"].estimate == pytest.approx(np.mean(each))
    matrix = seeds.pairwise(pairs, "decoder_cosine")
    assert [matrix[pair] for pair in pairs] == each and np.isnan(matrix).sum() == 6


def test_the_gain_of_many_to_one_is_relative_to_what_is_shared_one_to_one():
    """Two of four latents are copies; a third points like the first, whose partner is taken."""
    rows = torch.eye(4, 6)
    other = torch.stack([rows[0], rows[1], torch.eye(6)[4], torch.eye(6)[5]])
    rows = torch.stack([rows[0], rows[1], rows[0] + 0.1 * rows[2], rows[3]])
    gain = seeds.STATISTICS["max_cosine_gain"](compare(Rows(rows, rows), Rows(other, other)))
    assert gain.mean() == pytest.approx((3 / 4 - 2 / 4) / (2 / 4))
    e = torch.eye(8)
    none = compare(*(Rows(half, half) for half in e.split(4)))
    assert seeds.STATISTICS["max_cosine_gain"](none).mean() == 0
    crowd, apart = e[0] + 0.2 * e[1:5], e[[0, 5, 6, 7]]  # four name one partner: three more than one to one
    stack = torch.stack([crowd, apart, apart])
    whole = seeds.summarise(seeds.overlap_of_pairs(stack, stack))["max_cosine_gain"]
    assert whole.estimate == pytest.approx((3 + 3 + 0) / 3)  # above 1, as no share is


@pytest.mark.parametrize(
    ("message", "change", "criterion"),
    [
        ("must have the same shape", lambda a: replace(a, encoder=a.encoder[:5]), "strict"),
        ("one d_in", lambda a: Rows(a.encoder[:, :3], a.decoder[:, :3]), "strict"),
        ("first dictionary has no alive latent", lambda a: replace(a, alive=torch.zeros(60) > 0), "strict"),
        ("must be bool", lambda a: replace(a, alive=torch.ones(59) > 0), "strict"),
        ("latent 7 ", lambda a: replace(a, decoder=a.decoder.index_fill(0, torch.tensor(7), torch.nan)), "strict"),
        ("allowed: strict", lambda a: a, "loose"),
    ],
)
def test_bad_input_is_one_line(message, change, criterion):
    a, b = dictionaries()
    with pytest.raises(InputError, match=message) as error:
        compare(change(a), b).shared(criterion)
    assert "\n" not in str(error.value)


def test_figure_arrays_hold_the_first_pair_and_the_curves_of_all_and_of_the_nulls():
    encoders, decoders = torch.randn(2, 3, 20, 8, generator=torch.Generator().manual_seed(0))
    pairs = seeds.overlap_of_pairs(encoders, decoders)
    random = seeds.overlap_of_pairs(*[torch.randn(3, 20, 8, generator=torch.Generator().manual_seed(1))] * 2)
    arrays = seeds.figure_arrays(pairs, {"uniform_tied": random}, np.linspace(0, 1, 5))
    assert arrays["curve_strict"].shape == (3, 5)
    shared = [replace(overlap, threshold=0.5).shared("max_cosine").mean() for overlap in random.values()]
    assert arrays["null_uniform_tied"][2] == pytest.approx(np.mean(shared)) and np.mean(shared) > 0.1
    assert (arrays["agree"] == pairs[0, 1].agree).all()
    assert all(not a.dtype.hasobject for a in arrays.values())
