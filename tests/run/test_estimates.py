"""Estimates of time, disk and memory: against numbers worked out here, and constants against the code's own."""

import pytest

from sae_utils.memory import dictionary_bytes
from sae_utils.run import estimates, workload
from sae_utils.run.dry_run import hours, totals
from sae_utils.run.estimates import H100, Estimator
from sae_utils.run.model_facts import KNOWN, ModelFacts, model_facts
from sae_utils.run.workload import Activations, Pass, Stack, Work, work
from sae_utils.saes.ensembles import boosting
from sae_utils.saes.training import sparsity

FACTS = ModelFacts(n_layers=4, d_model=100, d_mlp=400, n_vocab=1000, context=64)
READ = Activations((("mlp_out", 1),), 10**10)
STACK = Stack(2, 1000, 10, 10**6, 1000)
# Of all weights, as the models' cards give them.
PUBLISHED = {
    "EleutherAI/pythia-160m": 162_322_944,
    "EleutherAI/pythia-70m-deduped": 70_426_624,
    "gpt2": 124_439_808,
    "HuggingFaceTB/SmolLM-135M": 134_515_008,
    "meta-llama/Llama-3.1-8B": 8_030_261_248,
    "google/gemma-2-2b": 2_614_341_888,
}


def estimate(*works, dtype="float32", context=50):
    estimator = Estimator(FACTS, dtype)
    return [estimator.estimate(one, context) for one in works]


def test_constants_are_those_of_the_code():
    assert workload.HELD_GB == boosting.LARGEST_GB
    assert set(workload.TUNED) == set(sparsity.FIRST_GUESSES)
    assert [share for share, _ in workload.PILOTS] == [stage.share for stage in sparsity.STAGES]


@pytest.mark.parametrize("model", PUBLISHED)
def test_weights_of_known_models(model):
    assert KNOWN[model].n_parameters == pytest.approx(PUBLISHED[model], rel=2e-3)


@pytest.mark.parametrize("model", ["gpt2", "HuggingFaceTB/SmolLM-135M", "google/gemma-2-2b", "EleutherAI/pythia-160m"])
def test_facts_of_a_folder_are_those_of_transformers_configurations(model, tmp_path):
    """The classes' defaults are the first models' own sizes, or are set here."""
    import transformers as t

    config = {
        "gpt2": lambda: t.GPT2Config(),
        "HuggingFaceTB/SmolLM-135M": lambda: t.LlamaConfig(
            hidden_size=576, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3, vocab_size=49152,
            intermediate_size=1536, max_position_embeddings=2048, tie_word_embeddings=True,
        ),
        "google/gemma-2-2b": lambda: t.Gemma2Config(),
        "EleutherAI/pythia-160m": lambda: t.GPTNeoXConfig(
            hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072, vocab_size=50304
        ),
    }[model]()  # fmt: skip
    config.save_pretrained(tmp_path)
    found, known = model_facts(str(tmp_path)), KNOWN[model]
    for name in ("n_layers", "d_model", "n_vocab", "context", "block_parameters", "n_parameters"):
        assert getattr(found, name) == getattr(known, name), name


def test_facts_of_a_bundled_and_of_an_unknown_model():
    assert (model_facts("pycode-2m").n_layers, model_facts("pycode-2m").d_model) == (6, 128)
    assert model_facts("nobody/nothing") is None


def test_time_of_a_pass():
    """2 dictionaries of 1,000 latents, 1,000 steps of 1,000 tokens; the language model up to its second layer."""
    (found,) = estimate(Work(passes=(Pass(READ, (STACK,)),)))
    products = 2 * 1000 * 2000 * 100 / (0.5 * H100.float32)
    moved = 4 * (6 * 1000 * 2000 + 20 * 2 * 2000 * 100 + 4 * 1000 * 2 * 10 * 100) / (0.5 * H100.bandwidth)
    assert found.seconds["training"] == pytest.approx(1000 * (products + moved + estimates.STEP_SECONDS))
    operations = 2 * (2 * (4 * 100**2 + 2 * 100 * 400) + 4 * 50 * 100)
    per_token = operations / (0.5 * H100.float32) + 2 * estimates.LAYER_SECONDS / 32_768
    assert found.seconds["language model"] == pytest.approx(10**6 * per_token)
    assert found.disk["dictionaries"] == dictionary_bytes(2, 100, 1000)


def test_what_was_trained_read_or_kept_before_counts_once():
    small = Activations((("mlp_out", 1),), 10**6)
    one = Work((small,), (Pass(small, (STACK,)),))
    first, again = estimate(one, one)
    assert {name for name, seconds in first.seconds.items() if seconds} == {"text", "language model", "training"}
    assert first.disk["activations"] == 2 * 10**6 * 100
    assert not any(again.seconds.values()) and not again.disk and not again.tokens


def test_a_pass_from_disk_or_memory_runs_no_language_model():
    small = Activations((("mlp_out", 1),), 10**6)
    for one in (Pass(small, (STACK,)), Pass(READ, (STACK,), held=True)):
        (found,) = estimate(Work(passes=(one,)))
        assert not found.seconds["language model"]


def test_frozen_members_cost_time_and_memory():
    first, later = (Work(passes=(Pass(READ, (Stack(2, 1000, 10, 10**6, 1000, frozen=n),)),)) for n in (0, 3))
    a, b = estimate(first, later)
    assert b.seconds["training"] > 3 * a.seconds["training"] and b.memory.dictionaries == 4 * a.memory.dictionaries


def test_totals_say_what_does_not_fit():
    huge = Stack(9, 10**8, 10, 10**6, 1000)
    found = estimate(Work(passes=(Pass(READ, (huge,)),)))
    assert "too much for one H100" in totals(found)[3]
    assert "too much" not in totals(estimate(Work(passes=(Pass(READ, (STACK,)),))))[3]


def test_meta_saes_are_dictionaries_that_need_no_language_model():
    as_pass, as_meta = Work(passes=(Pass(READ, (STACK,), held=True),)), Work(meta=((3, STACK),))
    one, three = estimate(as_pass, as_meta)
    assert three.seconds["meta-SAEs"] == pytest.approx(3 * one.seconds["training"])


@pytest.mark.parametrize(("seconds", "words"), [(30, "0 min"), (3540, "59 min"), (5400, "1.5 h"), (360_000, "100 h")])
def test_hours_in_words(seconds, words):
    assert hours(seconds) == words


def test_every_notebook_has_its_work():
    from sae_utils.paths import NOTEBOOKS
    from sae_utils.run.notebooks import default_parameters
    from sae_utils.run.schemas import NOTEBOOKS as SCHEMAS

    assert set(workload.WORK) == set(SCHEMAS)
    for name in SCHEMAS:
        found = work(name, default_parameters(NOTEBOOKS / f"{name}.ipynb"), 6, 256, 128)
        assert found.passes or found.forward_tokens
