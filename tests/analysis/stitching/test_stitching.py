"""The steps of stitching, one after the other, on dictionaries of which everything is known."""

import numpy as np
import pytest
import torch
from helpers.planted_stacks import sae_of
from helpers.random_saes import how_sparse

from sae_utils.analysis import stitching
from sae_utils.analysis.stitching.novelty import separation
from sae_utils.analysis.stitching.swap_groups import relate
from sae_utils.analysis.stitching.walk import pair_error, walk_along, walk_steps
from sae_utils.saes import evaluate

N_SMALL, N_LARGE, D = 4, 12, 16


def known_dictionary(architecture, n_latents):
    """The first ``n_latents`` of D orthogonal directions; encoders equal decoders, no bias; all may be active."""
    rows = torch.eye(D, dtype=torch.float64)[None, :n_latents]
    return sae_of(rows, architecture=architecture, **how_sparse(architecture, n_latents, 0.0))


def sparse_sums(n=300):
    generator = torch.Generator().manual_seed(0)
    sizes = torch.rand(n, D, dtype=torch.float64, generator=generator)
    return sizes * (torch.rand(n, D, generator=generator) < 0.2)


@pytest.mark.parametrize("architecture", ["relu", "topk"])
def test_from_insertion_to_the_end_of_the_walk(architecture):
    small, large, x = known_dictionary(architecture, N_SMALL), known_dictionary(architecture, N_LARGE), sparse_sums()
    power = x.square().mean(0).numpy()
    found = stitching.insert(small, large, [x])
    missing = np.arange(N_LARGE) >= N_SMALL
    np.testing.assert_allclose(found.change[0, 0], np.where(missing, -1, 1) * power[:N_LARGE], rtol=1e-12)
    cosine = (large.W_dec[0] @ small.W_dec[0].T).amax(1).detach().numpy()
    assert separation(cosine, found.change[0, 0]).auc == 1.0

    relation = relate(small.W_dec[0], large.W_dec[0], 0.7)
    assert relation.novel.tolist() == np.flatnonzero(missing).tolist()
    assert relation.counts()["identical"] == N_SMALL and relation.counts()["lost"] == 0

    error = pair_error(small, large, [x])
    walked = walk_along(walk_steps(relation, error), error)
    gone = np.sort(power[N_SMALL:N_LARGE])[::-1].cumsum()
    np.testing.assert_allclose(walked.mse[: 1 + len(gone)], power[N_SMALL:].sum() - np.append(0, gone), rtol=1e-9)
    assert (np.diff(walked.mse) <= 1e-12).all()

    end = stitching.frankensteins([small, large], 0.7)[-1]
    assert evaluate(end, [x]).mse.item() == pytest.approx(power[N_LARGE:].sum())
