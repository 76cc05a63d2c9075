"""Batches: resume, refusals, killed runs, on throw-away notebooks that take a real notebook's parameters."""

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest
import yaml
from helpers import preset_stand_ins as stand_ins
from helpers.stored import stored
from helpers.throw_away_notebooks import WRITE, fake_run, job_of, make
from papermill.cli import NoDatesSafeLoader

from sae_utils.files import only_writer
from sae_utils.paths import NOTEBOOKS
from sae_utils.report.claims import load_claims, rules_of
from sae_utils.report.claims.verdicts import verdict
from sae_utils.results import read_results
from sae_utils.run import batch, shares
from sae_utils.run.batch import main


def start(notebooks: Path, results: Path, *options: str) -> subprocess.Popen:
    """A batch in a process group of its own, which heeds SIGINT even where this process was told to ignore it."""
    code = f"from pathlib import Path; from sae_utils.run.batch import main; import sys; sys.exit(main(\
{['--preset', 'quick', *options]}, Path({str(notebooks)!r}), Path({str(results)!r})))"
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", code], start_new_session=True, preexec_fn=heed, **streams)


def until(condition, seconds: float = 60) -> None:
    """Waits for a condition that does not depend on the machine's speed; a minute means that it never comes."""
    for _ in range(int(seconds * 20)):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("never happened")


def test_runs_then_skips_then_runs_what_changed(tmp_path, capsys):
    notebooks, results = make(tmp_path, WRITE), tmp_path / "the results"
    run = ["--preset", "quick"]
    assert main(run, notebooks, results) == 0
    assert "[1/1] 00_language_model" in capsys.readouterr().out
    assert read_results("00_language_model", "quick", results).metrics == {"rows": 48}
    kept = sorted(path.name for path in (results / "quick").iterdir())
    stem = "00_language_model"
    assert kept == [".lock", f"{stem}.done.json", f"{stem}.ipynb", f"{stem}.json", f"{stem}.npz"]

    assert main(run, notebooks, results) == 0
    assert "unchanged, skipped" in capsys.readouterr().out

    make(tmp_path, WRITE, preset="common:\n  n_eval_rows: 7\nexpected_seconds:\n  00_language_model: 9\n")
    assert main(run, notebooks, results) == 0
    assert "(expected " in capsys.readouterr().out
    assert read_results("00_language_model", "quick", results).metrics == {"rows": 7}


def test_floats_reach_papermill_as_floats():
    values = {"lr": 1e-5, "large": 1e20, "k": 8, "preset": "1e-5", "results_dir": "/a  b/{c}: d, " + 9 * "long folder "}
    assert yaml.load(batch.as_yaml(values), Loader=NoDatesSafeLoader) == values


FIGURES = """\
import matplotlib.pyplot as plt
from sae_utils.report.figures import style
style.save_figure(plt.figure(), "A9_empty", p)
"""


def test_page_of_claims_is_written_after_all_notebooks_and_only_then(tmp_path):
    notebooks, results = make(tmp_path, WRITE), tmp_path / "r"
    claims = (NOTEBOOKS / "claims.yaml").read_text(encoding="utf-8")
    (notebooks / "claims.yaml").write_text(claims, encoding="utf-8")
    page = results / "quick" / "claims.md"
    assert main(["--preset", "quick", "--only", "00"], notebooks, results) == 0
    assert not page.exists()
    assert main(["--preset", "quick"], notebooks, results) == 0
    assert page.read_text(encoding="utf-8").count("| not run |") == claims.count("- id: ")
    page.unlink()
    make(tmp_path, "1 / 0")
    assert main(["--preset", "quick"], notebooks, results) == 1
    assert page.is_file()


def test_page_of_claims_is_read_from_the_results_that_are_done(tmp_path):
    claims = list(load_claims().values())
    job = job_of(make(tmp_path, WRITE), tmp_path / "r")
    fake_run(job, [verdict(claims[0], None, rules=rules_of(claims)["A"])])
    page = batch.write_claims_page(NOTEBOOKS / "claims.yaml", [job])
    assert page == job.folder / "claims.md" and page.read_text().count("| [00_language_model](") == 1
    job.file(".done.json").unlink()
    assert "| [00_language_model](" not in batch.write_claims_page(NOTEBOOKS / "claims.yaml", [job]).read_text()
    assert batch.write_claims_page(tmp_path / "claims.yaml", [job]) is None


def test_deleted_figure_comes_back(tmp_path):
    notebooks, results = make(tmp_path, WRITE, FIGURES), tmp_path / "r"
    other = results / "quick" / "figures" / "A8_of_another_notebook.png"
    other.parent.mkdir(parents=True)
    other.touch()
    os.utime(other, (0, 0))
    assert main(["--preset", "quick"], notebooks, results) == 0
    job = job_of(notebooks, results)
    assert job.done()["figures"] == ["figures/A9_empty.png"]
    other.unlink()
    assert job.is_done()
    (results / "quick" / "figures" / "A9_empty.png").unlink()
    assert not job.is_done()


@pytest.mark.parametrize("leftover", [".part.ipynb", ".failed.ipynb"])
def test_rest_of_a_stopped_run_gives_no_expected_time(tmp_path, capsys, leftover):
    notebooks, results = make(tmp_path, WRITE), tmp_path / "r"
    (results / "quick").mkdir(parents=True)
    job_of(notebooks, results).file(leftover).write_text("{}")
    assert main(["--preset", "quick"], notebooks, results) == 0
    assert main(["--preset", "quick"], notebooks, results) == 0
    assert capsys.readouterr().out.splitlines()[-2].endswith("unchanged, skipped")
    assert job_of(notebooks, results).expected is None


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("from sae_utils.errors import InputError\nraise InputError('layer 9 is out of range')", "layer 9 is out"),
        ("import os\nos._exit(9)", "papermill ended with code"),
    ],
    ids=["input error", "dead kernel"],
)
def test_failure_is_one_line_and_leaves_no_result(tmp_path, capsys, body, said):
    notebooks = make(tmp_path, body, WRITE)
    assert main(["--preset", "quick"], notebooks, tmp_path / "r") == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert f"FAILED: {said}" in lines[0]
    assert "00_language_model.failed.ipynb]" in lines[0]
    assert not list((tmp_path / "r").rglob("*.json"))


def test_notebook_that_writes_nothing_failed(tmp_path, capsys):
    assert main(["--preset", "quick"], make(tmp_path), tmp_path / "r") == 1
    assert "the notebook ended without writing its results" in capsys.readouterr().out


NAMES = ("00_language_model", "02_what_moves_overlap", "01_seed_divergence")
SLEEP = "import os, time\nopen({path!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_killed_run_leaves_no_result_and_no_process(tmp_path, number, n_jobs):
    """The notebooks are stopped after the first wrote its results and before its end."""
    marks = [tmp_path / f"started {name}" for name in NAMES[:n_jobs]]
    for name, mark in zip(NAMES, marks, strict=False):
        notebooks = make(tmp_path, *([WRITE] if name == NAMES[0] else []), SLEEP.format(path=str(mark)), name=name)
    run = start(notebooks, tmp_path / "r", "--jobs", str(n_jobs))
    until(lambda: all(mark.exists() and mark.read_text() for mark in marks))
    kernels = [psutil.Process(int(mark.read_text())) for mark in marks]
    if number == signal.SIGKILL:
        os.killpg(run.pid, number)
    else:
        os.kill(run.pid, number)
    out, err = run.communicate(timeout=60)
    assert run.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 130), out + err
    assert "FAILED" not in out
    until(lambda: not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in kernels))
    assert (tmp_path / "r" / "quick" / "00_language_model.json").is_file()
    assert not job_of(notebooks, tmp_path / "r").is_done()


MEET = """\
import os, time
from pathlib import Path
from sae_utils.results import write_results
(Path({folder!r}) / "00_language_model").touch()
while len(list(Path({folder!r}).iterdir())) < 2:
    time.sleep(0.05)
threads = int(os.environ.get("OMP_NUM_THREADS", 0))
write_results("00_language_model", p.preset, p.results_dir, p, {{"threads": threads}}, [], {{}})
"""


def test_side_by_side_longest_first_and_the_others_go_on_after_a_failure(tmp_path, capsys, monkeypatch):
    for name in shares.THREADS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(shares, "cores", lambda: 7)
    folder, results, run = tmp_path / "met", tmp_path / "r", ["--preset", "quick", "--jobs", "2"]
    folder.mkdir()
    first, second, third = NAMES
    preset = f"expected_seconds: {{{first}: 1, {second}: 50, {third}: 9}}"
    make(tmp_path, MEET.format(folder=str(folder)), preset=preset, name=first)
    make(tmp_path, "1 / 0", preset=preset, name=second)
    notebooks = make(tmp_path, MEET.format(folder=str(folder)), preset=preset, name=third)
    assert main(run, notebooks, results) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.endswith(" started")] == [
        f"[3/3] {second} started", f"[2/3] {third:<21} started", f"[1/3] {first:<21} started",
    ]  # fmt: skip
    (failed,) = (line for line in lines if "FAILED" in line)
    assert re.fullmatch(rf"\[3/3\] {second} \d+ s \(expected 50 s\)  FAILED: ZeroDivisionError: .*ipynb\]", failed)
    assert len(lines) == 7 and lines[-1].startswith("2 run, 0 unchanged, 1 failed in ")
    assert [read_results(name, "quick", results).metrics for name in (first, third)] == 2 * [{"threads": 3}]
    make(tmp_path, MEET.format(folder=str(folder)), preset=preset, name=second)
    assert main(run, notebooks, results) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(" (")[0] for line in lines[:2]] == [
        f"[{i}/3] {name:<21} unchanged, skipped" for i, name in ((1, first), (2, third))
    ]
    assert len(lines) == 4 and lines[2].startswith(f"[3/3] {second} ")


TRAIN = """\
from sae_utils.results import write_results
from sae_utils.run.experiment import open_experiment
experiment = open_experiment("00_language_model", p)
stack = experiment.train()["seeds"]
write_results("00_language_model", p.preset, p.results_dir, p, {}, [], {"decoders": stack.W_dec.detach().numpy()})
"""


def test_two_jobs_give_what_one_gives(tmp_path):
    """Notebooks 01 and 08 want the same stack."""
    names = ("01_seed_divergence", "08_shared_and_orphan")
    preset = yaml.safe_dump(stand_ins.small_preset(tmp_path, names))
    for name in names:
        notebooks = make(tmp_path, TRAIN, preset=preset, name=name)
    made = []
    for n_jobs in ("1", "2"):
        results = tmp_path / n_jobs
        assert main(["--preset", "quick", "--jobs", n_jobs], notebooks, results) == 0
        assert not [path for path in (results / "cache").iterdir() if path.name.startswith((".dict", "training"))]
        decoders = [read_results(name, "quick", results).arrays["decoders"] for name in names]
        np.testing.assert_array_equal(*decoders)
        made.append(stored(results / "cache"))
    assert made[0] == made[1] and len(made[0]) == 1


def test_second_run_on_the_same_results_is_refused(tmp_path, capsys):
    notebooks = make(tmp_path, WRITE)
    with only_writer(tmp_path / "r" / "quick" / ".lock", "quick"):
        assert main(["--preset", "quick"], notebooks, tmp_path / "r") == 2
    assert "another run is writing to" in capsys.readouterr().err
    with (tmp_path / "r" / "quick" / ".lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize(
    ("arguments", "preset", "said"),
    [
        (["--only", "07"], "", "no notebook '07'; there are 00_language_model"),
        (["--only", ","], "", "no notebook ','"),
        (["--jobs", "0"], "", "--jobs 0: it must be a whole number from 1"),
        (["--preset", "huge"], "", "no preset 'huge'; there are quick"),
        ([], "common: {batch_size: no}", "batch_size = False must be int, not bool"),
    ],
)
def test_bad_input_is_one_line_before_anything_runs(tmp_path, capsys, arguments, preset, said):
    notebooks = make(tmp_path, WRITE, preset=preset)
    assert main(["--preset", "quick", *arguments], notebooks, tmp_path / "r") == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert printed.err.count("\n") == 1
    assert not printed.out
    assert not (tmp_path / "r").exists()


def test_malformed_parameters_cell_is_refused(tmp_path, capsys):
    notebooks = make(tmp_path, WRITE)
    path = notebooks / "00_language_model.ipynb"
    content = json.loads(path.read_text())
    content["cells"][0]["source"] = "model: str = print()"
    path.write_text(json.dumps(content))
    assert main(["--preset", "quick"], notebooks, tmp_path / "r") == 2
    assert "each line of the cell 'parameters' must be 'name: type = literal'" in capsys.readouterr().err


def test_a_finished_run_loads_nothing_heavy(tmp_path):
    notebooks, results = make(tmp_path, WRITE), tmp_path / "r"
    fake_run(job_of(notebooks, results))
    code = f"""
import sys
from pathlib import Path
from sae_utils.run.batch import main
from sae_utils.run.notebooks import default_parameters
assert main(["--preset", "quick"], Path({str(notebooks)!r}), Path({str(results)!r})) == 0
assert not {{"torch", "papermill", "transformer_lens", "transformers", "scipy", "matplotlib"}} & set(sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "0 run, 1 unchanged, 0 failed" in run.stdout
