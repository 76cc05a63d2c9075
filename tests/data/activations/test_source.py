"""Sources of activations give the model's own activations, in one order, with one normalisation."""

import itertools

import numpy as np
import pytest
import torch
from helpers.tiny_language_model import make_tiny

from sae_utils.data.activations import ActivationStream, Normalisation, TensorSource
from sae_utils.data.models.language_model import load_language_model
from sae_utils.errors import InputError

HOOKS = ("blocks.0.hook_mlp_out", "blocks.2.hook_resid_post")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_language_model(make_tiny(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(scope="module")
def rows(model):
    return np.random.default_rng(0).integers(0, len(model.tokenizer), (30, 16)).astype(np.uint16)


@pytest.fixture
def numbered():
    """Activations that say which they are."""
    return TensorSource({"x": torch.arange(100.0)[:, None].repeat(1, 3)}, block_rows=32)


def taken(source, n, name="x", **how):
    batches = source.batches(**{"batch_size": 8, "data_seed": 0, **how})
    return [next(batches)[name] for _ in range(n)]


def test_first_batch_begins_a_run_in_its_middle(numbered):
    run = taken(numbered, 40)
    for first in range(30):
        assert all(map(torch.equal, taken(numbered, 5, first_batch=first), run[first : first + 5]))


def test_batches_are_blocks_shuffled_laid_end_to_end_and_cut():
    source = TensorSource({"x": torch.randn(100, 3, generator=torch.Generator().manual_seed(0))}, block_rows=32)
    laid = torch.zeros(0, 3)
    for block in itertools.islice(source.order.blocks(data_seed=0), 16):
        laid = torch.cat([laid, source.read(block.rows)["x"][:, 0][block.take]])
    for size in (1, 8, 31, 32, 33, 150):
        n = len(laid) // size
        assert all(map(torch.equal, taken(source, n, batch_size=size), laid.split(size)))


def test_order_depends_on_the_data_seed_alone(numbered):
    torch.manual_seed(0)
    one = taken(numbered, 3)
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    assert all(map(torch.equal, taken(numbered, 3), one))
    assert not torch.equal(taken(numbered, 1, data_seed=1)[0], one[0])


def test_stream_gives_the_models_own_activations(model, rows):
    stream = ActivationStream(model, rows, HOOKS, block_rows=7)
    assert stream.d_in == {name: 16 for name in HOOKS} and stream.hook_points == HOOKS
    all_of = model.activations(torch.from_numpy(rows.astype(np.int64)), HOOKS)
    first_block = next(stream.order.blocks(data_seed=2))
    batch = next(stream.batches(5, data_seed=2))
    for name in HOOKS:
        flat = all_of[name][first_block.rows].flatten(0, 1)[first_block.take[:5]]
        torch.testing.assert_close(batch[name], flat, rtol=1e-6, atol=1e-6)


def test_stream_leaves_out_first_positions_and_end_of_text(model, rows):
    rows = rows.copy()
    rows[:, 5] = model.tokenizer.eos_token_id
    n_end = int((rows[:, 1:] == model.tokenizer.eos_token_id).sum())
    assert ActivationStream(model, rows, HOOKS).n_tokens == 30 * 15 - n_end


def test_a_rows_activations_do_not_depend_on_the_rows_beside_it(model, rows):
    stream = ActivationStream(model, rows, HOOKS)
    together = stream.read(np.arange(30))
    alone = stream.read(np.array([17]))
    for name in HOOKS:
        assert torch.equal(together[name][17], alone[name][0])


def test_normalisation_gives_mean_zero_and_mean_square_norm_d_in():
    x = 3 + 5 * torch.randn(5000, 7, generator=torch.Generator().manual_seed(0))
    normalisation = TensorSource({"x": x}).normalisation["x"]
    z = (x - normalisation.mean) * normalisation.scale
    torch.testing.assert_close(z.mean(0), torch.zeros(7), atol=1e-5, rtol=0)
    assert z.square().sum(1).mean().item() == pytest.approx(7, rel=1e-5)


def test_normalisation_of_a_stream_is_that_of_its_kept_positions(model, rows):
    stream = ActivationStream(model, rows, HOOKS)
    x = stream.read(np.arange(30))[HOOKS[0]][torch.from_numpy(stream.order.keep)]
    expected = Normalisation.of(x)
    torch.testing.assert_close(stream.normalisation[HOOKS[0]].mean, expected.mean)
    assert stream.normalisation[HOOKS[0]].scale == pytest.approx(expected.scale)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda m, r: TensorSource({"x": torch.zeros(3)}), "floating tensors"),
        (lambda m, r: TensorSource({"x": torch.zeros(3, 2), "y": torch.zeros(4, 2)}), "one n"),
        (lambda m, r: TensorSource({"x": torch.ones(3, 2)}).normalisation, "total variance is 0"),
        (lambda m, r: TensorSource({"x": torch.ones(3, 2)}).batches(0, 0), "batch_size=0 must be"),
        (lambda m, r: TensorSource({"x": torch.ones(3, 2)}).batches(2, -1), "data_seed=-1 must be"),
        (lambda m, r: ActivationStream(m, r, []), "one or more different names"),
        (lambda m, r: ActivationStream(m, r, ["blocks.9.hook_mlp_out"]), "'blocks.9.hook_mlp_out' is not in"),
        (lambda m, r: ActivationStream(m, r.astype(float), HOOKS), "rows must be token ids"),
        (lambda m, r: ActivationStream(m, np.tile(r, 3), HOOKS), "longer than the 32"),
        (lambda m, r: ActivationStream(m, r + np.uint16(9000), HOOKS), "are not all below 300"),
    ],
)
def test_wrong_arguments_end_in_one_line(model, rows, call, said):
    with pytest.raises(InputError, match=said):
        call(model, rows)
