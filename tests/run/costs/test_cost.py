"""Costs of plans: against numbers worked out here; a given throughput is used, a measured one can be given."""

import json
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest

from sae_utils.errors import InputError
from sae_utils.memory import dictionary_bytes
from sae_utils.run.costs.cost import Costs, Throughput, together
from sae_utils.run.costs.dry_run import before, hours, totals
from sae_utils.run.costs.throughput import measure
from sae_utils.run.plans import Plan
from sae_utils.run.plans.model_facts import KNOWN, ModelFacts, model_facts
from sae_utils.saes import SAEConfig
from sae_utils.saes.ensembles.paper_c import boosted_cells
from sae_utils.saes.training import TrainingConfig
from sae_utils.saes.training.grid import STACK_MEMORY, Activations, Cell

FACTS = ModelFacts(n_layers=4, d_model=100, d_mlp=400, n_vocab=1000, context=64)
HOOK = FACTS.hook_point("mlp_out", 1)
LARGE, SMALL = Activations((HOOK,), 10**10), Activations((HOOK,), 10**6)
CELL = Cell("two", SAEConfig(100, 1000, "topk", 10), HOOK, (0, 1), TrainingConfig(10**6, 1000), LARGE)
SPEED = Throughput(
    "CPU, a machine", 8e9, 1e6, 1e-3, {"float32": 1e12}, {"topk": 1e11, "relu": 1e12, "batch_topk": 1e11}
)
# Of all weights, as the models' cards give them.
PUBLISHED = {
    "EleutherAI/pythia-160m": 162_322_944,
    "EleutherAI/pythia-70m-deduped": 70_426_624,
    "gpt2": 124_439_808,
    "HuggingFaceTB/SmolLM-135M": 134_515_008,
    "meta-llama/Llama-3.1-8B": 8_030_261_248,
    "google/gemma-2-2b": 2_614_341_888,
    "google/gemma-3-270m": 268_098_176,
}


def costs(*cells, activations=()):
    found = Costs(FACTS, "float32")
    return [found.of(Plan(activations, (cell,), context=50)) for cell in cells]


@pytest.mark.parametrize("model", PUBLISHED)
def test_weights_of_known_models(model):
    assert KNOWN[model].n_parameters == pytest.approx(PUBLISHED[model], rel=2e-3)


@pytest.mark.parametrize("model", sorted(set(PUBLISHED) - {"EleutherAI/pythia-70m-deduped", "meta-llama/Llama-3.1-8B"}))
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
        "google/gemma-3-270m": lambda: t.Gemma3TextConfig(
            hidden_size=640, num_hidden_layers=18, num_attention_heads=4, num_key_value_heads=1, intermediate_size=2048,
            vocab_size=262_144, max_position_embeddings=32_768,
        ),
        "EleutherAI/pythia-160m": lambda: t.GPTNeoXConfig(
            hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072, vocab_size=50304
        ),
    }[model]()  # fmt: skip
    config.save_pretrained(tmp_path)
    found, known = model_facts(str(tmp_path)), KNOWN[model]
    for name in ("n_layers", "d_model", "n_vocab", "context", "block_parameters", "n_parameters"):
        assert getattr(found, name) == getattr(known, name), name


@pytest.mark.parametrize(
    ("change", "name", "value"),
    [
        ({}, "context", 2048),  # Bloom and Mamba have no longest row
        ({"max_position_embeddings": None, "n_positions": 64}, "context", 64),
        ({"max_position_embeddings": "64"}, "context", 2048),
        ({"num_attention_heads": 0}, "d_attention", 16),
        ({"intermediate_size": [32, 64]}, "d_mlp", 64),
        ({"hidden_size": "16"}, "d_model", 0),
        ({"model_type": "gemma3_text", "hidden_activation": "gelu_pytorch_tanh"}, "tied", True),
    ],
)
def test_what_a_configuration_does_not_say_in_a_number_is_assumed(change, name, value, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 16, "num_hidden_layers": 3, **change}))
    assert getattr(model_facts(str(tmp_path)), name) == value


def test_facts_of_a_bundled_and_of_an_unknown_model():
    assert (model_facts("pycode-2m").n_layers, model_facts("pycode-2m").d_model) == (6, 128)
    assert model_facts("nobody/nothing") is None
    assert model_facts(300 * "a") is None  # no file has so long a name


def test_cost_of_a_cell():
    """2 dictionaries of 1,000 latents, 1,000 steps of 1,000 tokens; the language model up to its second layer."""
    (cost,) = costs(CELL)
    training = 1000 * (2 * 1000 * 2000 * 100 + 20 * 2 * 2000 * 100)
    forward = 10**6 * 2 * (2 * (4 * 100**2 + 2 * 100 * 400) + 4 * 50 * 100)
    assert cost.operations() == {"training": training, "language model": forward}
    assert cost.seconds(SPEED) == pytest.approx({"training": training / 1e11 + 1.0, "language model": forward / 1e12})
    for step, seconds in ((1e-3, training / 1e11), (1.0, 1000.0)):  # on a GPU the longer of computing and launching
        assert cost.seconds(replace(SPEED, device="a GPU", step=step))["training"] == pytest.approx(seconds)
    assert cost.disk["dictionaries"] == dictionary_bytes(2, 100, 1000)
    assert (cost.n_dictionaries, cost.trained_tokens) == (2, 2 * 10**6)


def test_what_was_trained_read_or_kept_before_counts_once():
    cell = replace(CELL, reads=SMALL)
    first, again = costs(cell, replace(cell, name="another name", needs=("something",)), activations=(SMALL,))
    assert first.disk["activations"] == 2 * 10**6 * 100 and first.tokens() == 10**6
    assert set(first.operations()) == {"language model", "training"}
    assert not again.work and not again.disk.total()


def test_a_pass_from_disk_or_memory_runs_no_language_model():
    for reads in (SMALL, replace(LARGE, held=10**6)):
        (cost,) = costs(replace(CELL, reads=reads))
        assert set(cost.operations()) == {"training"}


def test_frozen_members_cost_time_and_memory():
    stages = boosted_cells(replace(CELL, seeds=(0,)), 0, 4, "boosted")
    first, later = (costs(stage)[0] for stage in (stages[0], stages[2]))
    assert later.operations()["training"] > 1.5 * first.operations()["training"]
    assert later.memory.dictionaries == 2 * first.memory.dictionaries
    held = [replace(stage, reads=replace(LARGE, held=10**6)) for stage in stages]
    assert costs(held[0])[0].operations() == costs(held[2])[0].operations()


def test_totals_say_what_does_not_fit():
    huge = replace(CELL, config=SAEConfig(100, 10**7, "topk", 10))
    assert "; more than CPU, a machine has, 8.00 GB" in totals(together(costs(huge)), SPEED)[5]
    assert "more than" not in totals(together(costs(CELL)), SPEED)[5]


def test_the_time_of_whole_notebooks_is_that_of_those_that_ran_before():
    never, hour, two_hours = (SimpleNamespace(expected=seconds) for seconds in (None, 3600, 7200))
    assert before([never]) == []
    assert before([hour, never, two_hours]) == [
        "whole   3.0 h: 2 of 3 notebooks as they ran before, evaluation included"
    ]


def test_what_memory_does_not_hold_is_costed_in_parts():
    """Five seeds in three parts: the language model runs three times, checkpoint and memory are those of two seeds."""
    five = replace(CELL, name="five", seeds=(0, 1, 2, 3, 4))
    memory = CELL.memory("cuda").total / STACK_MEMORY
    whole, cut = (Costs(FACTS, "float32", "cuda", most).of(Plan((), (five,), context=50)) for most in (None, memory))
    (two,) = costs(CELL)
    assert (cut.cut, whole.cut) == ({"five": 3}, {})
    assert cut.operations()["training"] == pytest.approx(whole.operations()["training"])
    assert cut.operations()["language model"] == 3 * whole.operations()["language model"]
    assert (cut.memory, cut.disk["checkpoint"]) == (two.memory, two.disk["checkpoint"])
    assert (cut.n_dictionaries, cut.trained_tokens) == (5, whole.trained_tokens)
    speed = replace(SPEED, memory=memory)
    assert "cut     by seeds, for the memory does not hold it at once: five in 3 parts" in totals(
        together([cut]), speed
    )
    assert not [line for line in totals(together([whole]), speed) if line.startswith("cut")]


def test_checkpoints_of_several_notebooks_come_one_after_the_other():
    both = costs(CELL, replace(CELL, seeds=(5, 6, 7)))
    assert together(both).disk["checkpoint"] == max(cost.disk["checkpoint"] for cost in both)
    assert together(both).disk["dictionaries"] == sum(cost.disk["dictionaries"] for cost in both)


def test_a_measured_throughput_can_be_given(tmp_path):
    gated = replace(CELL, config=SAEConfig(100, 1000, "gated", sparsity=1.0))
    measured = measure([CELL, gated], {"float32": FACTS}, "cpu")
    assert set(measured.training) == {"topk", "gated"} and set(measured.forward) == {"float32"}
    numbers = [measured.memory, measured.tokens, measured.step, *measured.forward.values(), *measured.training.values()]
    assert all(number > 0 for number in numbers)
    (tmp_path / "speed.yaml").write_text(str(measured))
    assert asdict(Throughput.read(tmp_path / "speed.yaml")) == asdict(measured)


HALF = "{device: a, memory: 8.0e+9, tokens: 7, step: 0.001, forward: {float32: 1.0}, training: "


def test_numbers_written_by_hand_are_numbers(tmp_path):
    (tmp_path / "speed.yaml").write_text(HALF + "{topk: 1e11}}")  # which YAML reads as text
    assert Throughput.read(tmp_path / "speed.yaml").training == {"topk": 1e11}


@pytest.mark.parametrize(
    "text", ["[1, 2]", "{device: a}", "{", "{device: a, gpu: 2}", HALF + "{topk: fast}}", HALF + "{topk: 0}}"]
)
def test_a_file_that_is_no_throughput_is_refused_in_one_line(tmp_path, text):
    (tmp_path / "speed.yaml").write_text(text)
    with pytest.raises(InputError, match="must be a YAML or JSON map of device, memory, tokens") as refusal:
        Throughput.read(tmp_path / "speed.yaml")
    assert "\n" not in str(refusal.value)


def test_a_rate_that_is_missing_is_refused():
    with pytest.raises(InputError, match="the throughput has no rate training: topk; there are relu"):
        costs(CELL)[0].seconds(replace(SPEED, training={"relu": 1.0}))


@pytest.mark.parametrize(("seconds", "words"), [(30, "30 s"), (3540, "59 min"), (5400, "1.5 h"), (360_000, "100 h")])
def test_hours_in_words(seconds, words):
    assert hours(seconds) == words
