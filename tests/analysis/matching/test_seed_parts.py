"""What a seed is: pairs that differ in one cause alone, and causes that were planted found again."""

from itertools import permutations

import numpy as np
import pytest
import torch

from sae_utils.analysis.matching import seed_parts, sweeps
from sae_utils.analysis.matching.seed_parts import (
    ALL,
    CAUSES,
    N_UNITS,
    made_of,
    rows_of,
    shared_by_cause,
    stacks_needed,
)
from sae_utils.analysis.matching.sweeps import MEASURES, Shared, difference
from sae_utils.analysis.statistics import jackknife
from sae_utils.saes import SAE, Evaluation, SAEConfig

N_LATENTS, OWN = 16, {"initialisation": 1, "order": 2, "passages": 3, "files": 4}  # latents that a cause alone decides
MADE = ("initialisation", "order", "passages")  # a text is of passages, which are of files


def test_each_dictionary_differs_in_one_cause_from_its_units():
    for unit in range(N_UNITS):
        for cause in CAUSES:
            differ = [name for name, a, b in zip(MADE, made_of(unit), made_of(unit, cause), strict=True) if a != b]
            assert differ == ["passages" if cause == "files" else cause]
        files, others, next_ones = (rows_of(made_of(unit, cause)[2]) for cause in (None, "passages", "files"))
        assert files[:2] == others[:2] != next_ones[:2] and files[2:] == next_ones[2:] != others[2:]
    needed = {(first, *rest) for rest, seeds in stacks_needed().items() for first in seeds}
    assert needed == {made_of(unit, changed) for unit in range(N_UNITS) for changed in (None, *CAUSES)}
    assert sum(len(seeds) for seeds in stacks_needed().values()) == len(needed) == 15


@pytest.fixture(scope="module")
def found():
    """Latents that all have, and for each cause some which are others with another number of it."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.linalg.qr(torch.randn(96, 96, generator=generator))[0]
    common, rest = directions[: N_LATENTS - sum(OWN.values())], iter(directions[N_LATENTS:])
    own = {
        (cause, number): torch.stack([next(rest) for _ in range(n)])
        for cause, n in OWN.items()
        for number in range(2 * N_UNITS)
    }
    stacks = {}
    for (order, text), firsts in stacks_needed().items():
        sae = SAE.create(SAEConfig(96, N_LATENTS, "topk", 2), firsts)
        with torch.no_grad():
            for at, first in enumerate(firsts):
                made = zip(CAUSES, (first, order, text, text // 2), strict=True)
                sae.W_dec[at] = torch.cat([common, *(own[name, number] for name, number in made)])
            sae.encoder.copy_(sae.W_dec)
        tensor = torch.ones(len(firsts), dtype=torch.float64)
        firing = torch.full((len(firsts), N_LATENTS), 0.1)
        stacks[order, text] = sae, Evaluation(100, tensor, tensor, tensor, firing, tensor, 7)
    return shared_by_cause(stacks, torch.eye(96))


def test_each_cause_takes_away_what_was_planted(found):
    other_files = OWN["passages"] + OWN["files"]
    for cause, n in {**OWN, "files": other_files, ALL: sum(OWN.values())}.items():
        pairs = found[cause].pairs["shared_strict"]
        alone = {(unit, unit) for unit in range(N_UNITS)}
        assert set(pairs) == (alone if cause == "passages" else set(permutations(range(N_UNITS), 2)))
        np.testing.assert_allclose(list(pairs.values()), 1 - n / N_LATENTS)


def test_claims_are_differences_of_the_shares(found):
    claims = seed_parts.claims_of(found)
    expected = {"order": 1, "passages": 2, "files": 6}
    for cause, n in expected.items():
        np.testing.assert_allclose(claims[f"{cause}_below_initialisation"].ends, n / N_LATENTS)
    np.testing.assert_allclose(claims["all_below_files"].ends, 3 / N_LATENTS)


def test_an_interval_leaves_out_a_unit_with_all_that_is_of_it():
    values = {"initialisation": (0.9, 0.8, 0.7), "passages": (0.5, 0.6, 0.4)}
    pairs = {(unit, (unit + 1) % 3): value for unit, value in enumerate(values["initialisation"])}
    both = pairs | {(j, i): value for (i, j), value in pairs.items()}
    alone = {(unit, unit): value for unit, value in enumerate(values["passages"])}
    one, other = (Shared(dict.fromkeys(MEASURES, of)) for of in (both, alone))
    without = [0.8 - 0.5, 0.7 - 0.45, 0.9 - 0.55]
    assert difference([one], [other], "agree").ends == pytest.approx(jackknife(0.3, without).ends)
    assert sweeps.each_once(alone) == pytest.approx(values["passages"])
