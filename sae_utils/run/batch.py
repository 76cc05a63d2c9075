"""Runs the notebooks with one preset: ``python -m sae_utils.run.batch --preset laptop``.

Each notebook is executed by papermill in a process of its own, several at a time with ``--jobs``; of those that want
the same dictionaries one trains them (``saes.training.locks``). What is done and unchanged is skipped: the key is the
sha256 of the notebook's cells, its parameters, the files that they name and the sources of ``sae_utils``.
``results/<preset>/<name>.done.json`` holds the key and is written last, so a killed run leaves nothing that passes for
a result. Papermill's output notebook proves nothing (a dead kernel's says "completed"): only the exit code and the
notebook's own results do.
"""

import argparse
import contextlib
import math
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
from sae_utils.run import shares
from sae_utils.run.jobs import Job, jobs_of
from sae_utils.run.made_by import write_made_by
from sae_utils.run.notebooks import error_text, select
from sae_utils.run.pages import write_claims_page
from sae_utils.run.parameters.checks import check_device
from sae_utils.run.parameters.presets import load_preset


def as_yaml(parameters: Mapping[str, object]) -> str:
    """Parameters as papermill reads them; JSON's 1e-05 would be a string to YAML."""
    return yaml.safe_dump(dict(parameters), default_flow_style=True)


class Running:
    """A notebook that runs, in one of ``n_places`` that share the machine.

    The child inherits the lock: should this process be killed alone, no second run starts beside the orphan.
    """

    def __init__(self, job: Job, lock: int, place: int, n_places: int):
        self.job, self.place, self.expected = job, place, job.expected
        self.part, self.log = job.file(".part.ipynb"), job.file(".log")
        # What was stopped or failed may have left training to go on from: the seconds of the rest say nothing.
        self.resumed = self.part.is_file() or job.file(".failed.ipynb").is_file()
        job.file(".done.json").unlink(missing_ok=True)
        results_dir = "" if job.folder.parent == RESULTS else str(job.folder.parent.resolve())
        parameters = as_yaml({**job.parameters, "results_dir": results_dir})
        # Papermill formats its paths with str.format, so a brace in a folder's name has to be doubled.
        paths = [str(path).replace("{", "{{").replace("}", "}}") for path in (job.notebook, self.part)]
        options = ["-y", parameters, "-k", "python3", "--no-progress-bar", "--log-level", "ERROR"]
        share = shares.environment(place, n_places, device_of(job))
        self.begun, self.started = time.monotonic(), time.time()
        with self.log.open("wb") as file:
            self.child = subprocess.Popen(
                [sys.executable, "-m", "papermill", *paths, *options],
                stdout=file, stderr=file, env=share | {"JUPYTER_PREFER_ENV_PATH": "1"}, pass_fds=[lock],
            )  # fmt: skip

    @property
    def timing(self) -> str:
        """``62 s (expected 70 s)``."""
        expected = f" (expected {self.expected:.0f} s)" if self.expected else ""
        return f"{time.monotonic() - self.begun:.0f} s{expected}"

    def finish(self) -> str:
        """Keeps what the child, which has ended, has made; gives the error in one line, or an empty string."""
        job, seconds = self.job, time.monotonic() - self.begun
        error = failure(job, self.child.returncode, self.part, self.log, self.started)
        executed = job.file(".failed.ipynb" if error else ".ipynb")
        if self.part.is_file():
            os.replace(self.part, executed)
        if error:
            return f"{error} [{executed if executed.is_file() else self.log}]"
        job.file(".failed.ipynb").unlink(missing_ok=True)
        self.log.unlink()
        record = {
            "key": job.key,
            "results_sha256": sha256_of_file(job.file(".json")),
            "figures": job.figures_since(self.started),
        }
        write_json(job.file(".done.json"), record if self.resumed else record | {"seconds": round(seconds, 1)})
        return ""


def device_of(job: Job) -> str:
    """The device that a job's dictionaries are on."""
    return str(job.parameters["device"])


def failure(job: Job, code: int, part: Path, log: Path, started: float) -> str:
    """Why the notebook is not done, in one line; empty where it wrote whole results since ``started``."""
    if code != 0:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return error_text(part) or f"papermill ended with code {code}: {lines[-1] if lines else 'the kernel died'}"
    if not job.file(".json").is_file() or job.file(".json").stat().st_mtime < started - 1:
        return "the notebook ended without writing its results"
    return job.torn()


def stop(children: Sequence[subprocess.Popen]) -> None:
    """Ends the children and all their descendants; a kernel has a session of its own, so no signal to a group does."""
    family = []
    for child in children:
        if child.poll() is None:
            parent = psutil.Process(child.pid)
            family += [*parent.children(recursive=True), parent]
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    for process in psutil.wait_procs(family, timeout=3)[1]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    for child in children:
        child.wait()


def run(jobs: Sequence[Job], fresh: bool, n_places: int = 1, lock: str = ".lock") -> int:
    """Runs what is not done, ``n_places`` at a time; gives the number of notebooks that failed.

    One at a time, they run in order, a line each. Side by side, those that take longest come first, and each has a line
    at its start and one at its end. ``lock`` is the name of the file in the results' folder that no other run may hold.
    """
    start = time.monotonic()
    width = max(len(job.name) for job in jobs)
    names = {job.name: f"[{i}/{len(jobs)}] {job.name:<{width}}" for i, job in enumerate(jobs, 1)}
    with only_writer(jobs[0].folder / lock, str(jobs[0].folder), wait=False) as held:
        done = {job.name for job in jobs if not fresh and job.is_done()}
        n_places = max(1, min(n_places, len(jobs) - len(done)))
        alone, live = n_places == 1, n_places == 1 and sys.stdout.isatty()
        # What is done only has its line; what is not known to be short counts as long.
        waiting = jobs if alone else sorted(jobs, key=lambda job: (job.name not in done, -(job.expected or math.inf)))
        waiting, running, failed = list(waiting), [], 0
        try:
            while waiting or running:
                while waiting and len(running) < n_places:
                    job = waiting.pop(0)
                    print(names[job.name], end="", flush=True)
                    if job.name in done:
                        seconds = job.done().get("seconds")
                        print(f" unchanged, skipped{f' (took {seconds:.0f} s)' if seconds else ''}")
                        continue
                    place = min(set(range(n_places)) - {one.place for one in running})
                    running.append(Running(job, held, place, n_places))
                    print("" if alone else " started\n", end="", flush=True)
                time.sleep(0.1)
                for one in [one for one in running if one.child.poll() is not None]:
                    running.remove(one)
                    error = one.finish()
                    failed += bool(error)
                    back = "\r" if live else ""
                    name = names[one.job.name] if live or not alone else ""
                    print(f"{back}{name} {one.timing}{'  FAILED: ' + error if error else ''}", flush=True)
                if live and running:
                    print(f"\r{names[running[0].job.name]} {running[0].timing}", end="", flush=True)
        finally:
            stop([one.child for one in running])
    ran = len(jobs) - len(done)
    print(f"{ran - failed} run, {len(done)} unchanged, {failed} failed in {time.monotonic() - start:.0f} s")
    return failed


def interrupt(number: int, frame: object) -> None:
    """SIGTERM ends a run as Ctrl-C does, so that no child outlives it."""
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None, notebooks: Path = NOTEBOOKS, results: Path = RESULTS) -> int:
    """The command line; gives the exit code: 0 done, 1 a notebook failed, 2 bad input, 130 interrupted."""
    parser = argparse.ArgumentParser(prog="python -m sae_utils.run.batch", description="Run the notebooks.")
    parser.add_argument("--preset", default="laptop", help="presets/<PRESET>.yaml in the notebooks' folder")
    parser.add_argument("--only", default="", help="numbers or names, separated by commas: 00,01")
    parser.add_argument("--jobs", default="", help="notebooks at once; by default one to a core or to a GPU")
    parser.add_argument("--fresh", action="store_true", help="run what is done, too")
    parser.add_argument("--dry-run", action="store_true", help="say what would run, and what that would cost")
    parser.add_argument("--throughput", default="", help="with --dry-run: a machine's speed, as a dry run prints it")
    parser.add_argument("--slurm", action="store_true", help="submit to SLURM what is not done")
    parser.add_argument("--slurm-config", default="", help="with --slurm: a YAML file of partition, account, hours ...")
    parser.add_argument("--status", action="store_true", help="with --slurm: say how far it is")
    parser.add_argument("--cancel", action="store_true", help="with --slurm: end what is queued or runs")
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
        if options.slurm:
            from sae_utils.run.cluster import slurm  # which runs this module's notebooks

            return slurm.command(options, jobs, notebooks, results)
        if options.slurm_config or options.status or options.cancel:
            raise InputError("--slurm-config, --status and --cancel go with --slurm")
        if options.dry_run:
            from sae_utils.run.costs.dry_run import describe  # torch, which a batch that has nothing to do does without

            print("\n".join(describe(jobs, options.fresh, options.throughput)))
            return 0
        devices = {device_of(job) for job in jobs}
        for device in devices:
            check_device(device)
        failed = run(jobs, options.fresh, shares.n_jobs(options.jobs, devices))
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
