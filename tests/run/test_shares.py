"""What processes side by side get of a machine that a test makes up."""

from types import SimpleNamespace

import pytest

from sae_utils.errors import InputError
from sae_utils.run import shares


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """Eight cores, 7 GB, two GPUs."""
    monkeypatch.setattr(shares, "cores", lambda: 8)
    monkeypatch.setattr(shares.psutil, "virtual_memory", lambda: SimpleNamespace(available=7e9))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    for name in shares.THREADS:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("asked", "devices", "expected"),
    [("", {"cpu"}, 3), ("", {"cpu", "cuda"}, 2), ("", {"cuda:1"}, 1), ("5", {"cpu"}, 5), ("5", {"cuda"}, 5)],
)
def test_by_default_as_many_as_memory_or_gpus(asked, devices, expected):
    assert shares.n_jobs(asked, devices) == expected


def test_one_job_on_a_small_machine(monkeypatch):
    monkeypatch.setattr(shares.psutil, "virtual_memory", lambda: SimpleNamespace(available=1e9))
    assert shares.n_jobs("", {"cpu"}) == 1


@pytest.mark.parametrize("asked", ["0", "-1", "two", "1.5"])
def test_what_is_no_number_of_jobs_is_refused(asked):
    with pytest.raises(InputError, match=f"--jobs {asked}: it must be a whole number from 1"):
        shares.n_jobs(asked, {"cpu"})


def test_each_has_its_share_of_cores_and_a_gpu(monkeypatch):
    made = [shares.environment(place, 3, "cuda") for place in range(3)]
    assert [one["CUDA_VISIBLE_DEVICES"] for one in made] == ["3", "5", "3"]
    assert {one[name] for one in made for name in shares.THREADS} == {"2"}
    assert shares.environment(1, 3, "cuda:1")["CUDA_VISIBLE_DEVICES"] == "3,5"
    assert "OMP_NUM_THREADS" not in shares.environment(0, 1, "cpu")
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert shares.environment(0, 3, "cpu")["OMP_NUM_THREADS"] == "4"
