"""The measures of a dictionary whose rows are the atoms are 1, of a random one chance, and a planted one is found."""

import numpy as np
import pytest
import torch
from helpers.planted_stacks import sae_of
from torch.nn.functional import normalize

from sae_utils.analysis import known_truth
from sae_utils.analysis.known_truth import agreement
from sae_utils.analysis.known_truth.observables import firing_correlation
from sae_utils.analysis.matching.membership import Membership
from sae_utils.data.synthetic import WorldConfig
from sae_utils.errors import InputError
from sae_utils.saes import SAE, SAEConfig
from sae_utils.saes.training import TrainingConfig, train


def apart(kind, n_atoms=16, d=64, **changes):
    """A world whose atoms are orthogonal, so that a perfect code can be read off."""
    world = WorldConfig(kind, d, n_atoms, 2.0, **changes).world()
    world.atoms.copy_(torch.linalg.qr(world.atoms.T).Q.T)
    return world


def test_atoms_are_found_with_recall_precision_and_f1_of_one():
    world = apart("independent")
    truth = known_truth.truth_of(sae_of(world.atoms[None], k=8), world, world.sample(4000, 0))
    assert (truth.recall, truth.precision) == (1, 1)
    np.testing.assert_array_equal(truth.atom[0], np.arange(16))
    assert set(truth.kind[0]) == {"atom"}


def test_f1_compares_firing_with_the_atom_s():
    world = apart("independent")
    sample = world.sample(4000, 0)
    sae = sae_of(world.atoms[None], k=16)
    with torch.no_grad():
        sae.b_enc[:] = -0.5  # noise is .05 and magnitudes are 1 or more: the code is the truth
        sae.b_enc[0, 3] = 10.0  # fires on every token
    truth = known_truth.truth_of(sae, world, sample)
    frequency = float((sample.coefficients[:, 3] != 0).float().mean())
    expected = np.ones(16)
    expected[3] = 2 * frequency / (1 + frequency)
    np.testing.assert_allclose(truth.f1[0], expected, atol=1e-6)


def test_sums_of_a_family_are_composites_and_sums_of_strangers_are_not():
    world = apart("hierarchy")
    a = world.atoms
    rows = normalize(torch.stack([a[0] + a[1], a[0] + 0.3 * a[2], a[0] + a[5], a[4], a[1] + a[2]]), dim=1)
    truth = known_truth.truth_of(sae_of(rows[None], k=4), world, world.sample(4000, 0))
    # The second is nearer than .9 to its parent; siblings are no family.
    assert truth.kind[0].tolist() == ["composite", "atom", "other", "atom", "other"]
    assert truth.share("composite") == pytest.approx([0.2])


def test_a_direction_in_the_plane_of_a_circle_is_a_tile_whatever_its_angle():
    world = apart("circles")
    angle = torch.tensor([0.0, 0.7, 2.0])[:, None]
    rows = torch.cat([angle.cos() * world.atoms[2] + angle.sin() * world.atoms[3], world.atoms[[0]] + world.atoms[[4]]])
    truth = known_truth.truth_of(sae_of(normalize(rows, dim=1)[None], k=4), world, world.sample(4000, 0))
    assert truth.kind[0].tolist() == ["tile", "tile", "tile", "other"]
    assert truth.recall == pytest.approx([1 / 8])  # one plane of eight
    assert truth.precision == pytest.approx([3 / 4])


@pytest.mark.parametrize("kind", ["independent", "hierarchy"])
def test_random_directions_are_nothing(kind):
    world = WorldConfig(kind).world()
    rows = normalize(torch.randn(2, 384, 64, generator=torch.Generator().manual_seed(0)), dim=-1)
    truth = known_truth.truth_of(sae_of(rows, k=4), world, world.sample(4000, 0))
    assert truth.recall.max() == 0
    assert truth.precision.max() == 0
    assert truth.share("composite").max() == 0


def test_a_latent_that_never_fires_is_dead_and_finds_nothing():
    world = apart("independent")
    sae = sae_of(world.atoms[None], k=16)
    with torch.no_grad():
        sae.b_enc[0, 5] = -100.0
    truth = known_truth.truth_of(sae, world, world.sample(4000, 0))
    assert truth.kind[0, 5] == "dead"
    assert truth.recall == pytest.approx([15 / 16])
    assert truth.precision == pytest.approx([1.0])


def test_a_planted_dictionary_is_recovered():
    world = WorldConfig("independent", 32, 32, 2.0).world()
    source = world.source(30_000, 0)
    sae = SAE.create(SAEConfig(32, 64, "topk", 2), [0, 1, 2], world.name, source.normalisation[world.name])
    train([sae], source, TrainingConfig(30_000, 128, base_lr=1.6e-3), progress=False)
    truth = known_truth.truth_of(sae, world, world.sample(4000, 1))
    assert truth.recall.min() == 1
    member = known_truth.found_in(sae, truth)
    found = known_truth.Agreement(member, truth.true)
    assert agreement.share_in_all(found) > 0.98
    assert agreement.auc(found) > 0.95


def agreement_of(counts, has):
    """Latents of one of four dictionaries, by how many they are in; those of the others are dead."""
    counts, has = np.array(counts), np.array(has)
    found = np.zeros((4, 4, len(counts)), dtype=bool)
    for j in (1, 2, 3):
        found[0, j] = counts > j
    alive = np.zeros((4, len(counts)), dtype=bool)
    alive[0] = True
    return known_truth.Agreement(Membership(found, alive), np.stack([has, *3 * [np.zeros_like(has)]]))


def test_shares_by_count_and_auc_by_hand():
    a = agreement_of([1, 1, 2, 4, 4, 4], [True, False, False, True, True, False])
    assert agreement.share_in_one(a) == 1 / 2
    assert agreement.share_in_all(a) == pytest.approx(2 / 3)
    shares = [[1 / 2, 2 / 6], [0, 1 / 6], [np.nan, 0], [2 / 3, 3 / 6]]
    np.testing.assert_allclose(agreement.calibration(a), shares)
    # Of nine pairs (atom, not): the atoms' counts 1, 4, 4 against 1, 2, 4 win 0 + 2 + 2 and tie 1 + 1 + 1.
    assert agreement.auc(a) == pytest.approx((4 + 3 / 2) / 9)


def test_the_null_deals_atoms_out_anew_and_knows_nothing():
    a = agreement_of(np.repeat([1, 4], 500), np.repeat([False, True], 500))
    assert agreement.auc(a) == 1
    null = a.shuffled(0)
    assert null.has.sum() == a.has.sum()
    assert not null.has[1:].any()
    assert agreement.auc(null) == pytest.approx(0.5, abs=0.05)
    assert agreement.share_in_all(null) == pytest.approx(0.5, abs=0.07)


def test_no_value_no_interval():
    a = agreement_of([1, 4], [True, True])
    assert np.isnan(agreement.auc(a))
    assert np.isnan(agreement.interval(a, agreement.auc).ends).all()


def test_insertion_of_what_is_missing():
    world = apart("independent")
    sample = world.sample(4000, 0)
    small, large = (sae_of(torch.stack([rows, rows]), k=8) for rows in (world.atoms[:8], world.atoms))
    with torch.no_grad():
        for sae in (small, large):
            sae.b_enc[:] = -0.5
    truths = [known_truth.truth_of(sae, world, sample) for sae in (small, large)]
    for one in known_truth.novelty(small, large, *truths, [sample.x]):
        assert one.missing == 0.5
        assert one.auc_cosine == one.auc_insertion == 1
        assert one.named >= 0.5
        # What is left of eight of 16 atoms: half of the variance, of which the code with b_enc misses a half squared.
        assert one.change_missing < -0.4


def test_firing_correlation_is_numpy_s():
    world = WorldConfig("pairs", 64, 16, 2.0).world()
    sample = world.sample(3000, 0)
    sae = sae_of(world.atoms[None], k=3)
    fires = (sae.encode(sample.x).dense(16)[:, 0] > 0).numpy().astype(float)
    expected = np.corrcoef(fires.T)
    np.fill_diagonal(expected, 0)
    found = firing_correlation(sae, sample.x.split(1000))
    np.testing.assert_allclose(found, expected, atol=1e-9)
    chosen = np.arange(16) < 4
    closest = known_truth.closest_cofiring(sae, [sample.x], chosen)
    assert closest["top correlation"] == pytest.approx(expected[:4].max(1).mean())
    assert np.isnan(list(known_truth.closest_cofiring(sae, [sample.x], np.zeros(16, bool)).values())).all()
    with pytest.raises(InputError, match="no activations to correlate"):
        firing_correlation(sae, [])
