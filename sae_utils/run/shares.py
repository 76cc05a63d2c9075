"""What each of several processes side by side gets of this machine: cores, and a GPU where there are several."""

import os
from collections.abc import Iterable

import psutil

from sae_utils.errors import InputError
from sae_utils.run.parameters.checks import n_cuda_devices

MEMORY = 2e9  # bytes that a notebook takes with the presets for a CPU; half of it is Python, torch and the model
THREADS = tuple(f"{of}_NUM_THREADS" for of in ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "RAYON"))  # tokenizers: RAYON


def cores() -> int:
    """Those that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> list[str]:
    """As CUDA_VISIBLE_DEVICES names them."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [name for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if name.strip()]
    return [str(i) for i in range(n_cuda_devices())]


def n_jobs(asked: str, devices: Iterable[str]) -> int:
    """How many notebooks run at once: as many as are asked for, else one to a core that has memory, or one to a GPU.

    Raises InputError where what is asked for is no number from 1.
    """
    if asked:
        if not asked.isdecimal() or not int(asked):
            raise InputError(f"--jobs {asked}: it must be a whole number from 1")
        return int(asked)
    if any(device != "cpu" for device in devices):
        return max(1, len(gpus())) if all(device in ("cpu", "cuda") for device in devices) else 1
    return max(1, min(cores(), int(psutil.virtual_memory().available / MEMORY)))


def environment(place: int, n_places: int, device: str) -> dict[str, str]:
    """Of the process in one of ``n_places``: its share of the cores, and a GPU where ``device`` names none.

    One process alone gets all. A number of threads that is set already stays.
    """
    if n_places == 1:
        return dict(os.environ)
    threads = str(max(1, cores() // n_places))
    own = dict.fromkeys(THREADS, threads) | dict(os.environ)
    if device == "cuda":
        there = gpus()
        own["CUDA_VISIBLE_DEVICES"] = there[place % len(there)]
    return own
