"""Zipf frequencies, the copula and exclusive children have the quantities of SAELens's generators (SynthSAEBench)."""

import pytest
import torch

from sae_utils.data.synthetic import Copula, Hierarchy, Independent

activation_generator = pytest.importorskip("sae_lens.synthetic.activation_generator", reason="sae-lens not installed")

N = 200_000
CLOSE = 0.004  # three standard errors of a frequency of .3, from both sides


def fires(coefficients):
    return (coefficients != 0).double()


def test_frequencies_and_magnitudes_of_independent_atoms():
    from sae_lens.synthetic.firing_probabilities import zipfian_firing_probabilities

    p = zipfian_firing_probabilities(20, exponent=0.8, max_prob=0.3, min_prob=0.01)
    torch.manual_seed(0)
    theirs = activation_generator.ActivationGenerator(20, p).sample(N)
    ours = Independent(p).coefficients(N, torch.Generator().manual_seed(0))
    torch.testing.assert_close(fires(ours).mean(0), fires(theirs).mean(0), rtol=0, atol=CLOSE)
    torch.testing.assert_close(fires(ours).sum(1).mean(), fires(theirs).sum(1).mean(), rtol=0.01, atol=0)


def test_correlations_of_the_copula():
    p = torch.linspace(0.02, 0.3, 12)
    factor = 0.8 * torch.nn.functional.normalize(torch.randn(12, 3, generator=torch.Generator().manual_seed(1)), dim=1)
    low_rank = (factor, 1 - factor.square().sum(1))
    torch.manual_seed(0)
    theirs = activation_generator.ActivationGenerator(12, p, correlation_matrix=low_rank).sample(N)
    ours = Copula(p, factor).coefficients(N, torch.Generator().manual_seed(0))
    torch.testing.assert_close(fires(ours).mean(0), fires(theirs).mean(0), rtol=0, atol=CLOSE)
    correlations = [torch.corrcoef(fires(x).T) for x in (ours, theirs)]
    torch.testing.assert_close(*correlations, rtol=0, atol=0.015)


def test_children_are_exclusive_and_fire_with_their_parent():
    from sae_lens.synthetic.hierarchy.modifier import hierarchy_modifier
    from sae_lens.synthetic.hierarchy.node import HierarchyNode

    children = [HierarchyNode(feature_index=i) for i in (1, 2, 3)]
    root = HierarchyNode(feature_index=0, children=children, mutually_exclusive_children=True)
    rule = Hierarchy(0.2, n_parents=1, n_children=3, child=0.6)
    # Theirs draws children by themselves and then keeps one of those that fire: given the parent, one fires with
    # probability 1 - (1 - q)^3.
    q = 1 - (1 - rule.child) ** (1 / 3)
    torch.manual_seed(0)
    probabilities = torch.tensor([rule.parent, q, q, q])
    modify = hierarchy_modifier([root])
    theirs = activation_generator.ActivationGenerator(4, probabilities, modify_activations=modify).sample(N)
    ours = rule.coefficients(N, torch.Generator().manual_seed(0))
    for x in (ours, theirs):
        assert fires(x)[:, 1:].sum(1).max() == 1
        assert (fires(x)[:, 1:].sum(1) <= fires(x)[:, 0]).all()
    torch.testing.assert_close(fires(ours).mean(0), fires(theirs).mean(0), rtol=0, atol=CLOSE)
