"""Runs the notebooks in order with one preset: ``python -m sae_utils.run.batch --preset laptop``.

Each notebook is executed by papermill in a process of its own. What is done and unchanged is skipped: the key is the
sha256 of the notebook's cells, its parameters, the files that they name and the sources of ``sae_utils``.
``results/<preset>/<name>.done.json`` holds the key and is written last, so a killed run leaves nothing that passes for
a result. Papermill's output notebook proves nothing (a dead kernel's says "completed"): only the exit code and the
notebook's own results do.
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil
import yaml

from sae_utils.errors import InputError
from sae_utils.files import only_writer, sha256_of_file, write_json
from sae_utils.paths import NOTEBOOKS, RESULTS
from sae_utils.report.claims import CLAIMS
from sae_utils.run.jobs import Job, jobs_of
from sae_utils.run.made_by import write_made_by
from sae_utils.run.notebooks import default_parameters, error_text, select
from sae_utils.run.pages import write_claims_page
from sae_utils.run.parameters import check_device
from sae_utils.run.presets import load_preset


def as_yaml(parameters: Mapping[str, object]) -> str:
    """Parameters as papermill reads them; JSON's 1e-05 would be a string to YAML."""
    return yaml.safe_dump(dict(parameters), default_flow_style=True)


def execute(job: Job, lock: int, prefix: str) -> str:
    """Runs one notebook; gives the error in one line, or an empty string where it is done.

    The child inherits the lock: should this process be killed alone, no second run starts beside the orphan.
    """
    part, log, expected = job.file(".part.ipynb"), job.file(".log"), job.expected
    # What was stopped or failed may have left training to go on from: the seconds of the rest say nothing.
    resumed = part.is_file() or job.file(".failed.ipynb").is_file()
    job.file(".done.json").unlink(missing_ok=True)
    results_dir = "" if job.folder.parent == RESULTS else str(job.folder.parent.resolve())
    parameters = as_yaml({**job.parameters, "results_dir": results_dir})
    # Papermill formats its paths with str.format, so a brace in a folder's name has to be doubled.
    paths = [str(path).replace("{", "{{").replace("}", "}}") for path in (job.notebook, part)]
    options = ["-y", parameters, "-k", "python3", "--no-progress-bar", "--log-level", "ERROR"]
    environment = {**os.environ, "JUPYTER_PREFER_ENV_PATH": "1"}
    start, started = time.monotonic(), time.time()
    with log.open("wb") as file:
        command = [sys.executable, "-m", "papermill", *paths, *options]
        child = subprocess.Popen(command, stdout=file, stderr=file, env=environment, pass_fds=[lock])
        try:
            wait(child, prefix, expected)
        finally:
            stop(child)
    seconds = time.monotonic() - start
    error = failure(job, child.returncode, part, log, started)
    executed = job.file(".failed.ipynb" if error else ".ipynb")
    if part.is_file():
        os.replace(part, executed)
    if error:
        return f"{error} [{executed if executed.is_file() else log}]"
    job.file(".failed.ipynb").unlink(missing_ok=True)
    log.unlink()
    record = {
        "key": job.key,
        "results_sha256": sha256_of_file(job.file(".json")),
        "figures": job.figures_since(started),
    }
    write_json(job.file(".done.json"), record if resumed else record | {"seconds": round(seconds, 1)})
    return ""


def failure(job: Job, code: int, part: Path, log: Path, started: float) -> str:
    """Why the notebook is not done, in one line; empty where it wrote whole results since ``started``."""
    if code != 0:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return error_text(part) or f"papermill ended with code {code}: {lines[-1] if lines else 'the kernel died'}"
    if not job.file(".json").is_file() or job.file(".json").stat().st_mtime < started - 1:
        return "the notebook ended without writing its results"
    return job.torn()


def wait(child: subprocess.Popen, prefix: str, expected: float | None) -> None:
    """Waits for the child's end; on a terminal the line counts the seconds meanwhile."""
    start = time.monotonic()
    live = sys.stdout.isatty()
    while True:
        try:
            child.wait(timeout=1 if live else None)
            return
        except subprocess.TimeoutExpired:
            print(f"\r{prefix} {timing(time.monotonic() - start, expected)}", end="", flush=True)


def stop(child: subprocess.Popen) -> None:
    """Ends the child and all its descendants; a kernel has a session of its own, so no signal to a group does."""
    if child.poll() is not None:
        return
    parent = psutil.Process(child.pid)
    family = [*parent.children(recursive=True), parent]
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    for process in psutil.wait_procs(family, timeout=3)[1]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    child.wait()


def timing(seconds: float, expected: float | None) -> str:
    """``62 s (expected 70 s)``."""
    return f"{seconds:.0f} s" + (f" (expected {expected:.0f} s)" if expected else "")


def run(jobs: Sequence[Job], fresh: bool) -> int:
    """Runs what is not done, a line each; gives the number of notebooks that failed."""
    failed = ran = 0
    start = time.monotonic()
    width = max(len(job.name) for job in jobs)
    with only_writer(jobs[0].folder / ".lock", str(jobs[0].folder), wait=False) as lock:
        for position, job in enumerate(jobs, 1):
            prefix = f"[{position}/{len(jobs)}] {job.name:<{width}}"
            if not fresh and job.is_done():
                seconds = job.done().get("seconds")
                print(f"{prefix} unchanged, skipped{f' (took {seconds:.0f} s)' if seconds else ''}")
                continue
            print(prefix, end="", flush=True)
            begun, expected = time.monotonic(), job.expected
            error = execute(job, lock, prefix)
            ran += 1
            failed += bool(error)
            back = f"\r{prefix}" if sys.stdout.isatty() else ""
            print(f"{back} {timing(time.monotonic() - begun, expected)}{'  FAILED: ' + error if error else ''}")
    print(f"{ran - failed} run, {len(jobs) - ran} unchanged, {failed} failed in {time.monotonic() - start:.0f} s")
    return failed


def interrupt(number: int, frame: object) -> None:
    """SIGTERM ends a run as Ctrl-C does, so that no child outlives it."""
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None, notebooks: Path = NOTEBOOKS, results: Path = RESULTS) -> int:
    """The command line; gives the exit code: 0 done, 1 a notebook failed, 2 bad input, 130 interrupted."""
    parser = argparse.ArgumentParser(prog="python -m sae_utils.run.batch", description="Run the notebooks in order.")
    parser.add_argument("--preset", default="laptop", help="presets/<PRESET>.yaml in the notebooks' folder")
    parser.add_argument("--only", default="", help="numbers or names, separated by commas: 00,01")
    parser.add_argument("--fresh", action="store_true", help="run what is done, too")
    parser.add_argument("--dry-run", action="store_true", help="say what would run, and what that would cost")
    parser.add_argument("--throughput", default="", help="with --dry-run: a machine's speed, as a dry run prints it")
    options = parser.parse_args(arguments)
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        chosen = select(notebooks, options.only)
        preset = load_preset(options.preset, notebooks)
        missing = [path.stem for path in chosen if path.stem not in preset.overrides]
        if options.only and missing:
            raise InputError(f"preset {preset.name!r} leaves out {missing[0]}; it has {', '.join(preset.overrides)}")
        jobs = jobs_of(chosen, preset, results)
        if options.throughput and not options.dry_run:
            raise InputError("--throughput is what --dry-run estimates with; give both")
        if options.dry_run:
            from sae_utils.run.dry_run import describe  # torch, which a batch that has nothing to do does without

            print("\n".join(describe(jobs, options.fresh, options.throughput)))
            return 0
        for device in {(default_parameters(job.notebook) | job.parameters)["device"] for job in jobs}:
            check_device(device)
        failed = run(jobs, options.fresh)
        if not options.only:  # a part of the notebooks would leave the other claims unanswered
            write_claims_page(notebooks / CLAIMS.name, jobs)
            write_made_by(jobs)
        return 1 if failed else 0
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted; what was finished is kept", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    sys.exit(main())
