"""Tasks of a SLURM array that write down what they train, and stop after a checkpoint where a test says so."""

import os
import time

from sae_utils.run.cluster.slurm import Task


class Watched(Task):
    """Adds a line to ``trained.log`` for each pass: from which step, and the stacks' keys.

    Where there is a file ``hold``, the first task that has written the checkpoint of step 1000 takes it away, leaves
    its process id in ``held``, and goes on no more.
    """

    def __call__(self) -> None:
        if self.stage == "shards":
            self.watch()
        super().__call__()

    def watch(self) -> None:
        from sae_utils.saes.training import store, training

        train, step, write = store.train, training.StackTrainer.step, training.write_tensors
        keys: list[str] = []

        def train_watched(stacks, source, config, *rest):
            keys[:] = [store.stack_key(sae, source, config) for sae in stacks]
            return train(stacks, source, config, *rest)

        def step_watched(trainer, n, x):
            if keys:
                with (self.results / "trained.log").open("a") as log:
                    log.write(f"{n} {' '.join(keys)}\n")
                keys.clear()
            step(trainer, n, x)

        def write_watched(path, kind, tensors, about):
            write(path, kind, tensors, about)
            if about["step"] == 1000 and (self.results / "hold").exists():
                (self.results / "hold").unlink()
                (self.results / "held").write_text(str(os.getpid()))
                while True:
                    time.sleep(1)

        store.train, training.StackTrainer.step, training.write_tensors = train_watched, step_watched, write_watched
