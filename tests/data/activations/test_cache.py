"""The disk cache: the same batches as the stream, nothing torn read after a kill, damage and mix-ups refused."""

import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.places import importing
from helpers.tiny_language_model import TableModel, make_tiny

from sae_utils.data.activations import ActivationCache, ActivationStream, build_cache
from sae_utils.data.models.language_model import load_language_model
from sae_utils.errors import InputError
from sae_utils.memory import human

OVERFLOWING = TableModel(change=lambda tokens, x: 1e6 * x)
HOOKS = ("blocks.0.hook_mlp_out", "blocks.1.hook_resid_post")
PER_SHARD = 8

# Renames: 1 manifest, 2 rows, then per shard two files and an entry; the last is the normalisation.
KILLED_AT = (1, 2, 4, 5, 6, 15)
# Forks once for each of KILLED_AT. The fork dies by SIGKILL in place of the rename of that number: the .part beside its
# place is all that is left of the file.
KILLED_CHILD = """
import os, signal, sys
import numpy as np
from helpers.tiny_language_model import TableModel
from sae_utils.data.activations import build_cache

saved, folder, killed_at, *hooks = sys.argv[1:]
renames, rename = 0, os.replace
def replace(source, target):
    global renames
    renames += 1
    if renames == last:
        os.kill(os.getpid(), signal.SIGKILL)
    rename(source, target)

os.replace = replace
for last in map(int, killed_at.split()):
    fork = os.fork()
    if not fork:
        build_cache(f"{folder}/{last}", TableModel(), np.load(saved), hooks, rows_per_shard=8, progress=False)
        os._exit(0)
    assert os.waitpid(fork, 0)[1] == signal.SIGKILL
"""


# Builds a cache through its public face as soon as the file argv[2] is there, and says what it is made of.
BUILDING_CHILD = """
import sys, time
from pathlib import Path
import numpy as np
import torch
from helpers.tiny_language_model import TableModel
from sae_utils.data.activations import open_source

start, folder, scale, *hooks = sys.argv[2:]
model = TableModel(change=lambda tokens, x: float(scale) * x)
print("ready", flush=True)
for i in range(3):
    while not Path(start + str(i)).exists():
        time.sleep(0.001)
    source = open_source(model, np.load(sys.argv[1]), hooks, Path(folder) / str(i))
    batch = next(source.batches(64, data_seed=1))
    scales = [source.normalisation[hook].scale for hook in hooks]
    print(source.folder.name, source.content, scales, [x.sum().item() for x in batch.values()], flush=True)
"""


@pytest.fixture(scope="module")
def model():
    return TableModel()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return load_language_model(make_tiny(tmp_path_factory.mktemp("tiny"), n_layers=2))


@pytest.fixture(scope="module")
def rows(model):
    return np.random.default_rng(0).integers(0, model.n_vocab, (30, 16)).astype(np.uint16)


@pytest.fixture
def cache(model, rows, tmp_path):
    return build(tmp_path / "cache", model, rows)


def build(folder, model, rows, **options):
    options = {"hook_points": HOOKS, "rows_per_shard": PER_SHARD, "progress": False, **options}
    return build_cache(folder, model, rows, **options)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def all_batches(source, n=20):
    batches = source.batches(64, data_seed=1, first_batch=3)
    return [next(batches) for _ in range(n)]


@pytest.mark.parametrize(("dtype", "rtol"), [("float32", 0), ("float16", 2**-11), ("bfloat16", 2**-8)])
def test_cache_and_stream_give_the_same_batches(tiny, rows, tmp_path, dtype, rtol):
    cache = build(tmp_path / "cache", tiny, rows, dtype=dtype, block_rows=7)
    stream = ActivationStream(tiny, rows, HOOKS, block_rows=7)
    assert (cache.n_tokens, cache.d_in, cache.hook_points) == (stream.n_tokens, stream.d_in, stream.hook_points)
    for cached, live in zip(all_batches(cache), all_batches(stream), strict=True):
        for name in HOOKS:
            assert cached[name].dtype == torch.float32
            torch.testing.assert_close(cached[name], live[name], rtol=rtol, atol=1e-6 if rtol else 0)
    for name in HOOKS:
        assert cache.normalisation[name].scale == pytest.approx(stream.normalisation[name].scale, rel=max(rtol, 1e-6))


def test_reopened_cache_is_the_same_and_is_not_built_again(cache, model, rows):
    again = ActivationCache(cache.folder)
    assert again.normalisation[HOOKS[0]].scale == cache.normalisation[HOOKS[0]].scale
    before = {file.name: file.stat().st_mtime_ns for file in cache.folder.iterdir()}
    build(cache.folder, model, rows)
    assert before == {file.name: file.stat().st_mtime_ns for file in cache.folder.iterdir()}
    for one, other in zip(all_batches(cache), all_batches(again), strict=True):
        assert all(torch.equal(one[name], other[name]) for name in HOOKS)


def test_reading_does_not_write_through_to_the_disk(cache):
    before = contents(cache.folder)
    for batch in all_batches(cache, 3):
        for x in batch.values():
            x.zero_()
    assert contents(cache.folder) == before


@pytest.fixture(scope="module")
def killed(rows, tmp_path_factory):
    """A folder with what a build that was killed left, by KILLED_AT."""
    folder = tmp_path_factory.mktemp("killed")
    np.save(folder / "rows.npy", rows)
    command = [sys.executable, "-c", KILLED_CHILD, folder / "rows.npy", folder, " ".join(map(str, KILLED_AT)), *HOOKS]
    child = subprocess.run(command, env=importing(), capture_output=True, text=True)
    assert child.returncode == 0, child.stderr
    return folder


@pytest.mark.parametrize("killed_at", KILLED_AT)
def test_killed_build_goes_on_to_the_same_bytes(cache, model, rows, killed, killed_at):
    torn = killed / str(killed_at)
    assert any(file.suffix == ".part" for file in torn.iterdir())
    whole = contents(cache.folder)
    left = {name: body for name, body in contents(torn).items() if not name.endswith(".part")}
    assert len(left) == killed_at - 1 and all(whole[name] == body for name, body in left.items())
    with pytest.raises(InputError, match="is not an activation cache|is unfinished"):
        _ = ActivationCache(torn).normalisation
    build(torn, model, rows)
    assert contents(torn) == whole


def test_processes_that_build_one_cache_at_once_end_with_it_whole(rows, tmp_path):
    """Three rounds of three processes that begin together, float16's cache being thrown away: 1e6 is beyond it."""
    saved, rows = tmp_path / "rows.npy", np.tile(rows, (40, 1))
    np.save(saved, rows)
    command = [sys.executable, "-c", BUILDING_CHILD, saved, tmp_path / "start", tmp_path, "1e6", *HOOKS]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    children = [subprocess.Popen(command, env=importing(), **pipes) for _ in range(3)]
    assert [child.stdout.readline() for child in children] == ["ready\n"] * 3
    said = []
    for i in range(3):
        (tmp_path / f"start{i}").touch()
        said.append([child.stdout.readline() for child in children])
    errors = [child.communicate()[1] for child in children]
    assert [child.returncode for child in children] == [0, 0, 0], errors
    assert any("another process is writing activation cache" in error for error in errors)
    assert len({line for lines in said for line in lines}) == 1, "the same cache, content and numbers"
    alone = build(tmp_path / "alone", OVERFLOWING, rows, dtype="bfloat16", rows_per_shard=256)
    for i in range(3):
        (folder,) = (tmp_path / str(i)).glob("activations-*")
        assert contents(folder) == contents(alone.folder)


def flipped(body):
    return bytes([*body[:100], body[100] ^ 1, *body[101:]])


SHARD, NORMALISATION = f"shard-00002.{HOOKS[1]}.bin", "normalisation.safetensors"


@pytest.mark.parametrize(
    ("file", "damage", "said"),
    [
        (SHARD, flipped, rf"shard-00002\.{HOOKS[1]}\.bin is damaged"),
        (SHARD, lambda body: body[:-64], "is damaged"),
        (SHARD, lambda body: b"abc", "is damaged"),
        (SHARD, lambda body: b"", "shard 2 is missing or cut short"),
        ("shard-00001.json", None, "shard 1 is missing"),
        ("shard-00001.json", lambda body: body[:-9], "shard 1 is missing or cut short"),
        (NORMALISATION, lambda body: body[:-1] + bytes([body[-1] ^ 1]), "is damaged"),
        (NORMALISATION, lambda body: body[:-5], "is cut short"),
        (NORMALISATION, lambda body: b"", "is cut short"),
        (NORMALISATION, None, "is unfinished"),
        ("manifest.json", None, "is not an activation cache"),
        ("rows.npy", flipped, "is not an activation cache"),  # of the header
        ("rows.npy", lambda body: flipped(body[::-1])[::-1], r"its rows\.npy was changed"),
    ],
)
def test_damage_is_refused_in_one_line(cache, file, damage, said):
    path = cache.folder / file
    body = path.read_bytes()
    path.unlink()
    if damage is not None:
        path.write_bytes(damage(body))
    with pytest.raises(InputError, match=said):
        again = ActivationCache(cache.folder)
        all_batches(again)
        _ = again.normalisation


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": TableModel(seed=1)}, "its weights_sha256 is"),
        ({"rows": np.ones((30, 16), dtype=np.uint16)}, "its rows_sha256 is"),
        ({"hook_points": HOOKS[:1]}, "its d_in is"),
        ({"dtype": torch.float32}, "its dtype is float16, not float32"),
        ({"rows_per_shard": 5}, f"its rows_per_shard is {PER_SHARD}, not 5"),
    ],
)
def test_a_cache_of_something_else_is_refused(cache, model, rows, change, said):
    before = contents(cache.folder)
    with pytest.raises(InputError, match=f"is another one: {said}"):
        build(cache.folder, **{"model": model, "rows": rows, **change})
    assert contents(cache.folder) == before


def test_a_folder_with_other_files_is_refused(model, rows, tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(InputError, match="holds files but no activation cache"):
        build(tmp_path, model, rows)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]


def test_full_disk_is_refused_before_the_start(model, rows, tmp_path, monkeypatch):
    need = 4 * PER_SHARD * 16 * 2 * 2 * 16  # rows of whole shards, positions, hook points, bytes, widths
    for free, fits in ((need, False), (2 * need, True)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: SimpleNamespace(free=free))
        if fits:
            build(tmp_path / "new" / "cache", model, rows)
        else:
            with pytest.raises(InputError, match=f"needs {human(need)} and the disk has {human(free)} free"):
                build(tmp_path / "new" / "cache", model, rows)
            assert not (tmp_path / "new").exists()


def test_activations_that_are_not_finite_in_the_dtype_are_refused(rows, tmp_path):
    with pytest.raises(InputError, match="beyond torch.float16; use dtype='bfloat16' or 'float32'"):
        build(tmp_path / "cache", OVERFLOWING, rows)
    assert np.isfinite(build(tmp_path / "other", OVERFLOWING, rows, dtype="bfloat16").normalisation[HOOKS[0]].scale)
    nan = TableModel(change=lambda tokens, x: torch.full_like(x, torch.nan))
    with pytest.raises(InputError, match="not finite in torch.float32: the model itself gives inf or nan"):
        build(tmp_path / "nan", nan, rows)
