"""Insertion of later members' latents against the error itself, and planted kinds of latents."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.ensembles_made import activations, boosted, stack

from sae_utils.analysis.ensembles.boosting_stages import KINDS, Insertions, insertions, kinds, shares
from sae_utils.errors import InputError
from sae_utils.saes.ensembles import Ensemble


@pytest.mark.parametrize("architecture", ["topk", "relu"])
def test_the_change_is_that_of_adding_the_latent_to_the_members_before(architecture):
    ensemble, x = boosted(architecture), activations(50)
    found = insertions(ensemble, [x[:20], x[20:]])
    rest, changes, nulls, fired = x, [], [], []
    for member in ensemble.members:
        code = member.encode(rest).dense(20)[:, 0]
        bias = member.decode(replace(member.encode(rest), values=torch.zeros_like(member.encode(rest).values)))[:, 0]
        for i in range(20):
            added = code[:, i, None] * member.W_dec[0, i] / member.scale
            for out, r in ((changes, rest), (nulls, torch.cat([rest[:20].roll(1, 0), rest[20:].roll(1, 0)]))):
                r = r - bias
                out.append(((r - added).square().sum(1) - r.square().sum(1)).mean())
            fired.append((code[:, i] > 0).double().mean())
        rest = rest - member(rest)[:, 0]
    np.testing.assert_allclose(found.change, torch.stack(changes), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found.null, torch.stack(nulls), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found.firing_frequency, torch.stack(fired), atol=1e-9)
    assert found.member.tolist() == np.repeat([0, 1, 2], 20).tolist()


def planted_rows(rows):
    """A boosted ensemble with the given decoder rows by member."""
    members = [stack(n_seeds=1, n_latents=len(r), k=1) for r in rows]
    with torch.no_grad():
        for member, r in zip(members, rows, strict=True):
            member.W_dec[0] = F.normalize(torch.stack(r), dim=-1)
    return Ensemble(members, sequential=True)


def test_planted_kinds():
    """Each kind once in the first ensemble; the second holds the direction that is found again."""
    e = torch.eye(12)
    one = planted_rows([[e[0], e[1]], [e[0] + 0.1 * e[2], e[3], e[4], e[5], e[6]]])
    other = planted_rows([[e[3], e[7]], [e[8]]])
    change = np.array([-1.0, 1.0, -1.0, -1.0, -1.0, 2.0, 0.0])
    firing = np.array([1, 1, 1, 1, 1, 1, 0.0])
    member = np.repeat([0, 1], [2, 5])
    measured = [
        Insertions(member, change, change, firing),
        Insertions(np.array([0, 0, 1]), -np.ones(3), np.ones(3), np.ones(3)),
    ]
    found = kinds([one, other], measured)
    named = [KINDS[kind] for kind in found[0]]
    assert named == ["orphan", "noise", "repeated", "found again", "orphan", "noise", "dead"]
    assert [KINDS[kind] for kind in found[1]] == ["found again", "orphan", "orphan"]
    table = shares(found[0], member)
    np.testing.assert_allclose(table.sum(1), 1)
    assert table[1, KINDS.index("repeated")] == pytest.approx(1 / 5)


def test_what_has_no_order_or_no_other_is_refused():
    with pytest.raises(InputError, match="pass a boosted ensemble"):
        insertions(Ensemble.bag(stack()), [activations()])
    with pytest.raises(InputError, match="no activations"):
        insertions(boosted(), [])
    with pytest.raises(InputError, match="needs two ensembles"):
        kinds([boosted()], [insertions(boosted(), [activations()])])
