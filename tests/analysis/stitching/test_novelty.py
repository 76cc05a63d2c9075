"""AUC and best threshold against plain counting; odds ratios by hand."""

from math import log

import numpy as np
import pytest

from sae_utils.analysis.stitching.novelty import accuracy_at, associate, separation


def latents(n=60, seed=0):
    """Cosines (some tied) and changes that go along with them, not exactly."""
    rng = np.random.default_rng(seed)
    cosine = rng.random(n).round(1 if seed else 6)
    return cosine, cosine - 0.5 + 0.3 * rng.standard_normal(n)


@pytest.mark.parametrize("seed", [0, 1])
def test_auc_and_threshold_are_what_counting_gives(seed):
    cosine, change = latents(seed=seed)
    found = separation(cosine, change)
    novel, known = cosine[change < 0], cosine[change >= 0]
    wins = [(a < b) + 0.5 * (a == b) for a in novel for b in known]
    assert found.auc == pytest.approx(np.mean(wins))
    balanced = {t: ((novel <= t).mean() + (known > t).mean()) / 2 for t in np.unique(cosine)}
    assert found.balanced_accuracy == pytest.approx(max(balanced.values()))
    assert accuracy_at(found.threshold, cosine, change) == pytest.approx(found.balanced_accuracy)
    assert accuracy_at(0.3, cosine, change) == pytest.approx(((novel <= 0.3).mean() + (known > 0.3).mean()) / 2)


def test_a_perfect_proxy_is_found_midway():
    found = separation(np.array([0.1, 0.3, 0.6, 0.9]), np.array([-1.0, -2.0, 0.0, 1.0]))
    assert (found.auc, found.balanced_accuracy) == (1.0, 1.0)
    assert found.threshold == pytest.approx(0.45)
    assert separation(np.array([0.9, 0.1]), np.array([-1.0, 1.0])).auc == 0.0


def test_one_kind_alone_has_no_separation():
    for change in (np.ones(5), -np.ones(5)):
        found = separation(np.linspace(0, 1, 5), change)
        assert np.isnan([found.auc, found.threshold, found.balanced_accuracy]).all()
        assert np.isnan(accuracy_at(0.7, np.linspace(0, 1, 5), change))


def test_odds_ratio_is_haldane_s():
    first, second = (np.repeat([True, *others, False], [8, 2, 3, 0]) for others in ([True, False], [False, True]))
    found = associate(first, second)
    assert found.table == ((8, 2), (3, 0))
    assert found.log_odds_ratio == pytest.approx(log(8.5 * 0.5 / (2.5 * 3.5)))
    assert associate(second, first).log_odds_ratio == pytest.approx(found.log_odds_ratio)
