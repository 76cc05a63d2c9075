import numpy as np
import pytest

from sae_utils.data.activation_cache import ActivationCache
from sae_utils.data.activations import ActivationStream
from sae_utils.data.language_model import load_language_model
from sae_utils.data.sources import open_source

HOOK = "blocks.1.hook_mlp_out"


@pytest.fixture(scope="module")
def model():
    return load_language_model("pycode-2m")


def test_what_fits_is_cached_once_under_a_name_of_its_content(model, tmp_path):
    rows = np.random.default_rng(0).integers(1, 4000, (4, 16)).astype(np.uint16)
    first = open_source(model, rows, [HOOK], tmp_path)
    assert isinstance(first, ActivationCache) and isinstance(
        open_source(model, rows, [HOOK], tmp_path), ActivationCache
    )
    assert len(list(tmp_path.iterdir())) == 1
    open_source(model, rows[:3], [HOOK], tmp_path)
    open_source(model, rows, ["blocks.0.hook_mlp_out"], tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


def test_what_does_not_fit_is_streamed_and_gives_the_same_batches(model, tmp_path):
    rows = np.random.default_rng(1).integers(1, 4000, (6, 16)).astype(np.uint16)
    stream = open_source(model, rows, [HOOK], tmp_path / "none", largest_gb=1e-9)
    assert isinstance(stream, ActivationStream) and not (tmp_path / "none").exists()
    cache = open_source(model, rows, [HOOK], tmp_path)
    a, b = (next(source.batches(32, data_seed=3))[HOOK] for source in (stream, cache))
    np.testing.assert_allclose(a, b, atol=2e-3 * float(a.abs().max()))  # float16 keeps 11 bits
