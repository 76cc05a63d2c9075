"""What a seed is: pairs that differ in one cause alone, and causes that were planted found again."""

from itertools import permutations

import numpy as np
import pytest
import torch

from sae_utils.analysis.matching import seed_parts
from sae_utils.analysis.matching.seed_parts import ALL, CAUSES, N_UNITS, made_of, shared_by_cause, stacks_needed
from sae_utils.saes import SAE, Evaluation, SAEConfig

N_LATENTS, OWN = 12, {"initialisation": 1, "order": 2, "text": 4}  # latents that a cause alone decides


def test_each_dictionary_differs_in_one_cause_from_its_units():
    for unit in range(N_UNITS):
        for cause in CAUSES:
            differ = [name for name, a, b in zip(CAUSES, made_of(unit), made_of(unit, cause), strict=True) if a != b]
            assert differ == [cause]
    needed = {(first, *rest) for rest, seeds in stacks_needed().items() for first in seeds}
    assert needed == {made_of(unit, changed) for unit in range(N_UNITS) for changed in (None, *CAUSES)}
    assert sum(len(seeds) for seeds in stacks_needed().values()) == len(needed) == 12


@pytest.fixture(scope="module")
def found():
    """Latents that all have, and for each cause some which are others with another number of it."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.linalg.qr(torch.randn(64, 64, generator=generator))[0]
    common, rest = directions[: N_LATENTS - sum(OWN.values())], iter(directions[N_LATENTS:])
    own = {
        (cause, number): torch.stack([next(rest) for _ in range(n)])
        for cause, n in OWN.items()
        for number in range(N_UNITS)
    }
    stacks = {}
    for (order, text), firsts in stacks_needed().items():
        sae = SAE.create(SAEConfig(64, N_LATENTS, "topk", 2), firsts)
        with torch.no_grad():
            for at, first in enumerate(firsts):
                made = zip(CAUSES, (first, order, text), strict=True)
                sae.W_dec[at] = torch.cat([common, *(own[name, number] for name, number in made)])
            sae.encoder.copy_(sae.W_dec)
        tensor = torch.ones(len(firsts), dtype=torch.float64)
        firing = torch.full((len(firsts), N_LATENTS), 0.1)
        stacks[order, text] = sae, Evaluation(100, tensor, tensor, tensor, firing, tensor, 7)
    return shared_by_cause(stacks, torch.eye(64))


def test_each_cause_takes_away_what_was_planted(found):
    for cause, n in {**OWN, ALL: sum(OWN.values())}.items():
        pairs = found[cause].pairs["shared_strict"]
        assert set(pairs) == set(permutations(range(N_UNITS), 2))
        np.testing.assert_allclose(list(pairs.values()), 1 - n / N_LATENTS)


def test_claims_are_differences_of_the_shares(found):
    claims = seed_parts.claims_of(found)
    np.testing.assert_allclose(claims["text_below_initialisation"].ends, 3 / N_LATENTS)
    np.testing.assert_allclose(claims["order_below_initialisation"].ends, 1 / N_LATENTS)
    np.testing.assert_allclose(claims["all_below_text"].ends, 3 / N_LATENTS)
