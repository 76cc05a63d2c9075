"""OrtSAE's penalty against the paper's sums written out; its chunks; what it does to a decoder."""

import pytest
import torch

from sae_utils.saes import SAE, losses
from sae_utils.saes.methods import OrtSAE
from sae_utils.saes.methods import ortsae as method
from sae_utils.saes.methods.ortsae import chunks, nearest, orthogonality


def by_hand(rows, parts):
    """Equations 3 and 4, pair by pair."""
    total = 0.0
    for part in parts:
        of_part = 0.0
        for i in part:
            cosines = [rows[i] @ rows[j] / (rows[i].norm() * rows[j].norm()) for j in part if j != i]
            of_part = of_part + torch.stack(cosines).max() ** 2
        total = total + of_part / len(part)
    return total / len(parts)


@pytest.mark.parametrize("sizes", [[12], [4, 4, 4], [5, 4, 3], [2, 10]])
def test_value_and_gradient_are_those_of_the_papers_sums(sizes):
    generator = torch.Generator().manual_seed(2)
    rows = torch.randn(12, 3, generator=generator, dtype=torch.float64).requires_grad_()
    parts = list(torch.randperm(12, generator=generator).split(sizes))
    value, expected = orthogonality(rows, parts), by_hand(rows, [part.tolist() for part in parts])
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(*(torch.autograd.grad(v, rows)[0] for v in (value, expected)))


def test_known_decoders():
    """Orthogonal rows: 0. Two equal rows among them: these two, of four, have cosine 1. A row of zeros has cosine 0."""
    part = [torch.arange(4)]
    assert orthogonality(torch.eye(4), part) == 0
    assert orthogonality(torch.eye(4)[[0, 1, 2, 2]], part) == 0.5
    assert orthogonality(torch.eye(4) * torch.tensor([[1.0], [2.0], [0.0], [5.0]]), part) == 0


def test_blocks_of_rows_find_the_same(monkeypatch):
    directions = torch.randn(50, 7)
    whole = nearest(directions)
    monkeypatch.setattr(method, "BLOCK", 8)
    assert torch.equal(nearest(directions), whole) and not (whole == torch.arange(50)).any()


def test_chunks_part_the_latents_anew_at_each_step_and_for_each_seed():
    config = OrtSAE(5, 12, "topk", 3, chunk=5)
    found = {(seed, step): chunks(config, seed, step) for seed in (-3, 0, 5) for step in (0, 1)}
    for parts in found.values():
        assert [len(part) for part in parts] == [4, 4, 4]
        assert sorted(torch.cat(parts).tolist()) == list(range(12))
    assert len({tuple(torch.cat(parts).tolist()) for parts in found.values()}) == len(found)
    assert all(map(torch.equal, chunks(config, 0, 1), found[0, 1]))
    assert [part.tolist() for part in chunks(OrtSAE(5, 12, "topk", 3), 0, 1)] == [list(range(12))]


def test_the_nearest_rows_are_those_of_float32_under_autocast():
    rows = torch.nn.functional.normalize(torch.randn(400, 3, generator=torch.Generator().manual_seed(1)), dim=-1)
    with torch.autocast("cpu", torch.bfloat16):
        found = nearest(rows)
    assert torch.equal(found, (rows @ rows.T).fill_diagonal_(-1).argmax(-1))


@pytest.mark.parametrize(("architecture", "how"), [("batch_topk", {"k": 3}), ("jump_relu", {"sparsity": 0.1})])
def test_the_loss_is_the_plain_one_and_gamma_times_the_penalty(architecture, how):
    sae = SAE.create(OrtSAE(5, 12, architecture, gamma=0.5, every=3, **how), [0, 4]).double()
    x = torch.randn(30, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    plain = losses.training_loss(sae, x, None).loss
    penalty = torch.stack([by_hand(rows, [range(12)]) for rows in sae.W_dec])
    torch.testing.assert_close(sae.config.loss(sae, x, None, 3).loss - plain, 3 * 0.5 * penalty)
    assert torch.equal(sae.config.loss(sae, x, None, 4).loss, plain)
