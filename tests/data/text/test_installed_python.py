"""The corpus of installed sources: fixed order, one digest, near-duplicates on one side of the split."""

import hashlib
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from sae_utils.data.text import documents, installed_python
from sae_utils.data.text.installed_python import (
    SourceFile,
    digest,
    installed_files,
    manifest,
    near_duplicate_groups,
    split,
)
from sae_utils.errors import InputError


def source(seed: int, n_lines: int = 40) -> list[str]:
    rng = np.random.default_rng(seed)
    return [f"value_{rng.integers(1e9)} = compute({rng.integers(1e9)})" for _ in range(n_lines)]


@pytest.fixture(scope="module")
def installed():
    return installed_python.read_installed()


@pytest.fixture(scope="module")
def held_out(installed):
    return split(installed)


def test_the_installed_corpus_is_that_of_the_bundled_model(installed):
    assert digest(installed) == manifest()["sha256"] == installed_python.installed_sha256()
    assert len(installed) == manifest()["files"]
    assert {file.path for file in installed_files("held_out")} == set(manifest()["held_out"])


def test_the_split_is_that_of_the_manifest_and_a_tenth_of_the_bytes(installed, held_out):
    assert [f.path for f, out in zip(installed, held_out, strict=True) if out] == manifest()["held_out"]
    size = np.array([len(f.text.encode()) for f in installed])
    assert size[held_out].sum() / size.sum() == pytest.approx(0.1, abs=0.002)


def test_no_held_out_file_shares_half_its_rare_lines_with_a_training_file(installed, held_out):
    """Brute force over the lines, on every fortieth held-out file."""
    lines = [{s.strip() for s in f.text.splitlines() if len(s.strip()) >= 12} for f in installed]
    count = Counter(line for distinct in lines for line in distinct)
    rare = [{line for line in distinct if count[line] <= 100} for distinct in lines]
    training = [r for r, out in zip(rare, held_out, strict=True) if not out]
    checked = [r for r, out in zip(rare, held_out, strict=True) if out][::40]
    assert len(checked) > 10
    for mine in checked:
        worst = max((len(mine & other) / max(1, min(len(mine), len(other))) for other in training), default=0)
        assert worst < 0.5


def test_copies_edited_copies_and_chains_share_a_group():
    a, b, other = source(0), source(1), source(2)
    half_and_half = a[:25] + b[:25]  # more than half of each of them
    texts = ["\n".join(t) for t in (a, [*a[:-2], "something_else = 1234"], b, half_and_half, other)]
    groups = near_duplicate_groups(texts)
    assert len(set(groups[:4])) == 1
    assert groups[4] != groups[0]


def test_a_licence_header_makes_no_duplicates():
    header = [f"# Licensed under condition {i} of the licence" for i in range(60)]
    texts = ["\n".join(header + source(seed)) for seed in range(150)]
    assert len(set(near_duplicate_groups(texts))) == 150


@pytest.fixture
def read_anew():
    """No files are remembered, before the test and after it."""
    installed_python._read_checked.cache_clear()
    yield
    installed_python._read_checked.cache_clear()


def test_files_are_split_by_the_manifest(monkeypatch, read_anew):
    files = [SourceFile(f"p/m{i}.py", "\n".join(source(i))) for i in range(60)]
    held_out, rest = files[::7], [file for i, file in enumerate(files) if i % 7]
    about = {"sha256": digest(files), "held_out": [file.path for file in held_out], "packages": {}}
    monkeypatch.setattr(installed_python, "read_installed", lambda: files)
    monkeypatch.setattr(installed_python, "manifest", lambda: about)
    for side, expected in {"held_out": held_out, "train": rest}.items():
        by_hash = sorted(expected, key=lambda file: hashlib.sha256(file.path.encode()).digest())
        assert installed_files(side) == by_hash != expected
        assert list(documents("installed-python", side)) == [file.text for file in by_hash]


def test_changed_text_is_said_in_one_line(monkeypatch, caplog, read_anew):
    monkeypatch.setattr(installed_python, "read_installed", lambda: [SourceFile("a.py", "x = 1\n")])
    installed_files("train")
    assert len(caplog.messages) == 1 and "are not those of pycode-2m (scipy" in caplog.messages[0]


def test_digest_depends_on_paths_order_and_text():
    files = [SourceFile("a.py", "x = 1\n"), SourceFile("b.py", "y = 2\n")]
    variants = [files, files[::-1], [replace(files[0], path="c.py"), files[1]], [replace(files[0], text="x"), files[1]]]
    assert len({digest(v) for v in variants}) == 4


def test_a_missing_package_is_refused_in_one_line():
    with pytest.raises(InputError, match="no-such-package"):
        installed_python.read_installed(["no-such-package"])
