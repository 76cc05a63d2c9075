"""An InputError is one line wherever a notebook is run."""

import subprocess
import sys

from sae_utils.errors import InputError
from sae_utils.paths import NOTEBOOKS


def test_papermill_shows_one_line_of_a_wrong_parameter(tmp_path):
    notebook = NOTEBOOKS / "01_seed_divergence.ipynb"
    command = [sys.executable, "-m", "papermill", notebook, tmp_path / "out.ipynb", "-y", "{layer: 9}", "-k", "python3"]
    run = subprocess.run([*command, "--no-progress-bar"], capture_output=True, text=True)
    assert run.returncode != 0
    message = "InputError: parameter layer = 9 must be 0 to 5 for the model pycode-2m"
    assert run.stderr.rstrip().splitlines()[-1] == message
    assert "sae_utils/" not in run.stderr
    assert "check(" not in run.stderr


def test_a_quoted_line_end_makes_no_second_line():
    assert str(InputError("column 'a\r\nb\x1ec' is missing")) == "column 'a b c' is missing"
