"""What a task on a SLURM cluster is given, read from a small YAML file and checked before anything is submitted."""

import math
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sae_utils.errors import InputError
from sae_utils.run.parameters.checks import in_one_line, read_map
from sae_utils.run.shares import THREADS

WARNING = 60  # seconds before its time is over that a task is told; SLURM may be half a minute early
CONFIG = Path("~/.config/sae_utils/slurm.yaml")


class Cluster(BaseModel):
    """What one task is given, and how many tasks there are."""

    model_config = ConfigDict(strict=True, frozen=True)
    partition: str = ""  # the cluster's own, as the account
    account: str = ""
    hours: float = Field(24.0, ge=0.02, le=8760)  # of one task, until it is queued again
    memory_gb: int = Field(32, ge=1, le=100_000)
    cpus: int = Field(4, ge=1, le=1024)
    gpus: int = Field(1, ge=0, le=64)  # none where the preset trains on the CPU
    shards: int = Field(8, ge=1, le=1000)
    at_once: int = Field(1000, ge=1, le=1000)  # tasks of an array
    restarts: int = Field(100, ge=0, le=1000)  # of a task whose time was over
    setup: list[str] = []  # shell lines before each task, such as module load cuda
    options: dict[str, str | int | bool] = {}  # any others of sbatch: {qos: high, constraint: a100}

    def sbatch(self, devices: Iterable[str]) -> dict[str, object]:
        """The options of a task that trains on these devices, as submitit names them.

        Raises InputError where it has no GPU, or not the one that a device names.
        """
        wanted = sorted(set(devices) - {"cpu"})
        for device in wanted:
            if int(device.partition(":")[2] or 0) >= self.gpus:
                raise InputError(f"the preset trains on {device}, and a task has gpus: {self.gpus}")
        # Numbers depend on the threads, and a step of srun has one core unless it asks for more (SLURM 22.05 to 23.11).
        others = {key: value for key, value in self.options.items() if value is not False}
        threads = " ".join(f"{name}={self.cpus}" for name in THREADS)
        return {
            "partition": self.partition or None,
            "account": self.account or None,
            "time": math.ceil(60 * self.hours),
            "mem": f"{self.memory_gb}GB",
            "cpus_per_task": self.cpus,
            "gpus_per_node": self.gpus if wanted else None,
            "array_parallelism": self.at_once,
            "signal_delay_s": WARNING,
            "setup": [f"export {threads}", *self.setup],
            "srun_args": [f"--cpus-per-task={self.cpus}"],
            "stderr_to_stdout": True,
            "wckey": None,
            "additional_parameters": {"requeue": True, "kill-on-invalid-dep": "yes"} | others,
        }


def read_cluster(given: str) -> Cluster:
    """The cluster of a YAML file, by default CONFIG, where it is there. Raises InputError for anything else in it."""
    path = Path(given or CONFIG).expanduser()
    if not path.is_file():
        if given:
            raise InputError(f"--slurm-config {path}: there is no such file")
        return Cluster()
    try:
        return Cluster(**read_map(path, Cluster.model_fields))
    except ValidationError as error:
        raise InputError(f"{path}: {in_one_line(error, Cluster)}") from None
