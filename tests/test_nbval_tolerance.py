"""The nbval plugin in conftest.py: what it lets pass, what it stops, and that nbval still calls it."""

import os
import re
import subprocess
import sys

import nbformat
import pytest

from conftest import COUNTS_VARY, ELSEWHERE, close
from sae_utils.paths import NOTEBOOKS, ROOT


@pytest.mark.parametrize(
    ("stored", "new"),
    [
        ("FVU 0.1234", "FVU 0.1235"),
        ("loss -3.50 nats", "loss  -3.52 nats"),
        ("share 0.001", "share 0.003"),
        ("1,024,000 tokens", "1,024,000 tokens"),
        ("2,238,464 parameters", "2238464 parameters"),
        ("1,024.0 tokens", "1,025.0 tokens"),
        ("1.0e-4", "1.01e-4"),
        ("nan", "nan"),
        ("blocks.3.hook_mlp_out k=16 (95 % [0.41, 0.45])", "blocks.3.hook_mlp_out k=16 (95 % [0.412, 0.45])"),
        ("array([0.5, 0.6])", "array([0.501,\n       0.6])"),
    ],
)
def test_close(stored, new):
    assert close(stored, new)


@pytest.mark.parametrize(
    ("stored", "new"),
    [
        ("FVU 0.12", "FVU 0.14"),
        ("FVU 0.12", "L0 0.12"),
        ("2 of 3", "2"),
        ("2 seeds", "3 seeds"),
        ("2,242,560 parameters", "2,238,464 parameters"),
        ("-512", "512"),
        ("seed 0  0.5", "seed 1  0.5"),
        ("0.5", "-0.5"),
        ("0.5", "nan"),
        ("nan", "0.5"),
        ("1,024", "1,124"),
        ("1.0e-1", "1.0e-2"),
        ("inf", "-inf"),
        ("blocks.3.hook_mlp_out", "blocks.4.hook_mlp_out"),
        ("pycode-2m", "pycode-3m"),
    ],
)
def test_not_close(stored, new):
    assert not close(stored, new)


@pytest.mark.parametrize(
    ("stored", "new", "passes"),
    [
        ("532 latents, 0.50 of all", "540 latents, 0.505 of all", True),
        ("9 novel", "21 novel", True),
        ("9 novel", "22 novel", False),
        ("2,242,560", "2,300,000", False),
        ("0.50 of all", "0.53 of all", False),
        ("9 novel", "9 lost", False),
    ],
)
def test_counts_that_vary_are_within_what_was_measured(stored, new, passes):
    assert close(stored, new, counts_vary=True) == passes


def test_notebooks_have_no_tag_that_nothing_reads():
    """A misspelt one would make counts that vary compare exactly."""
    cells = [cell for path in NOTEBOOKS.glob("*.ipynb") for cell in nbformat.read(path, 4).cells]
    tags = {tag for cell in cells for tag in cell.metadata.get("tags", ())}
    assert tags == {"parameters", COUNTS_VARY, "nbval-ignore-output"}  # the first is papermill's, the last nbval's own


def cell(code: str, stored: list, **metadata) -> nbformat.NotebookNode:
    return nbformat.v4.new_code_cell(code, execution_count=1, outputs=stored, metadata=metadata)


def text(stored: str, stream: str = "stdout") -> nbformat.NotebookNode:
    return nbformat.v4.new_output("stream", name=stream, text=stored)


HTML = nbformat.v4.new_output("display_data", {"text/html": "<b>old</b>", "text/plain": "0.5"})
PASSING = [
    cell("print('FVU', 0.123456)", [text("FVU 0.1234\n")]),
    cell("import sys; print('61 % 3 s', file=sys.stderr)", [text("12 % 9 s\n", "stderr")]),
    cell("display({'text/html': '<b>new</b>', 'text/plain': '0.5001'}, raw=True)", [HTML]),
    cell("print('shared', 143)", [text("shared 140\n")], tags=["counts-vary"]),
    cell("results_dir = ''", [], tags=["parameters"]),
    cell("print(results_dir)", [text("elsewhere\n")]),
    cell("0.25", [nbformat.v4.new_output("execute_result", {"text/plain": "0.2501"}, execution_count=1)]),
]
FAILING = [
    cell("print('FVU', 0.14)", [text("FVU 0.12\n")]),
    cell("print('shared', 143)", [text("shared 140\n")]),
    cell("print('holds')", [text("does not hold\n")]),
    cell("print(1)", []),
    cell("1 / 0", []),
]


def test_nbval_passes_and_fails_cell_by_cell(tmp_path):
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    for name, cells in (("passing", PASSING), ("failing", FAILING)):
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), tmp_path / f"{name}.ipynb")
    command = [sys.executable, "-m", "pytest", "--nbval", "-p", "conftest", "-c", os.devnull, "-rA", "--color=no"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), ELSEWHERE: "elsewhere"}
    run = subprocess.run([*command, "."], cwd=tmp_path, env=environment, capture_output=True, text=True)
    outcomes = re.findall(r"^(PASSED|FAILED) (\w+)\.ipynb::Cell", run.stdout, re.MULTILINE)
    assert run.returncode == 1, run.stdout
    assert sorted(outcomes) == [("FAILED", "failing")] * len(FAILING) + [("PASSED", "passing")] * len(PASSING)


@pytest.mark.filterwarnings("ignore:A test tried to use socket")
def test_no_test_reaches_the_network():
    import socket

    from pytest_socket import SocketConnectBlockedError

    with pytest.raises(SocketConnectBlockedError), socket.socket() as client:
        client.connect(("192.0.2.1", 80))
