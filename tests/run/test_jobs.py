"""What a notebook's results depend on, and which results on disk are done."""

import json
import os
import re

import nbformat
import pytest
import yaml
from helpers.claims_made import ENTRY
from helpers.throw_away_notebooks import WRITE, fake_run, job_of, make

from sae_utils.paths import NOTEBOOKS
from sae_utils.results import write_results
from sae_utils.run import jobs
from sae_utils.run.jobs import jobs_of
from sae_utils.run.notebooks import read_cells, source
from sae_utils.run.parameters.presets import Preset, values_of


def test_key_changes_with_cells_parameters_and_sources_but_not_with_outputs(tmp_path, monkeypatch):
    notebooks = make(tmp_path, "1 + 1")
    key = job_of(notebooks, tmp_path).key
    path = notebooks / "00_language_model.ipynb"
    notebook = nbformat.read(path, 4)
    notebook.cells[2].outputs = [nbformat.v4.new_output("stream", text="2")]
    nbformat.write(notebook, path)
    assert job_of(notebooks, tmp_path).key == key
    notebook.cells.append(nbformat.v4.new_markdown_cell("prose"))
    nbformat.write(notebook, path)
    assert job_of(notebooks, tmp_path).key != key
    assert job_of(make(tmp_path, "1 + 2"), tmp_path).key != key
    assert job_of(make(tmp_path, "1 + 1", preset="common: {n_eval_rows: 5}"), tmp_path).key != key
    assert job_of(make(tmp_path, "1 + 1"), tmp_path).key == key
    monkeypatch.setattr(jobs, "PACKAGE", tmp_path / "another version")
    assert job_of(notebooks, tmp_path).key != key


def test_sources_are_code_style_bundled_models_and_claims_but_no_prose(tmp_path, monkeypatch):
    package, notebooks = tmp_path / "package", tmp_path / "notebooks"
    monkeypatch.setattr(jobs, "PACKAGE", package)
    notebooks.mkdir()
    before = {jobs.sources_digest(notebooks)}
    for name in ("a.py", "b/c.py", "report/figures/paper.mplstyle", "models/tiny/config.json"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text("1")
        before.add(jobs.sources_digest(notebooks))
    for rule in (ENTRY["rule"], {"above": 0.2}):
        (notebooks / "claims.yaml").write_text(yaml.safe_dump([ENTRY | {"rule": rule}]))
        before.add(jobs.sources_digest(notebooks))
    assert len(before) == 7
    (notebooks / "claims.yaml").write_text(yaml.safe_dump([ENTRY | {"rule": rule, "note": "prose"}]))
    (package / "models" / "tiny" / "README.md").write_text("prose")
    assert jobs.sources_digest(notebooks) in before


def test_key_changes_with_the_bytes_of_a_local_model_and_of_each_source_of_a_corpus(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    files = [tmp_path / name for name in ("model/config.json", "model/deep/weights.bin", "a.jsonl", "b.txt")]
    files[1].parent.mkdir(parents=True)
    for file in files:
        file.write_text('{"architectures": ["GPT2LMHeadModel"]}')
    notebooks = make(tmp_path, preset="common: {model: ~/model, corpus: 1 ~/a.jsonl + 2 ~/b.txt}")
    keys = [job_of(notebooks, tmp_path).key]
    for file in files:
        time = file.stat().st_mtime_ns
        file.write_text(f" {file.read_text()}")
        os.utime(file, ns=(time, time))
        keys.append(job_of(notebooks, tmp_path).key)
    assert len(set(keys)) == 5
    os.utime(files[-1])
    assert job_of(notebooks, tmp_path).key == keys[-1]


def test_key_changes_with_the_bytes_of_saes_that_are_read(tmp_path):
    path, weights = NOTEBOOKS / "01_seed_divergence.ipynb", tmp_path / "sae" / "params.npz"
    weights.parent.mkdir()
    keys = []
    for content in (b"one", b"two"):
        weights.write_bytes(content)
        values = values_of("tiny", path.stem) | {"saes": [str(weights.parent), "owner/repository/folder"]}
        preset = Preset("quick", {path.stem: values}, {})
        keys.append(jobs_of([path], preset, tmp_path)[0].key)
    assert keys[0] != keys[1]


@pytest.mark.parametrize("ending", [".json", ".npz", ".done.json"])
@pytest.mark.parametrize("damage", ["remove", "truncate"])
def test_damaged_results_are_not_done(tmp_path, ending, damage):
    job = job_of(make(tmp_path, WRITE), tmp_path)
    fake_run(job)
    assert job.is_done()
    path = job.file(ending)
    path.unlink() if damage == "remove" else path.write_bytes(path.read_bytes()[:-9])
    assert not job.is_done()


def test_published_figures_are_recorded_through_a_link_to_the_results(tmp_path, monkeypatch):
    root, disk = tmp_path / "repository", tmp_path / "disk" / "far" / "away"
    for name, value in (("PUBLISHED", {"quick": root / "figures"}), ("RESULTS", root / "results")):
        monkeypatch.setattr(f"sae_utils.results.{name}", value)
    (root / "figures").mkdir(parents=True)
    disk.mkdir(parents=True)
    (root / "results").symlink_to(disk)
    job = job_of(make(tmp_path, WRITE, 'save_figure(fig, "A1", p)'), root / "results")
    fake_run(job)
    (root / "figures" / "A1.png").touch()
    (root / "figures" / "A10.png").touch()  # of another notebook, which runs beside this one
    record = job.done() | {"figures": job.figures_since(0)}
    job.file(".done.json").write_text(json.dumps(record))
    assert record["figures"] == ["../../figures/A1.png"]
    assert job.is_done()
    (root / "figures" / "A1.png").unlink()
    assert not job.is_done()


def test_results_of_a_run_by_hand_are_not_taken_for_this_one(tmp_path):
    job = job_of(make(tmp_path, WRITE), tmp_path)
    fake_run(job)
    write_results(job.name, "quick", tmp_path, {"n_eval_rows": 99}, {}, [], {})
    assert not job.is_done()


def test_every_notebook_names_the_figures_that_it_saves():
    """Else they would not be found among those of a notebook that runs beside it."""
    for path in NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"):
        code = "\n".join(source(cell) for cell in read_cells(path) if cell["cell_type"] == "code")
        named = re.findall(r'save_figure\([^"]*(?:\([^)]*\))?[^"]*"(\w+)", p\b', code)
        assert len(named) == code.count("save_figure("), path.name
