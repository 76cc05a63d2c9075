"""A preset on a SLURM cluster: ``./run_all.sh --preset NAME --slurm``.

Three arrays, each after the one before it has ended well: one task makes what all read (text, caches of activations),
shards train dictionaries (``run.train``), and each notebook is a task. submitit submits them. A task whose
time is over, or whose node is wanted for something else, is queued again and goes on from its checkpoints. What is done
is known without the cluster: notebooks by their results, the rest by a mark in ``results/cache``.
"""

import argparse
import contextlib
import getpass
import io
import json
import logging
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sae_utils.errors import InputError
from sae_utils.files import only_writer, sha256_of, write_json
from sae_utils.report.claims import CLAIMS
from sae_utils.run.batch import device_of, run
from sae_utils.run.cluster.resources import read_cluster
from sae_utils.run.jobs import Job, jobs_of
from sae_utils.run.made_by import write_made_by
from sae_utils.run.notebooks import select
from sae_utils.run.pages import write_claims_page
from sae_utils.run.parameters.checks import check_device
from sae_utils.run.parameters.presets import load_preset

STAGES = ("caches", "shards", "notebooks")


@dataclass(frozen=True)
class Task:
    """One task of an array, for submitit to call. It finds out by itself what is left to do."""

    stage: str
    name: str  # 3/16 of a shard, else a notebook's
    preset: str
    only: str  # as --only
    notebooks: Path
    results: Path

    def __str__(self) -> str:
        return f"{self.stage.removesuffix('s')} {self.name}" if self.name else self.stage

    def __call__(self) -> None:
        """Raises InputError where something failed, after all the rest is done."""
        logging.basicConfig(format="%(message)s")
        logging.getLogger("sae_utils").setLevel(logging.INFO)
        logging.getLogger("submitit").propagate = False  # it prints its lines itself
        jobs = jobs_of(select(self.notebooks, self.only), load_preset(self.preset, self.notebooks), self.results)
        if self.stage == "notebooks":
            return self._notebook(jobs)
        from sae_utils.run import train  # torch, which takes seconds in which nobody hears that the time is over

        for device in {device_of(job) for job in jobs}:
            check_device(device)
        planned, cache = train.planned_of(self.preset, self.notebooks, self.only), self.results / "cache"
        if self.stage == "caches":
            train.prepare(planned, cache)
        else:
            position, n_shards = train.position_of(self.name)
            share = train.shares_of(train.pieces_of(planned), n_shards)[position]
            if train.train_share(share, planned, cache):
                raise InputError(f"{self}: not all of its stacks could be trained")
        write_json(self.mark(jobs), {"preset": self.preset, "task": str(self)})

    def _notebook(self, jobs: Sequence[Job]) -> None:
        job, folder = next(job for job in jobs if job.name == self.name), jobs[0].folder
        with only_writer(folder / ".lock", str(folder), wait=False, shared=True):
            failed = run([job], fresh=False, lock=f".{self.name}.lock")
        if not self.only:  # as after a batch; the last one sees all results
            with only_writer(folder / ".pages.lock", f"pages of {folder}"):
                write_claims_page(self.notebooks / CLAIMS.name, jobs)
                write_made_by(jobs)
        if failed:
            raise InputError(f"{self} failed")

    def checkpoint(self):
        """What submitit queues where a task's time is over: the same, for what is done is on the disk."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def mark(self, jobs: Sequence[Job]) -> Path:
        """The file that says that a task is done. Its name stands for all that the notebooks' results depend on."""
        key = sha256_of([json.dumps([self.stage, self.name, *sorted(job.key for job in jobs)])])[:32]
        return self.results / "cache" / f"task-{key}.json"

    def is_done(self, jobs: Sequence[Job]) -> bool:
        """Whether nothing of it is left to do."""
        if self.stage == "notebooks":
            return any(job.name == self.name and job.is_done() for job in jobs)
        return self.mark(jobs).is_file()


def command(options: argparse.Namespace, jobs: Sequence[Job], notebooks: Path, results: Path) -> int:
    """``--slurm`` with what goes with it; gives the exit code."""
    folder, cluster = jobs[0].folder / "slurm", read_cluster(options.slurm_config)
    sbatch = cluster.sbatch(device_of(job) for job in jobs)
    if options.fresh or options.jobs:
        raise InputError("--slurm submits what is not done, a task each: --fresh and --jobs do not go with it")
    if not options.dry_run and not shutil.which("sbatch"):
        raise InputError("--slurm: there is no sbatch here; it needs a machine that submits to SLURM")
    if options.status or options.cancel:
        return cancel(folder) if options.cancel else status(folder, jobs)
    of = options.preset, options.only, notebooks.absolute(), results.absolute()
    todo = [Task("notebooks", job.name, *of) for job in jobs if not job.is_done()]
    if not todo:
        print(f"{options.preset}: all is done")
        return 0
    from sae_utils.run import train

    planned = train.planned_of(options.preset, notebooks, options.only)
    pieces = train.pieces_of(planned)
    n_shards = min(cluster.shards, len(pieces))  # where no device tells how stacks are cut, some may have nothing to do
    before = [Task("caches", "", *of)] if pieces else []
    before += [Task("shards", f"{i}/{n_shards}", *of) for i in range(1, n_shards + 1)]
    todo = [task for task in before if not task.is_done(jobs)] + todo
    if options.dry_run:
        print("\n".join(describe(todo, planned, n_shards, sbatch, options.throughput)))
        return 0
    with only_writer(folder / ".lock", str(folder), wait=False):
        queued = set(recorded(folder)) & set(queue())
        if queued:
            raise InputError(f"{len(queued)} tasks of {options.preset} are queued; --cancel ends them")
        for stage, (first, n) in submit(todo, folder, sbatch, cluster.restarts).items():
            print(f"{stage}: {n} tasks, job {first}")
    print(f"logs are in {folder}; --status says how far it is")
    return 0


def submit(todo: Sequence[Task], folder: Path, sbatch: Mapping, restarts: int) -> dict[str, tuple[str, int]]:
    """Submits an array for each stage, each after the one before; gives the number of its job and of its tasks.

    Raises InputError where SLURM refuses one, and ends those before it.
    """
    try:
        import submitit
    except ImportError:
        raise InputError("--slurm needs submitit: .venv/bin/pip install -e '.[cluster]' -c requirements.txt") from None
    executor = submitit.SlurmExecutor(folder, max_num_timeout=restarts)
    record, arrays = {}, {}
    for stage in STAGES:
        tasks = [task for task in todo if task.stage == stage]
        if not tasks:
            continue
        after = f"afterok:{list(arrays.values())[-1][0]}" if arrays else None
        name = f"{tasks[0].preset}-{stage}"
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # what sbatch says is in the error, too
                executor.update_parameters(**sbatch, job_name=name, dependency=after)
                submitted = executor.submit_array(tasks)
        except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
            for first, _ in arrays.values():
                subprocess.run(["scancel", first], check=False)
            said = [line for line in str(error).splitlines() if line.startswith("sbatch: error")]
            raise InputError(f"SLURM refuses the {stage}: {(said or str(error).splitlines())[0]}") from None
        record |= {job.job_id: [task.stage, task.name] for job, task in zip(submitted, tasks, strict=True)}
        arrays[stage] = submitted[0].job_id.partition("_")[0], len(tasks)
        write_json(folder / "jobs.json", record)
    return arrays


def recorded(folder: Path) -> dict[str, list[str]]:
    """The stage and the name of each task that was last submitted, by its job."""
    try:
        return json.loads((folder / "jobs.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def queue() -> dict[str, str]:
    """The state of one's jobs that SLURM has not ended yet, by job, such as 12_3."""
    asked = ["squeue", "--noheader", "--array", "--format=%i %T", f"--user={getpass.getuser()}"]
    answer = subprocess.run(asked, capture_output=True, text=True)
    if answer.returncode:
        raise InputError(f"squeue says: {' '.join(answer.stderr.split())}")
    return dict(line.split() for line in answer.stdout.splitlines())


def cancel(folder: Path) -> int:
    """Ends what was submitted and has not ended."""
    queued = [job for job in recorded(folder) if job in queue()]
    subprocess.run(["scancel", *dict.fromkeys(job.partition("_")[0] for job in queued)], check=bool(queued))
    print(f"ended {len(queued)} tasks; --slurm submits what is left")
    return 0


def status(folder: Path, jobs: Sequence[Job]) -> int:
    """Prints how many tasks are in which state, and a line for each that did not end well; gives 1 if there are any."""
    record, queued = recorded(folder), queue()
    if not record:
        raise InputError(f"nothing of {jobs[0].folder.name} was submitted yet")
    of = jobs[0].folder.name, "", jobs[0].notebook.parent, jobs[0].folder.parent
    tasks = {job: Task(stage, name, *of) for job, (stage, name) in record.items()}
    states = {job: "done" for job, task in tasks.items() if task.is_done(jobs)} | queued
    states = ended([job for job in tasks if job not in states], folder) | states
    told = [states[job] for job in tasks]
    print(", ".join(f"{told.count(state)} {state}" for state in dict.fromkeys(told)))
    bad = [job for job in tasks if job not in queued and states[job] not in ("done", "COMPLETED")]
    for job in bad:
        log = folder / f"{job}_0_log.out"
        print(f"{tasks[job]} {states[job]}{f': {last_words(log)} [{log}]' if log.is_file() else ''}")
    return 1 if bad else 0


def ended(jobs: Sequence[str], folder: Path) -> dict[str, str]:
    """How jobs ended, by SLURM's accounting; where it has none, that they did."""
    import submitit

    watcher = submitit.SlurmJob.watcher
    if [submitit.SlurmJob(folder, job) for job in jobs] and shutil.which("sacct"):
        watcher.update()
    return {job: watcher.get_state(job, "cache").partition(" ")[0].replace("UNKNOWN", "ENDED") for job in jobs}


def last_words(log: Path) -> str:
    """What a log says of a failure: its last line of one, or its last."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    said = [[line for line in lines if word in line] for word in ("FAILED", "Error", "")]
    return next((some[-1] for some in said if some), "its log is empty")


def describe(todo: Sequence[Task], planned, n_shards: int, sbatch: Mapping, throughput: str) -> list[str]:
    """Tasks, hours, and with which options they would be submitted."""
    from sae_utils.run import train
    from sae_utils.run.costs.dry_run import hours, speed_of

    at = speed_of(throughput, planned)
    shares, lines, left = train.shares_of(train.pieces_of(planned, at.memory), n_shards), [], []
    for task in todo:
        if task.stage == "caches":
            time = hours(sum(train.seconds_of(planned, at).values()))
            lines.append(f"{task}: text and activations on disk, {time}")
        elif task.stage == "shards":
            left.append(shares[train.position_of(task.name)[0]])
            time = hours(sum(train.seconds_of(planned, at, left[-1]).values()))
            lines.append(f"{task}: {sum(len(piece.cells) for piece in left[-1])} stacks, {time}")
        else:
            lines.append(f"{task}: evaluation and analysis, hours unknown")
    lines += train.left_over(planned) + (train.forecast(left, planned, at)[1:] if left else [])
    stages = [stage for stage in STAGES if any(task.stage == stage for task in todo)]
    lines.append(f"submits {len(todo)} tasks, {' then '.join(stages)}; each with")
    given = {key: "; ".join(value) if isinstance(value, list) else value for key, value in sbatch.items()}
    return lines + [f"    {key}: {value}" for key, value in given.items() if value is not None]
