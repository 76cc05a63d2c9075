"""Each generator has the frequencies, the L0 and the correlations that it states."""

import pytest
import torch

from sae_utils.data.synthetic import KINDS, Circles, Copula, Hierarchy, Independent, Pairs, WorldConfig, zipf
from sae_utils.data.synthetic.firing import SPREAD
from sae_utils.errors import InputError

N = 100_000
# Three standard errors of a frequency of at most 0.1 among 100,000 tokens are 0.0028.
CLOSE = 0.003


def small(kind):
    return WorldConfig(kind, d=16, n_atoms=40, l0=3.0).world()


def fires(world):
    return (world.sample(N, seed=3).coefficients != 0).double()


@pytest.mark.parametrize("kind", KINDS)
def test_frequencies_and_l0_are_those_stated(kind):
    world = small(kind)
    frequency = fires(world).mean(0)
    stated = world.rule.probability
    if kind == "circles":
        stated = stated.repeat_interleave(2)
        assert frequency.sum().item() / 2 == pytest.approx(3.0, abs=0.03)  # planes
    else:
        assert frequency.sum().item() == pytest.approx(3.0, abs=0.03)
    # Of Zipf's law the most frequent atom fires on half of the tokens: there the error is 1.7 times as large.
    torch.testing.assert_close(frequency, stated.double(), rtol=0, atol=2 * CLOSE)


@pytest.mark.parametrize("kind", KINDS)
def test_activations_are_atoms_times_coefficients_and_noise(kind):
    world = small(kind)
    sample = world.sample(20_000, seed=0)
    rest = sample.x - sample.coefficients @ world.atoms
    expected = world.nuisance.double().T @ world.nuisance.double() + world.noise**2 * torch.eye(16)
    torch.testing.assert_close(torch.cov(rest.double().T), expected, rtol=0.1, atol=0.01)
    torch.testing.assert_close(world.atoms.norm(dim=1), torch.ones(40))


def test_magnitudes_are_one_and_more():
    coefficients = WorldConfig("independent").world().sample(20_000, seed=0).coefficients
    active = coefficients[coefficients != 0]
    assert active.min() >= 1
    assert active.mean().item() == pytest.approx(1 + SPREAD * (2 / torch.pi) ** 0.5, abs=0.005)


def test_zipf_falls_as_its_exponent_says():
    p = zipf(100, 4.0, exponent=0.5)
    assert p.sum().item() == pytest.approx(4.0)
    torch.testing.assert_close(p[0] / p[[3, 99]], torch.tensor([2.0, 10.0]))


def test_children_fire_with_their_parent_alone_and_one_at_a_time():
    world = small("hierarchy")
    families = fires(world).view(N, -1, 1 + world.rule.n_children)
    parents, children = families[..., 0], families[..., 1:].sum(-1)
    assert children.max() == 1
    assert (children <= parents).all()
    assert (children.sum() / parents.sum()).item() == pytest.approx(world.rule.child, abs=0.01)
    assert world.rule.families[:4] == ((0, 1), (0, 2), (0, 3), (4, 5))


def test_pairs_fire_together_as_often_as_stated():
    f = fires(small("pairs"))
    first, second = f[:, ::2], f[:, 1::2]
    assert ((first * second).sum() / first.sum()).item() == pytest.approx(0.5, abs=0.01)
    assert ((first * second).sum() / second.sum()).item() == pytest.approx(0.5, abs=0.01)
    other = (f[:, :1] * f[:, 2:]).mean(0)  # of other pairs: independent
    torch.testing.assert_close(other, f[:, 0].mean() * f[:, 2:].mean(0), rtol=0, atol=CLOSE)


def test_points_of_a_circle_have_any_angle_and_a_magnitude_of_one_and_more():
    active = small("circles").sample(N, seed=3).coefficients.view(N, -1, 2)
    points = active[(active != 0).any(-1)]
    assert points.norm(dim=1).min() >= 1 - 1e-6
    angle = torch.atan2(points[:, 1], points[:, 0])
    share = torch.histc(angle, 8, -torch.pi, torch.pi) / len(points)
    torch.testing.assert_close(share, torch.full((8,), 1 / 8), rtol=0, atol=0.005)


def test_a_copula_s_factor_makes_the_correlation():
    p = torch.tensor([0.2, 0.2, 0.2])
    factor = torch.tensor([[0.9], [0.9], [0.0]])
    active = Copula(p, factor).coefficients(N, torch.Generator().manual_seed(0)) != 0
    correlation = torch.corrcoef(active.double().T)
    # The tetrachoric relation: P(both) of normals with correlation .81 above the .8 quantile, by scipy's integral.
    from scipy.stats import multivariate_normal, norm

    t = norm.ppf(0.8)
    both = multivariate_normal([0, 0], [[1, 0.81], [0.81, 1]]).cdf([-t, -t])
    assert correlation[0, 1].item() == pytest.approx((both - 0.04) / 0.16, abs=0.01)
    assert abs(correlation[0, 2].item()) < 0.01


@pytest.mark.parametrize("seed", [0, 1])
def test_no_dictionary_begins_with_the_atoms(seed):
    world = WorldConfig("independent", seed=seed).world()
    for dictionary_seed in range(4):
        rows = torch.randn(384, 64, generator=torch.Generator().manual_seed(dictionary_seed))
        cosines = torch.nn.functional.normalize(rows, dim=1) @ world.atoms.T
        assert cosines.max() < 0.7


def test_a_seed_repeats_its_tokens_and_another_has_others():
    world = small("zipf")
    one, same, other = (world.sample(100, seed).x for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(small("zipf").atoms, world.atoms)
    assert world.source(100, 0).hook_points == ("zipf, 40 atoms in 16",)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: WorldConfig("square"), "kind='square' of a world is unknown; allowed: independent, zipf"),
        (lambda: WorldConfig("zipf", n_atoms=10), "n_atoms=10 must be a multiple of 4"),
        (lambda: WorldConfig("pairs", l0=0.0), "l0=0.0 must be above 0 and below n_atoms / 2 = 96"),
        (lambda: WorldConfig("pairs", d=1), "d=1 must be a whole number of at least 2"),
        (lambda: WorldConfig("zipf", n_atoms=40, l0=12.0).world(), "firing probabilities"),
        (lambda: WorldConfig("pairs", together=1.0), "together=1.0 must be above 0 and below 1"),
        (lambda: Independent(torch.tensor([0.0])), "firing probabilities 0 to 0 must be above 0 and below 1"),
        (lambda: Circles(torch.tensor([1.0])), "firing probabilities 1 to 1"),
        (lambda: Hierarchy(1.5, 2, 3), "firing probabilities"),
        (lambda: Pairs(torch.tensor([0.1, 0.2])), "one probability for both of a pair"),
        (lambda: Copula(torch.tensor([0.1]), torch.tensor([[1.0]])), "shorter than 1"),
        (lambda: small("zipf").sample(0, 0), "n_tokens=0 must be a whole number"),
    ],
)
def test_impossible_worlds_are_refused(make, said):
    with pytest.raises(InputError, match=said):
        make()
