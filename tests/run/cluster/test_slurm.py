"""What is submitted to SLURM, and what is said of it, without one; tests/cluster has a real one."""

import json
import re
import sys
from pathlib import Path

import pytest
import yaml
from helpers import preset_stand_ins as stand_ins
from helpers.stored import stored
from helpers.throw_away_notebooks import WRITE, fake_run, make

from sae_utils.errors import InputError
from sae_utils.files import only_writer
from sae_utils.paths import NOTEBOOKS, ROOT
from sae_utils.run import train
from sae_utils.run.batch import main
from sae_utils.run.cluster import slurm
from sae_utils.run.cluster.resources import Cluster, read_cluster
from sae_utils.run.cluster.slurm import Task
from sae_utils.run.jobs import jobs_of
from sae_utils.run.notebooks import select
from sae_utils.run.parameters.presets import load_preset

NAME = "01_seed_divergence"
BODY = WRITE.replace("p.n_eval_rows", "p.n_eval_tokens")


@pytest.fixture(scope="module")
def notebooks(tmp_path_factory) -> Path:
    """A folder of one notebook and the preset ``quick`` on a small model."""
    folder = tmp_path_factory.mktemp("slurm")
    preset = stand_ins.small_preset(folder, [NAME])
    return make(folder, BODY, preset=yaml.safe_dump(preset), name=NAME)


@pytest.fixture
def on_path(tmp_path, monkeypatch):
    """Makes pretend commands of SLURM, the only ones on PATH; what they were called with is in ``calls``."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    def put(**said: str) -> Path:
        for name, text in said.items():
            file = tmp_path / "bin" / name
            file.parent.mkdir(exist_ok=True)
            file.write_text(f'#!/bin/bash\necho "{name} $*" >>"{tmp_path}/calls"\n{text}\n')
            file.chmod(0o755)
        return tmp_path / "calls"

    return put


def jobs(notebooks: Path, results: Path):
    return jobs_of(select(notebooks), load_preset("quick", notebooks), results)


def task(stage: str, name: str, notebooks: Path, results: Path) -> Task:
    return Task(stage, name, "quick", "", notebooks, results)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("partitions: gpu", "no key 'partitions'; allowed are partition, account, hours, memory_gb"),
        ("time: 24:00:00", "no key 'time'; allowed are"),
        ("hours: 24:00:00", "parameter hours = 86400 must be 0.02 to 8760"),
        ("hours: 0", "parameter hours = 0 must be 0.02 to 8760"),
        ("memory_gb: 64GB", "parameter memory_gb = '64GB' must be int, not str"),
        ("gpus: -1", "parameter gpus = -1 must be 0 to 64"),
        ("shards: 1.5", "parameter shards = 1.5 must be int, not float"),
        ("partition: [a, b]", "parameter partition = ['a', 'b'] must be str, not list"),
        ("setup: module load cuda", "parameter setup = 'module load cuda' must be a list of str"),
        ("- gpu", "must be a map of partition, account"),
        ("{", "is not YAML: "),
    ],
)
def test_what_is_no_cluster_is_refused_in_one_line_before_anything_is_submitted(
    notebooks, tmp_path, capsys, on_path, text, said
):
    calls = on_path(sbatch="")
    file = tmp_path / "slurm.yaml"
    file.write_text(text)
    assert main(["--preset", "quick", "--slurm", "--slurm-config", str(file)], notebooks, tmp_path / "r") == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(str(file)) and said in printed.err and printed.err.count("\n") == 1
    assert not printed.out and not calls.exists()


def test_a_file_that_is_named_must_be_there_and_the_default_one_need_not(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read_cluster("") == Cluster()
    with pytest.raises(InputError, match="there is no such file"):
        read_cluster(str(tmp_path / "other.yaml"))
    (tmp_path / ".config" / "sae_utils").mkdir(parents=True)
    (tmp_path / ".config" / "sae_utils" / "slurm.yaml").write_text("{partition: gpu, hours: 12, options: {qos: high}}")
    found = read_cluster("").sbatch({"cuda"})
    assert (found["partition"], found["time"], found["gpus_per_node"], found["account"]) == ("gpu", 720, 1, None)
    assert found["additional_parameters"] == {"requeue": True, "kill-on-invalid-dep": "yes", "qos": "high"}


def test_the_page_on_running_has_a_cluster_and_an_array_of_twelve_lines(tmp_path):
    page = (ROOT / "RUNNING.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```yaml\n(partition.*?)```", page, re.DOTALL)
    (tmp_path / "slurm.yaml").write_text(text)
    assert read_cluster(str(tmp_path / "slurm.yaml")).shards == 16
    (script,) = re.findall(r"```bash\n(#!/bin/bash.*?)```", page, re.DOTALL)
    assert script.count("\n") == 12 and "--array=1-16\n" in script and '--shard "$SLURM_ARRAY_TASK_ID/16"' in script


def test_gpus_are_asked_for_where_the_preset_trains_on_them():
    assert Cluster(gpus=2).sbatch({"cpu"})["gpus_per_node"] is None
    assert Cluster(gpus=2).sbatch({"cpu", "cuda:1"})["gpus_per_node"] == 2
    for devices, gpus in (({"cuda"}, 0), ({"cuda:1"}, 1)):
        with pytest.raises(InputError, match="and a task has gpus: "):
            Cluster(gpus=gpus).sbatch(devices)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--slurm"], "--slurm: there is no sbatch here; it needs a machine that submits to SLURM"),
        (["--slurm", "--status"], "--slurm: there is no sbatch here"),
        (["--status"], "--slurm-config, --status and --cancel go with --slurm"),
        (["--slurm", "--fresh"], "--fresh and --jobs do not go with it"),
        (["--slurm", "--jobs", "2"], "--fresh and --jobs do not go with it"),
    ],
)
def test_refusals_are_one_line(notebooks, tmp_path, capsys, on_path, options, said):
    assert main(["--preset", "quick", *options], notebooks, tmp_path / "r") == 2
    printed = capsys.readouterr()
    assert said in printed.err and printed.err.count("\n") == 1 and not printed.out
    assert not (tmp_path / "r").exists()


def test_without_submitit_one_line_says_how_to_get_it(notebooks, tmp_path, capsys, on_path, monkeypatch):
    on_path(sbatch="", squeue="")
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert main(["--preset", "quick", "--slurm"], notebooks, tmp_path / "r") == 2
    said = capsys.readouterr().err
    assert said == "--slurm needs submitit: .venv/bin/pip install -e '.[cluster]' -c requirements.txt\n"


def test_tasks_one_after_the_other_give_what_a_batch_gives(notebooks, tmp_path):
    """As SLURM runs them, but in this process; the whole run is all that their notebooks train."""
    results, whole = tmp_path / "r", tmp_path / "whole"
    tasks = [task("caches", "", notebooks, results), task("shards", "1/1", notebooks, results)]
    tasks.append(task("notebooks", NAME, notebooks, results))
    for one in tasks:
        assert not one.is_done(jobs(notebooks, results))
        one()
        assert one.is_done(jobs(notebooks, results))
    assert train.main(["--preset", "quick"], notebooks, whole) == 0
    assert stored(results / "cache") == stored(whole / "cache")
    assert main(["--preset", "quick", "--slurm", "--dry-run"], notebooks, results) == 0  # all is done
    preset = (notebooks / "presets" / "quick.yaml").read_text()
    make(notebooks.parent, BODY, "1 + 1", preset=preset, name=NAME)
    assert not any(one.is_done(jobs(notebooks, results)) for one in tasks)
    make(notebooks.parent, BODY, preset=preset, name=NAME)


def test_a_task_that_fails_says_so_in_its_last_line_and_leaves_no_mark(notebooks, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "train_share", lambda *arguments: 1)
    one = task("shards", "1/1", notebooks, tmp_path / "r")
    with pytest.raises(InputError, match="shard 1/1: not all of its stacks could be trained"):
        one()
    assert not one.is_done(jobs(notebooks, tmp_path / "r"))


def test_a_batch_beside_a_notebook_of_slurm_is_refused(notebooks, tmp_path, capsys):
    lock = tmp_path / "r" / "quick" / ".lock"
    with only_writer(lock, "quick", shared=True), only_writer(lock, "quick", wait=False, shared=True):
        assert main(["--preset", "quick"], notebooks, tmp_path / "r") == 2
    assert "another run is writing to" in capsys.readouterr().err


def test_dry_run_prints_tasks_hours_and_options(tmp_path, capsys, on_path):
    file, cluster = tmp_path / "speed.json", tmp_path / "slurm.yaml"
    speed = {"device": "GPU", "memory": 8e10, "tokens": 1e6, "step": 1e-3}
    rates = {"forward": {"bfloat16": 1e14, "float32": 1e13}, "training": dict.fromkeys(
        ("topk", "batch_topk", "relu", "jump_relu", "gated"), 1e13)}  # fmt: skip
    file.write_text(json.dumps(speed | rates))
    cluster.write_text("{partition: gpu, shards: 4, hours: 12}")
    options = ["--slurm", "--dry-run", "--throughput", str(file), "--slurm-config", str(cluster)]
    assert main(["--preset", "a-pythia-160m", *options], NOTEBOOKS, tmp_path / "r") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("caches: text and activations on disk, ")
    assert [line.partition(":")[0] for line in lines[1:5]] == [f"shard {i}/4" for i in range(1, 5)]
    assert lines[5] == "notebook 00_language_model: evaluation and analysis, hours unknown"
    assert any(line.startswith("4 shards: ") for line in lines)
    assert "submits 10 tasks, caches then shards then notebooks; each with" in lines
    assert {"    partition: gpu", "    time: 720", "    gpus_per_node: 1"} <= set(lines)
    assert not (tmp_path / "r").exists()


def test_status_counts_states_and_has_a_line_for_each_failure(notebooks, tmp_path, capsys, on_path, monkeypatch):
    results = tmp_path / "r"
    folder = results / "quick" / "slurm"
    (done,) = jobs(notebooks, results)
    fake_run(done)
    folder.mkdir()
    record = {"5": ["caches", ""], "6_0": ["shards", "1/2"], "6_1": ["shards", "2/2"], "7": ["notebooks", NAME]}
    (folder / "jobs.json").write_text(json.dumps(record))
    (folder / "5_0_log.out").write_text("text\n01: seeds 3 s  FAILED: this needs 9 GB\nInputError: x\nsrun: error: 1\n")
    monkeypatch.setattr(slurm, "ended", lambda jobs, folder: dict.fromkeys(jobs, "FAILED"))
    calls = on_path(sbatch="", scancel="", squeue='echo "6_0 RUNNING"; echo "6_1 PENDING"; echo "9 RUNNING"')
    assert main(["--preset", "quick", "--slurm", "--status"], notebooks, results) == 1
    assert capsys.readouterr().out.splitlines() == [
        "1 FAILED, 1 RUNNING, 1 PENDING, 1 done",
        f"caches FAILED: 01: seeds 3 s  FAILED: this needs 9 GB [{folder}/5_0_log.out]",
    ]
    assert main(["--preset", "quick", "--slurm", "--cancel"], notebooks, results) == 0
    assert calls.read_text().splitlines()[-1] == "scancel 6"
    assert capsys.readouterr().out == "ended 2 tasks; --slurm submits what is left\n"


def test_status_of_what_was_never_submitted(notebooks, tmp_path, capsys, on_path):
    on_path(sbatch="", squeue="")
    assert main(["--preset", "quick", "--slurm", "--status"], notebooks, tmp_path / "r") == 2
    assert capsys.readouterr().err == "nothing of quick was submitted yet\n"
