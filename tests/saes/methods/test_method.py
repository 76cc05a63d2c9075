"""Whatever the method: a stack is its dictionaries alone, goes on after a kill, is stored, and named by its code."""

import re
from dataclasses import fields, replace
from itertools import islice

import pytest
import torch
from helpers.synthetic_activations import planted

from sae_utils.data.activations import TensorSource
from sae_utils.errors import InputError
from sae_utils.saes import SAE, SAEConfig
from sae_utils.saes.methods import METHODS, Aligned, Archetypal, Matryoshka, Ordered, OrtSAE, WeightDecay
from sae_utils.saes.methods.archetypal import begin
from sae_utils.saes.training import TrainingConfig, load_sae, save_sae, train
from sae_utils.saes.training import store as trained
from sae_utils.saes.training.store import stack_key

SIZE = 24, 64
EXAMPLES = {
    "aligned": Aligned(*SIZE, "topk", 3),
    "archetypal": Archetypal(*SIZE, "topk", 3, n_points=80, unit_norm_decoder=False),
    "matryoshka": Matryoshka(*SIZE, "batch_topk", 3, widths=(4, 16, 64), auxk=8),
    "ordered": Ordered(*SIZE, "topk", 3, exponent=0.5, auxk=8),
    "ortsae": OrtSAE(*SIZE, "batch_topk", 3, chunk=16, every=2),
    "weight_decay": WeightDecay(*SIZE, "topk", 3, decay=0.1, unit_norm_decoder=False),
}
TRAINING = TrainingConfig(10 * 64, 64, dead_after=256, checkpoint_every=4, log_every=2, lr=1e-2)


@pytest.fixture(scope="module")
def source():
    return TensorSource({"h": planted(4096)[0]})


def new(config, source, seeds=(0, 1)):
    sae = SAE.create(config, seeds, "h", source.normalisation["h"])
    if isinstance(config, Archetypal):
        begin(sae, planted(200)[0])
    return sae


def without(config):
    """The configuration less its method."""
    return SAEConfig(**{field.name: getattr(config, field.name) for field in fields(SAEConfig)})


def assert_same(a, b, largest=0.0):
    for name, t in a.state_dict().items():
        assert (t - b.state_dict()[name]).abs().max() <= largest, name


def test_each_method_has_an_example():
    assert {name: type(config) for name, config in EXAMPLES.items()} == METHODS


@pytest.mark.parametrize("config", EXAMPLES.values(), ids=EXAMPLES)
def test_two_together_are_two_alone_and_not_as_without_it(config, source):
    together, plain = new(config, source), new(without(config), source)
    before = together.W_dec.detach().clone()
    log, _ = train([together, plain], source, TRAINING, progress=False)
    assert (together.W_dec - plain.W_dec).abs().max() > 1e-3
    assert (log.fvu[-1] < log.fvu[0]).all() and (together.W_dec - before).abs().max() > 1e-2
    for i in range(2):
        alone = new(config, source, (i,))
        train([alone], source, TRAINING, progress=False)
        assert_same(together.dictionary(i), alone, 1e-5)


class Killed(Exception):
    pass


@pytest.mark.parametrize("config", EXAMPLES.values(), ids=EXAMPLES)
def test_a_killed_run_ends_as_a_whole_one_and_is_read_as_it_was_written(config, source, tmp_path, monkeypatch):
    whole, resumed = new(config, source), new(config, source)
    train([whole], source, TRAINING, progress=False)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        batches = source.batches

        def killed(*args, **how):
            yield from islice(batches(*args, **how), 7)
            raise Killed

        patch.setattr(source, "batches", killed)
        train([new(config, source)], source, TRAINING, tmp_path / "checkpoint.safetensors", progress=False)
    train([resumed], source, TRAINING, tmp_path / "checkpoint.safetensors", progress=False)
    assert_same(resumed, whole)
    save_sae(resumed, tmp_path / "sae.safetensors")
    read = load_sae(tmp_path / "sae.safetensors")
    assert read.config == config and type(read.config) is type(config)
    assert_same(read, whole)
    x = planted(50, seed=3)[0]
    torch.testing.assert_close(read.fold_normalisation()(x), whole(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("config", EXAMPLES.values(), ids=EXAMPLES)
def test_its_own_code_and_settings_name_what_is_trained(config, source, tmp_path, monkeypatch):
    plain = without(config)
    keys = [stack_key(new(c, source), source, TRAINING) for c in (config, plain, replace(config, k=2))]
    assert len(set(keys)) == 3
    (tmp_path / "other.py").write_text("")
    monkeypatch.setattr(trained.inspect, "getfile", lambda cls: tmp_path / "other.py")
    assert stack_key(new(config, source), source, TRAINING) != keys[0]
    assert stack_key(new(plain, source), source, TRAINING) == keys[1]


def test_sources_that_train_the_same_name_it_the_same(monkeypatch):
    trained.code_digest.cache_clear()
    monkeypatch.setattr(trained, "SAME", {})
    now = trained.code_digest()
    trained.code_digest.cache_clear()
    monkeypatch.setattr(trained, "SAME", {now: "before", "other": "another"})
    assert trained.code_digest() == "before"
    trained.code_digest.cache_clear()


def test_a_checkpoint_of_an_unknown_method_is_refused(source, tmp_path, monkeypatch):
    save_sae(new(EXAMPLES["matryoshka"], source), tmp_path / "sae.safetensors")
    monkeypatch.delitem(METHODS, "matryoshka")
    with pytest.raises(InputError, match="holds no SAE: 'matryoshka'"):
        load_sae(tmp_path / "sae.safetensors")


REFUSED = [
    (Archetypal, {"n_points": None}, "n_points=None must be a whole number of at least 64"),
    (Archetypal, {"n_points": 63}, "n_points=63 must be a whole number of at least 64"),
    (Archetypal, {"delta": -1}, "delta=-1 must be a number from 0"),
    (Archetypal, {"mixture_rate": 0}, "mixture_rate=0 must be a number from"),
    (Archetypal, {"multiplier": 1}, "multiplier=1 must be True or False"),
    (Archetypal, {"unit_norm_decoder": True}, "unit_norm_decoder=True has no archetypal"),
    (Archetypal, {"architecture": "relu", "k": None, "sparsity": 0.1}, "architecture='relu' has no archetypal"),
    (Matryoshka, {"widths": ()}, "widths=[] must ascend, and end with n_latents=64"),
    (Matryoshka, {"widths": (2, 5)}, "widths=[2, 5] must ascend, and end with n_latents=64"),
    (Matryoshka, {"widths": (5, 2, 64)}, "widths=[5, 2, 64] must ascend, and end with n_latents=64"),
    (Matryoshka, {"widths": (2, 2, 64)}, "widths=[2, 2, 64] must ascend, and end with n_latents=64"),
    (Matryoshka, {"widths": (0, 64)}, "widths[0]=0 must be"),
    (Matryoshka, {"widths": (0.5, 64)}, "widths[0]=0.5 must be"),
    (Matryoshka, {"widths": 64}, "widths=64 must be whole numbers, the last n_latents=64"),
    (Matryoshka, {"method": "decay"}, "method='decay' must be 'matryoshka'"),
    (Ordered, {"exponent": -1}, "exponent=-1 must be a number from 0 to 100"),
    (Ordered, {"architecture": "batch_topk"}, "architecture='batch_topk' has no ordered; allowed: topk"),
    (OrtSAE, {"gamma": -0.1}, "gamma=-0.1 must be a number from 0"),
    (OrtSAE, {"chunk": 1}, "chunk=1 must be a whole number of at least 2"),
    (OrtSAE, {"every": 0}, "every=0 must be a whole number of at least 1"),
    (OrtSAE, {"n_latents": 3, "chunk": 2}, "chunk=2 leaves one of n_latents=3 alone in a chunk"),
    (OrtSAE, {"n_latents": 1, "k": 1, "chunk": 8}, "chunk=8 leaves one of n_latents=1 alone in a chunk"),
    (WeightDecay, {"decay": float("nan")}, "decay=nan must be a number from 0 to 1e"),
    (WeightDecay, {"decay": "much"}, "decay='much' must be a number from 0 to 1e"),
]


@pytest.mark.parametrize(("method", "how", "said"), REFUSED)
def test_impossible_values_are_refused(method, how, said):
    with pytest.raises(InputError, match=f"^{re.escape(said)}"):
        replace(EXAMPLES[method.method], **how)
