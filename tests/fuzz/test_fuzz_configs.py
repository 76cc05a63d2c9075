"""Any settings of a dictionary and its training either train to finite numbers within their ranges or are refused."""

import torch
from helpers.fuzzing import NUMBERS, ODD, examples, finite, or_refused
from helpers.random_saes import raw_activations
from hypothesis import given
from hypothesis import strategies as st

from sae_utils.data.activations import TensorSource
from sae_utils.saes import ARCHITECTURES, SAE, SAEConfig, evaluate
from sae_utils.saes.training import TrainingConfig, train

N, STEPS = 64, 3


def changed(strategies, values, most=2):
    """A dict of up to so many of ``strategies``, each with its own values or with odd ones."""
    names = st.lists(st.sampled_from(sorted(strategies)), max_size=most, unique=True)
    return names.flatmap(lambda chosen: st.fixed_dictionaries({name: strategies[name] | values for name in chosen}))


SIZES = st.integers(1, 24)
LIKELY = {
    "d_in": st.integers(4, 8),
    "n_latents": SIZES,
    "architecture": st.sampled_from(ARCHITECTURES),
    "k": SIZES | st.none(),
    "sparsity": st.floats(0, 10) | st.none(),
    "bandwidth": st.floats(1e-3, 1),
    "first_threshold": st.floats(1e-3, 1),
    "unit_norm_decoder": st.booleans(),
    "auxk": SIZES | st.none(),
    "auxk_coefficient": st.floats(0, 1),
    "encoder_bias": st.booleans(),
}
TRAINING = {
    "batch_size": st.integers(1, 30),
    "data_seed": st.integers(0, 100),
    "base_lr": st.floats(1e-6, 1e-2),
    "lr": st.floats(1e-6, 1e-2) | st.none(),
    "warmup": st.floats(0, 1),
    "decay": st.floats(0, 1),
    "betas": st.tuples(st.floats(0, 0.999), st.floats(0, 0.999)),
    "clip": st.floats(1e-3, 10),
    "dead_after": st.integers(1, 100),
    "bfloat16": st.booleans(),
    "log_every": st.integers(1, 5),
    "checkpoint_every": st.integers(1, 5),
}


@st.composite
def configs(draw):
    architecture = draw(st.sampled_from(ARCHITECTURES))
    n_latents = draw(SIZES)
    how = {"k": draw(st.integers(1, n_latents))} if "topk" in architecture else {"sparsity": draw(st.floats(0, 10))}
    good = {"d_in": 6, "n_latents": n_latents, "architecture": architecture, **how}
    return good | draw(changed(LIKELY, ODD))


@st.composite
def trainings(draw):
    good = {"n_tokens": STEPS * 20, "batch_size": 20, "dead_after": 30, "log_every": 1, "base_lr": 1e-3}
    return good | draw(changed(TRAINING, ODD))


def trained(settings, training, seeds=(0,), x=None, checkpoint=None):
    """The stack and its log after a short training."""
    config = SAEConfig(**settings)
    schedule = TrainingConfig(**training)
    d_in = config.d_in if config.d_in < 100 else 6
    source = TensorSource({"hook": raw_activations(N, d_in) if x is None else x})
    sae = SAE.create(config, list(seeds), "hook", source.normalisation["hook"])
    return sae, train([sae], source, schedule, checkpoint=checkpoint, progress=False)[0]


def check(sae, log, x):
    """All numbers of training and evaluation are finite and within their ranges."""
    n = sae.config.n_latents
    for curve in (log.loss, log.fvu, log.l0, log.dead_fraction):
        assert torch.isfinite(curve).all()
    assert all(torch.isfinite(p).all() for p in sae.parameters())
    assert (log.fvu >= 0).all() and (log.l0 >= 0).all() and (log.l0 <= n).all()
    assert (log.dead_fraction >= 0).all() and (log.dead_fraction <= 1).all()
    found = evaluate(sae, [x])
    assert found.n_tokens == len(x)
    assert torch.isfinite(found.fvu).all() and (found.fvu >= 0).all() and torch.isfinite(found.mse).all()
    assert (found.l0 >= 0).all() and (found.l0 <= n).all()
    assert (found.firing_frequency >= 0).all() and (found.firing_frequency <= 1).all()
    assert torch.allclose(found.firing_frequency.sum(-1), found.l0)


@examples(100)
@given(configs(), trainings())
def test_settings_train_to_finite_numbers_or_are_refused(settings, training):
    if isinstance(training["batch_size"], int) and not isinstance(training["batch_size"], bool):
        training = {"n_tokens": max(1, STEPS * min(training["batch_size"], 50))} | training
    found = or_refused(trained, settings, training)
    if found:
        sae, log = found
        check(sae, log, raw_activations(N, sae.config.d_in))


@examples(40)
@given(st.lists(NUMBERS | st.sampled_from(["1", None, True]), max_size=3), st.sampled_from(ARCHITECTURES))
def test_seeds_make_what_they_say_or_are_refused(seeds, architecture):
    config = SAEConfig(6, 8, architecture, **({"k": 2} if "topk" in architecture else {"sparsity": 1.0}))
    sae = or_refused(SAE.create, config, seeds)
    if sae:
        assert list(sae.seeds) == seeds  # not 1.5 as 1, nor True as 1
        assert all(type(seed) is int for seed in sae.seeds)
        for i, seed in enumerate(seeds):
            assert torch.equal(sae.dictionary(i).W_dec, SAE.create(config, [seed]).W_dec)


@st.composite
def activations(draw):
    """Rows that a broken run may give: constant, zero, huge, one odd value, or one row."""
    n, d_in = draw(st.integers(1, 40)), 6
    x = raw_activations(n, d_in, seed=draw(st.integers(0, 5))) * draw(st.sampled_from([0, 1e-30, 1e-10, 1, 1e10, 1e25]))
    for _ in range(draw(st.integers(0, 2))):
        odd = draw(st.sampled_from([float("nan"), float("inf"), 3e38, 0.0, 500.0]))
        x[draw(st.integers(0, n - 1)), draw(st.integers(0, d_in - 1))] = odd
    return x


@examples(60)
@given(activations(), st.sampled_from(ARCHITECTURES), st.booleans(), st.integers(1, 20))
def test_activations_of_any_kind_train_or_are_refused(x, architecture, revival, batch_size):
    settings = {"d_in": 6, "n_latents": 8, "architecture": architecture, "auxk": 3 if revival else None}
    settings |= {"k": 2} if "topk" in architecture else {"sparsity": 1.0}
    training = {"n_tokens": STEPS * batch_size, "batch_size": batch_size, "dead_after": 10, "log_every": 1}
    found = or_refused(trained, settings, training, x=x)
    if found:
        sae, log = found
        assert finite(*log.loss.flatten().tolist(), *log.fvu.flatten().tolist())
        metrics = or_refused(evaluate, sae, [x])
        assert metrics is None or finite(*metrics.fvu.tolist(), *metrics.mse.tolist())
