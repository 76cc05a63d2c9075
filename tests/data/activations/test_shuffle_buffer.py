"""The shuffle buffer gives what reading a block and shuffling it gives, filled ahead or not, in any dtype."""

import gc
import threading
from contextlib import closing
from itertools import islice

import numpy as np
import pytest
import torch
from helpers.tiny_language_model import TableModel

from sae_utils.data.activations import ActivationStream
from sae_utils.errors import InputError
from sae_utils.saes import SAE, SAEConfig
from sae_utils.saes.training import StackTrainer, TrainingConfig, train

HOOKS = ("a", "b")
HALF = TableModel(change=lambda tokens, x: x.bfloat16())


def outlier(value):
    """A model whose activations of token 7 are that value."""
    return TableModel(change=lambda tokens, x: x.masked_fill((tokens == 7)[..., None], value))


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).integers(0, 300, (70, 32)).astype(np.uint16)


@pytest.fixture(params=[False, True], ids=["on demand", "prefetched"])
def prefetch(request):
    return request.param


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    if threads():
        gc.collect()  # takes a second, with all that is imported
    assert not threads()


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


def stream(rows, model=None, **how):
    return ActivationStream(model or TableModel(), rows, HOOKS, **{"block_rows": 20, **how})


def taken(source, n=40, batch_size=100, first_batch=0, name="a"):
    with closing(source.batches(batch_size, data_seed=3, first_batch=first_batch)) as batches:
        return [batch[name] for batch in islice(batches, n)]


def by_definition(source, n=40, batch_size=100, name="a"):
    """Read a block, take its activations in the order's shuffle, lay blocks end to end, cut."""
    laid, blocks = torch.zeros(0, source.d_in[name]), source.order.blocks(data_seed=3)
    while len(laid) < n * batch_size:
        block = next(blocks)
        laid = torch.cat([laid, source.read(block.rows)[name].float().flatten(0, 1)[block.take]])
    return list(laid[: n * batch_size].split(batch_size))


def same(a, b):
    return len(a) == len(b) and all(map(torch.equal, a, b))


@pytest.mark.parametrize("batch_size", [7, 100, 619, 2500])
def test_batches_are_those_of_the_definition(rows, prefetch, batch_size):
    source = stream(rows, prefetch=prefetch)
    n = 4000 // batch_size
    for name in HOOKS:
        found = taken(source, n, batch_size, name=name)
        assert same(found, by_definition(source, n, batch_size, name))
        assert found[0].dtype == torch.float32


def test_a_run_begun_in_the_middle_is_the_rest_of_the_run(rows, prefetch):
    whole = taken(stream(rows), 60)
    for first in (1, 5, 6, 20, 21, 43):
        assert same(taken(stream(rows, prefetch=prefetch), 10, first_batch=first), whole[first : first + 10])


def test_a_batch_mixes_rows_from_all_over_the_corpus():
    """300 activations of rows numbered 0 to 255: at least 100 rows, from everywhere."""
    rows = np.repeat(np.arange(1, 257)[:, None], 32, 1).astype(np.uint16)
    source = stream(rows, TableModel(change=lambda tokens, x: tokens[..., None].float()), block_rows=128)
    numbers = taken(source, 1, 300)[0][:, 0]
    assert len(numbers.unique()) > 100
    assert all(((numbers > low) & (numbers <= low + 64)).sum() > 40 for low in (0, 64, 128, 192))


def test_batches_stay_as_they_are_when_the_buffer_is_filled_again(rows, prefetch):
    with closing(stream(rows, prefetch=prefetch).batches(100, data_seed=3)) as batches:
        kept = [(batch["a"], batch["a"].clone()) for batch in islice(batches, 40)]
    assert all(torch.equal(batch, then) for batch, then in kept)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_storage_in_half_the_bytes_rounds_and_does_nothing_else(rows, dtype):
    whole, halved = taken(stream(rows)), taken(stream(rows, dtype=dtype))
    torch_dtype = getattr(torch, dtype)
    assert same([x.to(torch_dtype).float() for x in whole], halved) and not same(whole, halved)
    assert stream(rows).content != stream(rows, dtype=dtype).content


def test_the_models_own_dtype_is_kept(rows):
    source = stream(rows, HALF)
    assert source.dtypes == {name: torch.bfloat16 for name in HOOKS}
    assert same(taken(source), taken(stream(rows, HALF, dtype="float32")))


def test_values_beyond_the_dtype_end_in_one_line(rows, prefetch):
    with pytest.raises(InputError, match="at a are beyond torch.float16; use dtype='bfloat16'"):
        taken(stream(rows, outlier(1e6), dtype="float16", prefetch=prefetch))
    assert torch.cat(taken(stream(rows, outlier(1e6), dtype="bfloat16", prefetch=prefetch))).max() > 9e5
    with pytest.raises(InputError, match="the model itself gives inf or nan"):
        taken(stream(rows, outlier(torch.nan), prefetch=prefetch))


def test_what_is_left_out_may_be_anything():
    rows = np.full((4, 8), 5, dtype=np.uint16)
    rows[:, 0] = 7  # first positions do not take part
    assert torch.cat(taken(stream(rows, outlier(torch.inf)), 1, 4)).isfinite().all()


def test_an_error_of_the_model_in_the_thread_reaches_the_caller():
    passes = []

    def failing(tokens, x):
        passes.append(None)
        if len(passes) > 12:  # two hook points in a pass
            raise RuntimeError("out of memory")
        return x

    source = stream(np.full((600, 32), 5, dtype=np.uint16), TableModel(change=failing), block_rows=200, prefetch=True)
    with pytest.raises(RuntimeError, match="out of memory"):
        taken(source, 1000)


@pytest.mark.parametrize("how", ["closed", "dropped", "never begun"])
def test_no_thread_outlives_the_batches(rows, how):
    batches = stream(rows, prefetch=True).batches(50, data_seed=0)
    if how != "never begun":
        next(batches)
        assert threads()
    if how == "closed":
        batches.close()
    del batches
    gc.collect()
    assert not threads()


def trained(source, n_steps=30):
    sae = SAE.create(SAEConfig(16, 32, "topk", 4), [0], "a", source.normalisation["a"])
    train([sae], source, TrainingConfig(n_steps * 64, 64), progress=False)
    return sae.state_dict().values()


def test_a_training_that_fails_leaves_no_thread_though_its_traceback_is_kept(rows, monkeypatch):
    monkeypatch.setattr(StackTrainer, "step", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError) as kept:
        trained(stream(rows, prefetch=True))
    assert kept.tb is not None and not threads()


def test_two_streams_of_one_model_may_prefetch_at_once(rows):
    one, other = (stream(rows, prefetch=True).batches(100, data_seed=seed) for seed in (3, 4))
    pairs = [(next(one)["a"], next(other)["a"]) for _ in range(30)]
    assert same([a for a, _ in pairs], taken(stream(rows), 30))


def test_prefetches_on_cuda_alone_unless_asked_and_two_buffers_are_counted(rows):
    assert not stream(rows).prefetches("cpu") and stream(rows).prefetches("cuda:0")
    assert stream(rows, prefetch=True).prefetches("cpu") and not stream(rows, prefetch=False).prefetches("cuda")
    sizes = [stream(rows, dtype="bfloat16", prefetch=two).memory("cuda").buffer for two in (False, True)]
    assert sizes == [2 * 20 * 32 * 16 * 2, 2 * 2 * 20 * 32 * 16 * 2]
