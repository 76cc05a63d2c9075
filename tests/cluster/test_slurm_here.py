"""``--slurm`` on a real SLURM: the same numbers as one after the other, whatever happens to a task on the way."""

import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
import yaml
from helpers import preset_stand_ins as stand_ins
from helpers.places import importing
from helpers.stored import stored
from helpers.throw_away_notebooks import make
from helpers.watched_tasks import Watched

from sae_utils.results import read_results
from sae_utils.run.batch import main
from sae_utils.run.cluster import slurm
from sae_utils.run.shares import THREADS

# A notebook that trains its plan, or reads what was trained, and says how many passes it took itself.
TRAIN = """\
from pathlib import Path
from sae_utils.data.models.language_model import load_language_model
from sae_utils.results import write_results
from sae_utils.run.plans import open_plan
from sae_utils.run.plans.of_notebooks import plan_of
from sae_utils.saes.training import store
from sae_utils.saes.training.grid import train_cells
passes, train = [], store.train
store.train = lambda *arguments: passes.append(train(*arguments))
model = load_language_model(p.model, p.device, p.dtype)
plan, cache = plan_of("00_language_model", p, model), Path(p.results_dir) / "cache"
_, sources = open_plan(plan, model, p.corpus, cache)
plan = plan.tuned(plan.search.run(sources, cache, p.device)) if plan.search else plan
saes = train_cells(plan.ready, sources, cache, p.device, progress=False)
sums = {name: sae.W_dec.double().sum().item() for name, sae in saes.items()}
write_results("00_language_model", p.preset, p.results_dir, p, {"sums": sums, "passes": len(passes)}, [], {})
"""
NAMES = ("01_seed_divergence", "02_what_moves_overlap")
LONG = {"n_tokens": 8000, "batch_size": 5, "n_seeds": 5}  # 1,600 steps, of which the first 1,000 end in a checkpoint


@pytest.fixture(scope="module")
def notebooks(tmp_path_factory) -> Path:
    """Two notebooks, and presets: ``quick`` and ``other`` of both, ``mixed`` whose first one is long, long ones."""
    folder = tmp_path_factory.mktemp("notebooks")
    small = stand_ins.small_preset(folder, NAMES)
    for name in NAMES:
        made = make(folder, TRAIN, name=name)
    first, second = NAMES
    presets = {
        "quick": small,
        "other": {name: values | {"data_seed": 1} for name, values in small.items()},
        "mixed": small | {first: small[first] | LONG},
        "late": {first: small[first] | LONG | {"data_seed": 2}, "notebooks": [first]},
        "long": {first: small[first] | LONG | {"data_seed": 3}, "notebooks": [first]},
    }
    presets["twin"] = presets["long"]
    for name, preset in presets.items():
        (made / "presets" / f"{name}.yaml").write_text(yaml.safe_dump(preset))
    return made


@pytest.fixture
def results(cluster, tmp_path, monkeypatch) -> Path:
    """A folder of results; tasks are watched, and have a core each."""
    monkeypatch.setattr(slurm, "Task", Watched)
    for name in THREADS:
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([importing()["PYTHONPATH"], os.environ.get("PYTHONPATH", "")]))
    folder = tmp_path / "results"
    folder.mkdir()
    yield folder
    subprocess.run(["scancel", "--user=root"], check=True)


def submit(preset: str, notebooks: Path, results: Path, *options: str, hours: float = 1.0, **keys) -> int:
    config = results / "slurm.yaml"
    config.write_text(yaml.safe_dump({"hours": hours, "memory_gb": 2, "cpus": 1, "shards": 2} | keys))
    return main(["--preset", preset, "--slurm", "--slurm-config", str(config), *options], notebooks, results)


def until(condition, seconds: float = 300) -> None:
    for _ in range(int(2 * seconds)):
        if condition():
            return
        time.sleep(0.5)
    raise AssertionError("never happened")


def over(*presets: Path) -> None:
    """Waits until nothing of them is queued."""
    until(lambda: not set(slurm.queue()) & {job for preset in presets for job in slurm.recorded(preset / "slurm")})


def trained(results: Path) -> tuple[Counter, list[str]]:
    """How often training of each stack began, and at which steps any began."""
    lines = [line.split() for line in (results / "trained.log").read_text().splitlines()]
    return Counter(key for step, *keys in lines if step == "0" for key in keys), [step for step, *_ in lines]


def sums(preset: str, results: Path, names=NAMES) -> list[dict]:
    return [read_results(name, preset, results).metrics["sums"] for name in names]


def test_two_presets_at_once_give_what_they_give_one_after_the_other_and_train_nothing_twice(
    notebooks, results, tmp_path, capsys
):
    for preset in ("quick", "other"):
        assert main(["--preset", preset, "--jobs", "1"], notebooks, tmp_path / "serial") == 0
    for preset in ("quick", "other"):
        assert submit(preset, notebooks, results) == 0
    said = capsys.readouterr().out
    assert said.count("caches: 1 tasks") == said.count("shards: 2 tasks") == said.count("notebooks: 2 tasks") == 2
    assert submit("quick", notebooks, results) == 2
    assert capsys.readouterr().err == "5 tasks of quick are queued; --cancel ends them\n"
    over(results / "quick", results / "other")
    for preset in ("quick", "other"):
        assert submit(preset, notebooks, results, "--status") == 0
        assert capsys.readouterr().out == "5 done\n"
        assert sums(preset, results) == sums(preset, tmp_path / "serial")
        assert [read_results(name, preset, results).metrics["passes"] for name in NAMES] == [0, 0]
        assert submit(preset, notebooks, results) == 0
        assert capsys.readouterr().out == f"{preset}: all is done\n"
    expected = stored(tmp_path / "serial" / "cache")
    assert stored(results / "cache") == expected
    times, _ = trained(results)
    assert set(times.values()) == {1} and set(times) <= {name.split("-")[1].split(".")[0] for name in expected}


def test_ended_in_the_middle_and_submitted_again_only_the_rest_is_done(notebooks, results, capsys):
    (results / "hold").touch()
    assert submit("mixed", notebooks, results) == 0
    until((results / "held").exists)
    until(lambda: len(list((results / "cache").glob("task-*"))) == 2)  # the caches, and the other shard
    assert submit("mixed", notebooks, results, "--cancel") == 0
    over(results / "mixed")
    capsys.readouterr()
    assert submit("mixed", notebooks, results) == 0
    said = capsys.readouterr().out
    assert "caches" not in said and "shards: 1 tasks" in said and "notebooks: 2 tasks" in said
    over(results / "mixed")
    assert submit("mixed", notebooks, results, "--status") == 0
    times, steps = trained(results)
    assert set(times.values()) == {1} and sorted(set(steps)) == ["0", "1000"] and steps.count("1000") == 1


def test_a_killed_task_is_taken_over_by_another_preset_and_says_where_its_log_is(notebooks, results, capsys):
    (results / "hold").touch()
    assert submit("long", notebooks, results) == 0
    until((results / "held").exists)
    assert submit("twin", notebooks, results) == 0
    logs = results / "twin" / "slurm"
    until(lambda: any("waiting for it" in log.read_text() for log in logs.glob("*_log.out")))
    os.kill(int((results / "held").read_text()), signal.SIGKILL)
    over(results / "long", results / "twin")
    capsys.readouterr()
    assert submit("twin", notebooks, results, "--status") == 0
    assert submit("long", notebooks, results, "--status") == 1
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == ["3 done", "1 done, 1 FAILED, 1 CANCELLED"]
    assert said[2].startswith("shard 1/1 FAILED: ") and said[3:] == ["notebook 01_seed_divergence CANCELLED"]
    assert Path(said[2].rpartition("[")[2].removesuffix("]")).is_file()
    assert submit("long", notebooks, results) == 0
    over(results / "long")
    assert sums("long", results, NAMES[:1]) == sums("twin", results, NAMES[:1])
    times, steps = trained(results)
    assert set(times.values()) == {1} and steps == ["0", "1000"]


def test_a_task_whose_time_is_over_is_queued_again_and_goes_on(notebooks, results, capsys):
    (results / "hold").touch()
    assert submit("late", notebooks, results, hours=0.05) == 0
    until((results / "held").exists)
    (shard,) = (job for job, (stage, _) in slurm.recorded(results / "late" / "slurm").items() if stage == "shards")
    until(lambda: slurm.queue().get(shard) == "PENDING")
    subprocess.run(["scontrol", "update", f"JobId={shard}", "StartTime=now"], check=True)  # SLURM waits two minutes
    over(results / "late")
    assert submit("late", notebooks, results, "--status", hours=0.05) == 0
    assert trained(results)[1] == ["0", "1000"]
    log = (results / "late" / "slurm" / f"{shard}_0_log.out").read_text()
    assert log.count("Requeued job") == 1 and log.count("Job completed successfully") == 1


def test_what_slurm_refuses_is_one_line_and_leaves_nothing_in_the_queue(notebooks, results, capsys):
    assert submit("quick", notebooks, results, partition="none") == 2
    said = capsys.readouterr().err
    assert said.startswith("SLURM refuses the caches: sbatch: error: ") and "partition" in said
    assert said.count("\n") == 1 and not slurm.queue()
