"""Pages: their Python runs as written, links and files exist, the table of dependencies is pyproject's."""

import re
import subprocess
import sys
import tomllib
from collections import Counter, defaultdict

import pytest

from sae_utils.paths import NOTEBOOKS, ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
RUNNING = (ROOT / "RUNNING.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_the_python_block_runs_as_written(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", RUNNING, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    values = re.findall(r"\d\.\d+", done.stdout)
    assert done.stdout.startswith("explained variance of both seeds:") and len(values) == 2
    assert all(0 < float(value) < 1 for value in values)


def test_dependencies_are_those_of_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = [re.split(r"[=<>]", dependency)[0] for dependency in project["dependencies"]]
    table = CONTRIBUTING.split("## Dependencies")[1]
    rows = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")]
    assert rows[0] == "package" and sorted(rows[1:]) == sorted(names)
    for extra in project["optional-dependencies"].values():
        for dependency in extra:
            assert re.search(rf"\b{re.split(r'[=<>]', dependency)[0]}\b", table)


PAGES = [
    *("README.md", "RUNNING.md", "CONTRIBUTING.md", "FINDINGS.md"),
    *("notebooks/PAPERS.md", "notebooks/presets/README.md", "benchmarks/README.md", "benchmarks/SCALE.md"),
]


@pytest.mark.parametrize("page", PAGES)
def test_links_point_to_files(page):
    path = ROOT / page
    links = re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (path.parent / link).exists()]
    assert not missing


def test_every_notebook_is_in_the_table():
    for notebook in NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"):
        assert f"| [{notebook.stem}](notebooks/{notebook.name}) |" in README


def test_the_verdicts_counted_in_the_readme_are_those_of_the_page():
    page = (ROOT / "figures" / "claims.md").read_text(encoding="utf-8")
    found = defaultdict(Counter)
    head = []
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if cells[0].strip() == "claim":
            head = [cell.strip() for cell in cells]
        elif head and re.match(r"\| [A-E]-\d+ \|", line):
            row = dict(zip(head, cells, strict=True))
            for model in ("verdict", "smollm2-135m"):
                word = row[model].rpartition(": ")[2].removesuffix(" at this scale")
                found[row["notebook"].partition("]")[0].strip("[ ")][model, word] += 1
    for notebook, counts in found.items():
        if notebook:
            (line,) = [line for line in README.splitlines() if line.startswith(f"| [{notebook}]")]
            shown = [cell.strip() for cell in line.split("|")[-3:-1]]
            for model, cell in zip(("verdict", "smollm2-135m"), shown, strict=True):
                expected = [counts[model, word] for word in ("holds", "does not hold", "undecided")]
                assert cell == (" / ".join(map(str, expected)) if any(expected) else ""), f"{notebook}, {model}"


def test_every_benchmark_is_in_the_table():
    table = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    for script in (ROOT / "benchmarks").glob("*.py"):
        assert f"`{script.name}`" in table


def test_every_section_of_papers_that_is_cited_exists():
    sections = set(
        re.findall(r"^##+ ([A-E](?:\.\d)?)\.? ", (NOTEBOOKS / "PAPERS.md").read_text(encoding="utf-8"), re.M)
    )
    files = [*ROOT.glob("sae_utils/**/*.py"), *ROOT.glob("tests/**/*.py"), *NOTEBOOKS.glob("**/*.yaml")]
    cited = set()
    for file in files:
        for run in re.findall(r"PAPERS\.md\W+((?:[A-E](?:\.\d)?(?:, | and )?)+)", file.read_text(encoding="utf-8")):
            cited |= set(re.findall(r"[A-E](?:\.\d)?", run))
    assert len(cited) > 8 and cited <= sections


def test_every_room_is_in_the_layout():
    layout = CONTRIBUTING.split("## Layout")[1].split("```")[1]
    rooms = {path.parent.name for path in (ROOT / "sae_utils").glob("**/__init__.py")} - {"sae_utils"}
    assert {room for room in rooms if f"{room}/" not in layout} == set()
