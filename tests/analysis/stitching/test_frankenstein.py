"""Novel latents of ever larger SAEs added up, against the same done plainly."""

import numpy as np
import pytest
import torch
from helpers.stitched_pairs import pair
from torch.nn.functional import cosine_similarity

from sae_utils.analysis.stitching.frankenstein import frankensteins, fvu_at, fvu_at_l0


def family():
    a, b, _ = pair("topk", seeds=((0,), (1,)), widths=(8, 16))
    _, c, x = pair("topk", seeds=((0,), (2,)), widths=(8, 32))
    return [a, b, c], x


def test_each_stage_adds_what_no_latent_before_is_close_to():
    saes, x = family()
    stages = frankensteins(saes, 0.7)
    rows = saes[0].W_dec[0]
    for stage, sae in zip(stages, [None, *saes[1:]], strict=True):
        if sae is not None:  # latents of one SAE are compared with what was there before it, not with each other
            novel = [r for r in sae.W_dec[0] if max(cosine_similarity(r, o, dim=0).item() for o in rows) <= 0.7]
            rows = torch.stack([*rows, *novel])
        assert torch.equal(stage.W_dec[0], rows)
        assert torch.equal(stage.b_dec, saes[0].b_dec)
    with torch.no_grad():
        assert torch.equal(stages[0](x), saes[0](x))
    assert 8 < stages[1].config.n_latents < 24 and stages[2].config.n_latents > stages[1].config.n_latents


def test_dead_latents_are_not_added():
    saes, _ = family()
    alive = [np.ones(n, dtype=bool) for n in (8, 16, 32)]
    alive[1][:] = False
    stages = frankensteins(saes, 0.7, alive)
    assert stages[1].config.n_latents == 8
    assert stages[2].config.n_latents == frankensteins([saes[0], saes[2]], 0.7)[1].config.n_latents


def test_fvu_between_widths_is_a_power_law():
    widths, fvu = [16, 64, 256], [0.4, 0.2, 0.15]
    assert fvu_at(widths, fvu, 64) == pytest.approx(0.2)
    assert fvu_at(widths, fvu, 32) == pytest.approx((0.4 * 0.2) ** 0.5)


def test_fvu_at_an_l0_lies_on_the_line_of_logarithms():
    first, second = (4.0, 0.4), (16.0, 0.1)  # 1.6 over L0
    for l0 in (4, 8, 16):
        assert fvu_at_l0(first, second, l0) == pytest.approx(1.6 / l0)
        assert fvu_at_l0(second, first, l0) == pytest.approx(1.6 / l0)


@pytest.mark.parametrize(("second", "l0"), [((16.0, 0.1), 3.9), ((16.0, 0.1), 32), ((4.0, 0.1), 4)])
def test_beyond_both_there_is_no_fvu(second, l0):
    assert np.isnan(fvu_at_l0((4.0, 0.4), second, l0))
