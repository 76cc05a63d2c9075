"""README.md: its Python runs as written, its links and files exist, its dependency table is that of pyproject.toml."""

import re
import subprocess
import sys
import tomllib

import pytest

from sae_utils.paths import NOTEBOOKS, ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_block_runs_as_written(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    values = re.findall(r"\d\.\d+", done.stdout)
    assert done.stdout.startswith("explained variance of both seeds:") and len(values) == 2
    assert all(0 < float(value) < 1 for value in values)


def test_dependencies_are_those_of_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = [re.split(r"[=<>]", dependency)[0] for dependency in project["dependencies"]]
    table = README.split("## Dependencies")[1].split("\n## ")[0]
    rows = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")]
    assert rows[0] == "package" and sorted(rows[1:]) == sorted(names)
    for extra in project["optional-dependencies"].values():
        for dependency in extra:
            assert re.search(rf"\b{re.split(r'[=<>]', dependency)[0]}\b", table)


@pytest.mark.parametrize("page", ["README.md", "notebooks/presets/README.md", "benchmarks/README.md"])
def test_links_point_to_files(page):
    path = ROOT / page
    links = re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (path.parent / link).exists()]
    assert not missing


def test_every_notebook_is_in_the_table():
    for notebook in NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"):
        assert f"| [{notebook.stem}](notebooks/{notebook.name}) |" in README


def test_every_benchmark_is_in_the_table():
    table = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    for script in (ROOT / "benchmarks").glob("*.py"):
        assert f"`{script.name}`" in table
