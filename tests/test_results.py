"""Results come back as they were written; a torn pair is refused."""

from dataclasses import dataclass

import numpy as np
import pytest

from sae_utils.errors import InputError
from sae_utils.results import figures_folder, pages_folder, plain, read_results, write_results


@dataclass(frozen=True)
class Numbers:
    n: int
    share: np.float64


def write(folder, arrays=None):
    arrays = {"cosine": np.arange(5.0), "names": np.array(["a", "b"])} if arrays is None else arrays
    metrics = {"fvu": np.float32(0.25), "n": np.int64(3), "undefined": float("nan"), "inner": {"x": np.arange(2)}}
    return write_results("01_x", "tiny", folder, Numbers(3, np.float64(0.5)), metrics, [{"id": "A1"}], arrays)


def test_round_trip(tmp_path):
    path = write(tmp_path)
    assert path == tmp_path / "tiny" / "01_x.json"
    results = read_results("01_x", "tiny", tmp_path)
    assert results.parameters == {"n": 3, "share": 0.5}
    assert results.metrics == {"fvu": 0.25, "n": 3, "undefined": None, "inner": {"x": [0, 1]}}
    assert results.verdicts == [{"id": "A1"}]
    np.testing.assert_array_equal(results.arrays["cosine"], np.arange(5.0))
    assert results.arrays["names"].tolist() == ["a", "b"]
    assert results.environment["numpy"] == np.__version__
    assert sorted(file.name for file in path.parent.iterdir()) == ["01_x.json", "01_x.npz"]


def test_missing_results_say_how_to_make_them(tmp_path):
    with pytest.raises(InputError, match=r"no results of 01_x in .*: ./run_all.sh --preset tiny --only 01"):
        read_results("01_x", "tiny", tmp_path)


@pytest.mark.parametrize("ending", ["json", "npz"])
@pytest.mark.parametrize("damage", ["truncate", "flip", "empty"])
def test_damage_is_refused(tmp_path, ending, damage):
    path = write(tmp_path).with_suffix(f".{ending}")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes({"truncate": bytes(data[: len(data) // 2]), "flip": bytes(data), "empty": b""}[damage])
    with pytest.raises(InputError, match="are torn: run the notebook again"):
        read_results("01_x", "tiny", tmp_path)


def test_new_arrays_beside_an_old_json_are_torn(tmp_path):
    """What a run leaves that was killed between its two files."""
    old = write(tmp_path).read_bytes()
    path = write(tmp_path, {"cosine": np.ones(3)})
    path.write_bytes(old)
    with pytest.raises(InputError, match="torn"):
        read_results("01_x", "tiny", tmp_path)


def test_objects_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(InputError, match="array 'bad' holds objects"):
        write(tmp_path, {"bad": np.array([{}])})
    assert not (tmp_path / "tiny").exists()


def test_plain_keeps_booleans_and_turns_the_rest_into_text(tmp_path):
    assert plain([np.bool_(True), False, None, (1, 2), tmp_path]) == [True, False, None, [1, 2], str(tmp_path)]


def test_only_the_repository_s_own_laptop_results_are_published(tmp_path, monkeypatch):
    figures, results = tmp_path / "figures", tmp_path / "results"
    monkeypatch.setattr("sae_utils.results.PUBLISHED", {"laptop": figures})
    monkeypatch.setattr("sae_utils.results.RESULTS", results)
    for published in ("", results):
        assert pages_folder("laptop", published) == figures_folder("laptop", published) == figures
    for preset, folder in (("tiny", ""), ("tiny", results), ("laptop", tmp_path / "own")):
        beside = (folder or results) / preset
        assert (pages_folder(preset, folder), figures_folder(preset, folder)) == (beside, beside / "figures")
