"""A sparsity coefficient is found for a wanted L0, in the run itself; what cannot be reached is refused."""

import re
from itertools import islice

import pytest
from helpers.synthetic_activations import planted

from sae_utils.data.activations import TensorSource
from sae_utils.errors import InputError
from sae_utils.saes import SAE, SAEConfig, evaluate
from sae_utils.saes.training import TrainingConfig, sparsity, store, train, tune_sparsity
from sae_utils.saes.training.sparsity import Stage

D_IN, N_LATENTS, TARGET = 24, 48, 5.0
TRAINING = TrainingConfig(9600, 64, lr=1e-2)
SHORT = TrainingConfig(1280, 128, lr=3e-3)
LONG = TrainingConfig(64_000, 128)  # with made-up results


@pytest.fixture(scope="module")
def source():
    return TensorSource({"hook": planted(20_000)[0]})


@pytest.fixture(scope="module")
def held_out():
    return TensorSource({"hook": planted(4_000, seed=9)[0]})


def config(architecture="relu", sparsity=1.0, **how):
    return SAEConfig(D_IN, N_LATENTS, architecture, sparsity=sparsity, **how)


def l0_of_run(config, source, held_out, seeds):
    """By the definition: latents above 0 per held-out token, after the whole run."""
    sae = SAE.create(config, seeds, "hook", source.normalisation["hook"])
    train([sae], source, TRAINING, progress=False)
    x = next(held_out.batches(4_000, 0))["hook"]
    return (sae.encode(x).values > 0).double().sum(2).mean(0).tolist()


@pytest.fixture
def search(source, held_out, tmp_path):
    """``tune_sparsity`` of some configurations for a target, after a short run unless said otherwise."""

    def tune(configs, target, training=SHORT, **how):
        return tune_sparsity(configs, target, source, held_out, "hook", training, tmp_path, progress=False, **how)

    return tune


def test_the_run_reaches_the_target_with_other_seeds_too(source, held_out, search):
    """From first guesses that are far off, on either side."""
    jump = {"bandwidth": 1.0, "first_threshold": 0.5}
    configs = [config("relu", 0.05), config("gated", 20.0), config("jump_relu", 1.0, **jump)]
    tuned = search(configs, TARGET, TRAINING)
    for before, found in zip(configs, tuned, strict=True):
        assert SAEConfig(**{**vars(found.config), "sparsity": before.sparsity}) == before
        for l0 in l0_of_run(found.config, source, held_out, (0, 1)):
            assert abs(l0 - TARGET) <= sparsity.TOLERANCE * TARGET, (found.config, l0)
        longest = [p.l0 for p in found.pilots if p.n_tokens == TRAINING.n_tokens]
        assert found.l0 in longest and abs(found.l0 - TARGET) <= 0.12 * TARGET


def test_the_reported_l0_is_that_of_the_pilot_s_dictionary(source, held_out, search):
    (found,) = search([config()], 23, n_eval_tokens=512)
    last = found.pilots[-1]
    sae = SAE.create(config(sparsity=last.sparsity), [0], "hook", source.normalisation["hook"])
    train([sae], source, SHORT, progress=False)
    l0 = evaluate(sae, (batch["hook"] for batch in islice(held_out.batches(128, 0), 4))).l0.item()
    assert last.n_tokens == SHORT.n_tokens and last.l0 == pytest.approx(l0, rel=1e-6)


def test_a_search_alone_finds_what_it_finds_beside_others_and_pilots_are_read_again(search, tmp_path, monkeypatch):
    configs = [config(), SAEConfig(D_IN, 44, "relu", sparsity=0.2)]
    alone = [search([one], 21)[0] for one in configs]
    kept = {path.name for path in tmp_path.iterdir()}
    assert len(kept) == sum(len(one.pilots) for one in alone)
    monkeypatch.setattr(store, "train", None)
    assert search(configs, 21) == alone
    assert {path.name for path in tmp_path.iterdir()} == kept


def made_up(monkeypatch, law):
    """Puts a known L0 in the place of training: ``law(tokens, config)``; returns the passes that were asked for."""
    passes = []

    def remember(stacks, source, config, folder, progress):
        passes.append((config.n_tokens, len(stacks)))
        for sae in stacks:
            sae.tokens_seen = config.n_tokens
        return stacks

    monkeypatch.setattr(sparsity, "train_or_load", remember)
    monkeypatch.setattr(sparsity, "_held_out_l0", lambda sae, *_: law(sae.tokens_seen, sae.config))
    return passes


def test_the_fall_of_l0_with_training_is_followed(search, monkeypatch):
    """L0 = 40 c^-1.3 (tokens / 64,000)^-0.4: the coefficient for 5 is 8^(1/1.3) for the whole run, known exactly."""
    passes = made_up(monkeypatch, lambda n, c: 40 * c.sparsity**-1.3 * (n / 64_000) ** -0.4)
    configs = [config(sparsity=0.5), config("gated", 30.0)]
    for found in search(configs, TARGET, LONG):
        assert found.config.sparsity == pytest.approx(8 ** (1 / 1.3), rel=1e-6)
        assert found.l0 == pytest.approx(TARGET, rel=1e-6)  # the last guess was right before it was tried
    assert passes[0] == (8_000, 4)  # all candidates in one pass
    assert passes[-1] == (64_000, 2)


def test_a_curve_that_is_no_power_law_is_bracketed(search, monkeypatch):
    """L0 = 48 / (1 + c^2), one length, a guess 1,000 times too small: the answer is c = sqrt(8.6)."""
    made_up(monkeypatch, lambda n, c: 48 / (1 + c.sparsity**2))
    monkeypatch.setattr(sparsity, "STAGES", [Stage(1.0, (1.0,), 1.12)])
    (found,) = search([config(sparsity=0.0033)], TARGET)
    assert abs(48 / (1 + found.config.sparsity**2) - TARGET) <= sparsity.TOLERANCE * TARGET


@pytest.mark.parametrize("level", [1.0, 30.0])
def test_a_target_that_no_coefficient_reaches_is_refused(search, monkeypatch, level):
    made_up(monkeypatch, lambda n, c: level)
    said = "target_l0=5 is out of reach of 'relu' with 48 latents after 1280 tokens: the nearest is L0 "
    with pytest.raises(InputError, match=f"^{said}{level:.2f}"):
        search([config()], TARGET)


BAD = {
    "architecture='topk' has no coefficient to tune: set k=4 instead": (SAEConfig(24, 48, "topk", 4), 4),
    "target_l0=0 must be above 0 and below n_latents=48": (config(), 0),
    "target_l0=48 must be above 0 and below n_latents=48": (config(), 48),
    "target_l0=nan must be": (config(), float("nan")),
    "sparsity=0 is the first guess and must be from 0.001 to 1000": (config(sparsity=0), 4),
}


@pytest.mark.parametrize("start", BAD)
def test_impossible_wishes_are_refused_before_training(search, monkeypatch, start):
    monkeypatch.setattr(sparsity, "train_or_load", None)
    wrong, target = BAD[start]
    with pytest.raises(InputError, match=re.escape(start)):
        search([config(), wrong], target)
