"""Plans are made without a model, for every preset; what waits for results comes after what it waits for."""

from types import SimpleNamespace

import pytest

from sae_utils.errors import InputError
from sae_utils.paths import NOTEBOOKS, PRESETS
from sae_utils.run.parameters.presets import load_preset, values_of
from sae_utils.run.plans import open_plan, plan_of
from sae_utils.run.plans.model_facts import KNOWN, ModelFacts, model_facts
from sae_utils.run.plans.plan import search_name
from sae_utils.saes.training.grid import passes

NAMES = [path.stem for path in sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))]
PLANNED = {
    (preset, notebook): SimpleNamespace(**own)
    for preset in sorted(path.stem for path in PRESETS.glob("*.yaml"))
    for notebook, own in load_preset(preset).overrides.items()
}


def default_plan(number, **changes):
    name = next(name for name in NAMES if name.startswith(number))
    p = SimpleNamespace(**(values_of("tiny", name) | changes))
    return p, plan_of(name, p, model_facts(p.model))


@pytest.mark.parametrize(("preset", "notebook"), PLANNED, ids=" ".join)
def test_needs_are_of_the_plan_and_acyclic(preset, notebook):
    p = PLANNED[preset, notebook]
    plan = plan_of(notebook, p, model_facts(p.model))
    names = [cell.name for cell in plan.cells]
    assert len(set(names)) == len(names)
    done = {pilot.name for pilot in plan.pilots}
    waiting = list(plan.cells)
    while waiting:
        ready = [cell for cell in waiting if set(cell.comes_after) <= done]
        assert ready, f"{[cell.name for cell in waiting]} wait for each other, or for nothing there is"
        done |= {cell.name for cell in ready}
        waiting = [cell for cell in waiting if cell.name not in done]
    for cell in plan.cells:
        assert cell.hook_point in cell.reads.hook_points
        if cell.reads.split != "world":  # of notebook 10: no text is read for those
            assert cell.reads in plan.activations
            assert cell.config.d_in == model_facts(p.model).d_model
        assert bool(cell.needs) == bool(cell.open)


def test_published_saes_leave_nothing_to_train():
    for number in ("01", "03", "04"):
        _, plan = default_plan(number, saes=["somewhere"])
        assert not plan.cells and [one.split for one in plan.activations] == ["held_out"]


def test_a_layer_that_the_model_does_not_have_is_refused():
    with pytest.raises(InputError, match="layer=6 is not in the model"):
        default_plan("01", layer=6)


def test_notebooks_that_share_dictionaries_plan_the_same_runs():
    first, eighth, ninth = (default_plan(number)[1]["seeds"].identity for number in ("01", "08", "09"))
    assert first == eighth == ninth
    assert default_plan("06")[1]["boosting 0.1"].identity == default_plan("07")[1]["boosting 0.1"].identity


@pytest.mark.parametrize("preset", ["tiny", "laptop", "replication-1", "replication-2"])
def test_meta_saes_are_of_the_dictionaries_of_stitching(preset):
    p = PLANNED[preset, "04_meta_saes"]
    third, fourth = (
        plan_of(name, PLANNED[preset, name], model_facts(p.model)) for name in ("03_stitching", "04_meta_saes")
    )
    assert third.search == fourth.search
    assert all(third[f"relu {n}"].identity == fourth[f"relu {n}"].identity for n in p.widths)


def test_sweeps_take_two_passes_beside_the_pilots():
    p, plan = default_plan("02")
    assert len(passes([cell for cell in plan.cells if not cell.reads.part])) == 2
    identities = {cell.identity for cell in passes(plan.cells)[0]}
    centre = plan["centre"].identity
    assert identities >= {centre, plan[f"k {p.ks[0]}"].identity}
    assert plan[f"width {p.n_latents}"].identity == centre == plan[f"layer {p.layer}"].identity
    assert plan["centre"].at(p.token_counts[0]) != plan["centre"].at(p.n_tokens) == "centre"


def test_what_a_seed_is_made_of_is_trained_on_six_texts_in_three_orders():
    p, plan = default_plan("02", n_source_tokens=60_000)
    cells = [cell for cell in plan.cells if cell.reads.part]
    assert len(cells) == 12 and sum(len(cell.seeds) for cell in cells) == 15
    assert {cell.training.data_seed for cell in cells} == {0, 1, 2}
    assert {cell.reads.part for cell in cells} == {(third, 3, half, 2) for third in range(3) for half in range(2)}
    assert {cell.training.n_tokens for cell in cells} == {15_000}
    assert {cell.config for cell in cells} == {plan["centre"].config}
    assert all(cell.reads.whole == plan.source for cell in cells)


def test_stacks_of_the_presets_for_a_cpu_are_whole_on_this_machine():
    on_cpu = {key: p for key, p in PLANNED.items() if p.device == "cpu"}
    assert {"laptop", "smollm2"} <= {preset for preset, _ in on_cpu}
    for (_, notebook), p in on_cpu.items():
        assert all(cell.parts("cpu", 23e9) == [cell] for cell in plan_of(notebook, p, model_facts(p.model)).cells)


def test_a_search_of_some_is_of_those_that_cells_need():
    _, plan = default_plan("03")
    needs = plan["relu 64"].needs
    (config,) = plan.search.only(needs).configs
    assert {search_name(config)} == set(needs) < plan.search.names
    assert plan.search.only(plan.search.names) == plan.search and plan.search.only(()).pilots() == []


def test_results_settle_what_is_open():
    _, plan = default_plan("05")
    tuned = plan.settled({plan["relu single"].needs[0]: {"sparsity": 2.5}})
    assert {tuned[name].config.sparsity for name in ("relu single", "relu expanded", "relu boosting 2.1")} == {2.5}
    assert not tuned["relu boosting 2.1"].open and tuned["jump_relu single"].open


@pytest.mark.parametrize(("one_rate", "expected"), [(True, 0.0256), (False, None)])
def test_what_is_compared_has_the_learning_rate_of_a_member_or_its_own(one_rate, expected):
    """At 64 latents 16 times that of 16,384; without one rate it is told by the width when training begins."""
    _, plan = default_plan("05", one_rate=one_rate)
    cells = [plan[name] for name in ("single", "expanded", "expanded, total L0", "single, total L0", "boosting 0.1")]
    assert {cell.training.lr for cell in cells} == {expected}
    assert len({cell.config for cell in cells}) == 4


def test_rows_of_a_model_that_reads_very_long_ones_are_short_unless_asked_for():
    """One row of 131,072 tokens wants a mask of 17 GB."""
    facts = KNOWN["meta-llama/Llama-3.1-8B"]
    assert facts.context == 131_072
    for number, asked, expected in (("01", 0, 2048), ("01", 4096, 4096), ("00", 0, 2048)):
        p, _ = default_plan(number, context=asked)
        name = next(name for name in NAMES if name.startswith(number))
        plan = plan_of(name, p, facts)
        assert plan.context == expected
    assert plan.text == (("held_out", p.n_eval_rows * 2048), ("train", p.n_ngram_tokens))


def test_too_little_held_out_text_is_said_before_the_training_text_is_read(monkeypatch):
    def too_little(corpus, tokenizer, split, *_):
        raise InputError(split)

    monkeypatch.setattr("sae_utils.run.plans.plan.token_rows", too_little)
    p, plan = default_plan("01")
    assert p.n_eval_tokens < p.n_tokens
    with pytest.raises(InputError, match="held_out"):
        open_plan(plan, SimpleNamespace(tokenizer=None), p.corpus, None)


def test_facts_say_where_a_hook_point_is_as_a_loaded_model_does():
    from sae_utils.data.models.language_model import load_language_model

    model, facts = load_language_model("pycode-2m"), model_facts("pycode-2m")
    assert isinstance(facts, ModelFacts)
    for name in ("n_layers", "d_model", "context"):
        assert getattr(model, name) == getattr(facts, name)
    assert model.hook_point("resid_pre", 2) == facts.hook_point("resid_pre", 2)
