"""A SLURM of one node on this machine, with its accounting, from Debian's packages: for tests/cluster.

All state is in one folder, that of the daemons' keys and databases too. Nothing in /etc is read or written.
"""

import os
import platform
import shutil
import subprocess
import time
from pathlib import Path

PACKAGES = ("slurm-wlm", "slurmdbd", "munge", "mariadb-server-core")
PORTS = {"ctld": 17817, "slurmd": 17818, "dbd": 17819, "database": 17820}
SLURM = """\
ClusterName=onenode
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld}
SlurmdPort={slurmd}
SlurmUser=root
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=1
KillWait=2
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={dbd}
AccountingStoragePass={folder}/munge.socket
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory={memory}
PartitionName=all Nodes=ALL Default=YES
"""
DATABASE = """\
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={dbd}
SlurmUser=root
AuthInfo=socket={folder}/munge.socket
PidFile={folder}/slurmdbd.pid
LogFile={folder}/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database}
StorageUser=root
StorageLoc=slurm
"""


def install() -> None:
    """Needs root and apt."""
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}  # no service is started
    for arguments in (("update",), ("install", "-y", "--no-install-recommends", *PACKAGES)):
        subprocess.run(["apt-get", "-qq", *arguments], check=True, env=quiet, stdout=subprocess.DEVNULL)


class OneNode:
    """The daemons; between ``start`` and ``stop`` SLURM's commands find them by SLURM_CONF."""

    def __init__(self, folder: Path):
        self.folder, self.running = folder, []

    def start(self) -> None:
        """Returns when the node takes jobs."""
        folder, host = self.folder, platform.node().partition(".")[0]
        memory = int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20 * 0.9)
        values = PORTS | {"host": host, "folder": folder, "memory": memory, "cores": os.cpu_count()}
        for name in ("state", "spool", "database"):
            (folder / name).mkdir(parents=True)
        folder.chmod(0o755)
        (folder / "munge.key").write_bytes(os.urandom(1024))
        (folder / "slurm.conf").write_text(SLURM.format(**values))
        (folder / "slurmdbd.conf").write_text(DATABASE.format(**values))
        for secret in ("munge.key", "slurmdbd.conf"):
            (folder / secret).chmod(0o600)
        os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
        kinds = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        files = [f"--{option}={folder}/munge.{ending}" for option, ending in kinds.items()]
        self._run("munged", "--foreground", "--force", *files)
        # An empty folder will do for a database that asks nobody who he is.
        network = ["--bind-address=127.0.0.1", f"--port={PORTS['database']}", f"--socket={folder}/database.socket"]
        mine = ["--no-defaults", "--user=root", f"--datadir={folder}/database", "--skip-grant-tables"]
        self._run("mariadbd", *mine, *network)
        self._until("bash", "-c", f"</dev/tcp/127.0.0.1/{PORTS['database']}")
        self._run("slurmdbd", "-D")
        self._until("timeout", "5", "sacctmgr", "-n", "list", "cluster")
        subprocess.run(["sacctmgr", "-iQ", "add", "cluster", "onenode"], check=True, stdout=subprocess.DEVNULL)
        self._run("slurmctld", "-D")
        self._until("scontrol", "ping")
        self._run("slurmd", "-D")
        self._until("srun", "--immediate=5", "true")

    def stop(self) -> None:
        """The last one started first."""
        for daemon in reversed(self.running):
            daemon.terminate()
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()

    def _run(self, *command: str) -> None:
        with (self.folder / f"{command[0]}.out").open("wb") as log:
            self.running.append(subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True))

    def _until(self, *command: str) -> None:
        """Waits until a command succeeds; half a minute means that it never does."""
        for _ in range(60):
            said = subprocess.run(command, capture_output=True, text=True)
            if said.returncode == 0:
                return
            time.sleep(0.5)
        raise RuntimeError(f"{' '.join(command)}: {said.stdout}{said.stderr}")


def is_there() -> bool:
    """Whether the packages are installed."""
    return all(shutil.which(name) for name in ("slurmctld", "slurmd", "slurmdbd", "munged", "mariadbd"))
