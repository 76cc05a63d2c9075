"""Shards of a preset: together they train what the notebooks train, to the last digit, each stack once."""

import json
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from helpers import preset_stand_ins as stand_ins
from helpers.places import importing
from helpers.stored import stored
from helpers.throw_away_notebooks import make

from sae_utils.data.models.language_model import load_language_model
from sae_utils.paths import NOTEBOOKS
from sae_utils.run import train
from sae_utils.run.costs.cost import training_operations
from sae_utils.run.plans import Search, open_plan, plan_of
from sae_utils.run.train import left_over, main, operations_of, pieces_of, planned_of, shares_of
from sae_utils.saes.training import grid, store
from sae_utils.saes.training.grid import STACK_MEMORY, train_cells

NAMES = ("01_seed_divergence", "02_what_moves_overlap", "05_bagging_and_boosting")


@pytest.fixture(scope="module")
def notebooks(tmp_path_factory) -> Path:
    """A folder of three notebooks and the preset ``quick`` on a small model."""
    folder = tmp_path_factory.mktemp("shards")
    preset = stand_ins.small_preset(folder, NAMES)
    for name in NAMES:
        made = make(folder, preset=yaml.safe_dump(preset), name=name)
    return made


def serially(notebooks: Path, folder: Path) -> None:
    """Trains as the notebooks do."""
    for name, (p, plan) in planned_of("quick", notebooks).items():
        model = load_language_model(p.model, p.device, p.dtype)
        plan = plan_of(name, p, model)
        _, sources = open_plan(plan, model, p.corpus, folder)
        trained = train_cells(plan.ready, sources, folder, p.device, progress=False)
        if plan.search:
            plan = plan.tuned(plan.search.run(sources, folder, p.device))
            train_cells(plan.ready, sources, folder, p.device, trained, progress=False)


def test_shards_together_give_what_the_notebooks_train_and_train_nothing_twice(
    notebooks, tmp_path, monkeypatch, capsys
):
    serially(notebooks, tmp_path / "serial")
    expected = stored(tmp_path / "serial")
    keys, train_stacks = Counter(), store.train

    def counting(stacks, source, config, *rest):
        keys.update(store.stack_key(sae, source, config) for sae in stacks)
        return train_stacks(stacks, source, config, *rest)

    monkeypatch.setattr(store, "train", counting)
    cache = tmp_path / "results" / "cache"
    for shard in ("2/3", "3/3", "1/3"):
        assert main(["--preset", "quick", "--shard", shard], notebooks, tmp_path / "results") == 0
    assert stored(cache) == expected
    assert set(keys.values()) == {1} and len(keys) == len({name.split("-")[1].split(".")[0] for name in expected})
    assert len(list(cache.glob("activations-*"))) == len(list((tmp_path / "serial").glob("activations-*")))
    assert not [path for path in cache.iterdir() if path.name.startswith((".dictionaries", "training"))]
    assert "FAILED" not in capsys.readouterr().out


# A process that stops after its first checkpoint, and one that tells which steps it took.
SHARD = """
import sys, time
from pathlib import Path
from sae_utils.run.train import main
from sae_utils.saes.training import training

if sys.argv[3] == "stops":
    write = training.write_tensors
    def stopping(*arguments):
        write(*arguments)
        print("stopped", flush=True)
        time.sleep(600)
    training.write_tensors = stopping
step = training.StackTrainer.step
steps = []
def counting(self, n, x):
    steps.append(n)
    step(self, n, x)
training.StackTrainer.step = counting
code = main(["--preset", "long"], Path(sys.argv[1]), Path(sys.argv[2]))
print(steps[:1] + [len(steps)])
sys.exit(code)
"""


def test_a_killed_shard_is_taken_over_from_its_checkpoint(notebooks, tmp_path):
    preset = yaml.safe_load((notebooks / "presets" / "quick.yaml").read_text())
    values = preset["01_seed_divergence"] | {"n_tokens": 8000, "batch_size": 5, "n_seeds": 5}
    long = {"notebooks": ["01"], "01_seed_divergence": values}
    (notebooks / "presets" / "long.yaml").write_text(yaml.safe_dump(long))
    command = [sys.executable, "-c", SHARD, str(notebooks)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": importing()}
    assert main(["--preset", "long"], notebooks, tmp_path / "whole") == 0
    with subprocess.Popen([*command, str(tmp_path / "killed"), "stops"], **pipes) as first:
        assert "stopped\n" in iter(first.stdout.readline, "")
        with subprocess.Popen([*command, str(tmp_path / "killed"), "goes on"], **pipes) as second:
            assert any("waiting for it" in line for line in second.stderr)
            first.send_signal(signal.SIGKILL)
            out, err = second.communicate(timeout=120)
    assert second.returncode == 0, err
    assert out.splitlines()[-1] == "[1000, 600]"
    assert stored(tmp_path / "killed" / "cache") == stored(tmp_path / "whole" / "cache")
    assert len(stored(tmp_path / "whole" / "cache")) == 1


def test_shares_are_all_the_pieces_packed_by_cost(notebooks):
    pieces = pieces_of(planned_of("quick", notebooks))
    shares = shares_of(pieces, 4)
    assert sorted(map(repr, pieces)) == sorted(repr(piece) for share in shares for piece in share)
    loads = [operations_of(share) for share in shares]
    assert max(loads) - min(loads) <= max(operations_of([piece]) for piece in pieces)
    assert shares == shares_of(pieces, 4)


def test_a_piece_is_a_stack_or_the_later_members_of_an_ensemble_and_none_is_there_twice(notebooks):
    planned = planned_of("quick", notebooks)
    pieces = pieces_of(planned)
    p, plan = planned["05_bagging_and_boosting"]
    stages = [[cell.name for cell in piece.cells] for piece in pieces if piece.cells[0].frozen]
    kinds = ("", "relu ", "jump_relu ")
    expected = [
        [f"{kind}boosting {r}.{j}" for j in range(1, p.n_members)] for kind in kinds for r in range(p.n_ensembles)
    ]
    assert sorted(stages) == sorted(expected)
    assert all(len(piece.cells) == 1 for piece in pieces if not piece.cells[0].frozen)
    settled = [cell for _, plan in planned.values() for cell in plan.searched.ready]
    kept = [cell for piece in pieces for cell in piece.cells]
    assert {cell.identity for cell in kept} == {cell.identity for cell in settled}
    assert len(kept) < len(settled)  # the centre of notebook 02 is a width and a k, too
    (centre,) = (cell for cell in kept if cell.identity == planned[NAMES[1]][1]["centre"].identity)
    assert centre.snapshots == (512, 1024, 2048)


def test_shards_train_the_parts_of_a_stack_that_memory_does_not_hold_and_its_notebook_joins_them(
    notebooks, tmp_path, monkeypatch
):
    preset = yaml.safe_load((notebooks / "presets" / "quick.yaml").read_text())
    one = {"notebooks": ["01"], NAMES[0]: preset[NAMES[0]] | {"n_tokens": 1024}}
    (notebooks / "presets" / "one.yaml").write_text(yaml.safe_dump(one))
    ((p, plan),) = planned_of("one", notebooks).values()
    memory = replace(plan["seeds"], seeds=(0, 1)).memory("cpu").total / STACK_MEMORY
    for module in (train, grid):
        monkeypatch.setattr(module, "total_memory", lambda device: memory)
    by_shard, train_stacks = [], store.train

    def watched(stacks, *rest):
        by_shard[-1] += [sae.seeds for sae in stacks]
        return train_stacks(stacks, *rest)

    monkeypatch.setattr(store, "train", watched)
    for shard in ("2/2", "1/2"):
        by_shard.append([])
        assert main(["--preset", "one", "--shard", shard], notebooks, tmp_path / "shards") == 0
    assert by_shard == [[(2, 3)], [(0, 1), (4,)]]
    by_shard.append([])
    assert main(["--preset", "one"], notebooks, tmp_path / "alone") == 0
    cache = tmp_path / "shards" / "cache"
    assert stored(cache) == stored(tmp_path / "alone" / "cache") and len(stored(cache)) == 3
    monkeypatch.setattr(store, "train", None)
    _, sources = open_plan(plan, load_language_model(p.model), p.corpus, cache)
    assert train_cells(plan.cells, sources, cache, progress=False)["seeds"].seeds == (0, 1, 2, 3, 4)


def test_a_stack_that_was_trained_whole_is_not_trained_in_parts(notebooks, tmp_path, monkeypatch):
    planned = {NAMES[0]: planned_of("quick", notebooks)[NAMES[0]]}
    ((p, plan),) = planned.values()
    assert train.train_share(pieces_of(planned), planned, tmp_path) == 0
    parts = pieces_of(planned, 1)
    assert [piece.cells[0].seeds for piece in parts] == [(0,), (1,), (2,), (3,), (4,)]
    monkeypatch.setattr(store, "train", None)
    assert train.train_share(parts, planned, tmp_path) == 0


def test_llama_s_seeds_are_cut_for_80_gb_and_one_by_one_where_there_is_no_gpu(monkeypatch):
    planned = planned_of("a-llama-3.1-8b", NOTEBOOKS)

    def seeds(memory):
        return [piece.cells[0].seeds for piece in pieces_of(planned, memory)]

    assert seeds(80e9) == seeds(85e9) == [(0, 1), (2, 3), (4,)]
    assert seeds(141e9) == [(0, 1, 2), (3, 4)] and seeds(192e9) == [(0, 1, 2, 3, 4)]
    monkeypatch.setattr(train, "device_at_hand", lambda device: "cpu")
    assert seeds(None) == [(0,), (1,), (2,), (3,), (4,)]


def test_a_piece_has_the_search_it_waits_for_which_costs_a_shard_once(notebooks):
    planned = planned_of("quick", notebooks)
    waiting = [piece for piece in pieces_of(planned) if piece.search]
    for piece in waiting:
        plan = planned[piece.notebook][1]
        assert {name for cell in piece.cells for name in plan[cell.name].needs} == piece.search.names
        pilots = sum(training_operations(pilot) for pilot in piece.search.pilots())
        assert operations_of([piece]) == piece.operations + pilots > piece.operations
    single, expanded = (
        next(piece for piece in waiting if piece.cells[0].name == f"relu {kind}") for kind in ("single", "expanded")
    )
    assert single.search == expanded.search
    assert operations_of([single, expanded]) == pytest.approx(operations_of([single]) + expanded.operations)


def test_a_shard_makes_the_searches_that_its_own_stacks_wait_for(notebooks, tmp_path, monkeypatch):
    made, run = [], Search.run

    def watched(search, *rest):
        made.append(search.names)
        return run(search, *rest)

    monkeypatch.setattr(Search, "run", watched)
    name = NAMES[1]
    planned = {name: planned_of("quick", notebooks)[name]}
    train.prepare(planned, tmp_path)
    pieces = {piece.cells[0].name: piece for piece in pieces_of(planned)}
    for kind in ("centre", "architecture relu"):
        assert train.train_share([pieces[kind]], planned, tmp_path) == 0
    assert made == [{"relu 24 pilots"}]


def test_what_waits_for_results_is_left_to_its_notebook():
    planned = planned_of("laptop", NOTEBOOKS)
    lines = left_over(planned)
    assert "left to notebook 03_stitching: control" in lines
    assert not [line for line in lines if line.startswith("left to notebook 01")]
    assert not [piece for piece in pieces_of(planned) if "control" in [cell.name for cell in piece.cells]]


def test_a_stack_that_memory_does_not_hold_fails_in_one_line_and_the_rest_goes_on(
    notebooks, tmp_path, capsys, monkeypatch
):
    check = store.check_memory

    def small(stacks, source, config):
        if stacks[0].config.n_latents == 24 and stacks[0].n_dictionaries > 3:
            raise train.InputError("this needs 9 GB")
        check(stacks, source, config)

    monkeypatch.setattr(store, "check_memory", small)
    preset = yaml.safe_load((notebooks / "presets" / "quick.yaml").read_text())
    two = {name: values | {"n_tokens": 1024} for name, values in preset.items() if name == NAMES[0]}
    (notebooks / "presets" / "two.yaml").write_text(yaml.safe_dump({"notebooks": ["01"], **two}))
    assert main(["--preset", "two"], notebooks, tmp_path) == 1
    assert capsys.readouterr().out.splitlines()[-1].endswith("FAILED: this needs 9 GB")


def test_dry_run_says_what_each_shard_costs_and_the_language_model_in_it(tmp_path, capsys):
    speed = {"device": "GPU", "memory": 8e10, "tokens": 1e6, "step": 1e-3}
    rates = {"forward": {"bfloat16": 1e14, "float32": 1e13}, "training": dict.fromkeys(
        ("topk", "batch_topk", "relu", "jump_relu", "gated"), 1e13)}  # fmt: skip
    file = tmp_path / "speed.json"
    file.write_text(json.dumps(speed | rates))

    def said(shard):
        assert main(["--preset", "b-gemma-2-2b", "--shard", shard, "--dry-run", "--throughput", str(file)]) == 0
        return capsys.readouterr().out.splitlines()

    one, eight = said("1/1"), said("8/8")
    assert one[0].startswith("shard 1/1: ") and one[-3].startswith("text and caches of activations, once: ")
    assert one[-3] == eight[-3] and eight[-2].startswith("8 shards: ")
    alone = one[-1].rpartition("in one shard ")[2]
    assert one[-1] == f"of these, the language model for streamed activations: {alone}; in one shard {alone}"
    assert eight[-1].endswith(f"; in one shard {alone}") and eight[-1] != one[-1]


@pytest.mark.parametrize("shard", ["0/4", "5/4", "1", "1/0", "a/b", "-1/4", "1/4/2"])
def test_what_is_no_shard_is_refused(shard, tmp_path, capsys):
    assert main([f"--shard={shard}"], NOTEBOOKS, tmp_path) == 2
    assert capsys.readouterr().err == f"--shard {shard}: it must be such as 3/16, from 1/16 to 16/16\n"
    assert not list(tmp_path.iterdir())
