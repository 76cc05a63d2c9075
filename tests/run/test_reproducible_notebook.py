"""Notebook 11 with dictionaries that are given: a row for them, alone and beside methods that are trained."""

import json

import pytest
import torch
from helpers import preset_stand_ins as stand_ins
from helpers.notebook_cells import run_cells

from sae_utils.paths import NOTEBOOKS
from sae_utils.report.figures import style
from sae_utils.saes import SAE, SAEConfig
from sae_utils.saes.formats import write_saelens

NAME = "11_most_reproducible"
# A kernel goes on after a warning; dictionaries this small are as good as random.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize(("methods", "n_given"), [([], 2), (["topk", "ortsae"], 3)])
def test_given_saes_have_a_row(methods, n_given, tmp_path, monkeypatch):
    monkeypatch.setattr(style, "save", lambda fig, *_, **__: fig.canvas.draw())
    small = stand_ins.small_preset(tmp_path, [NAME])[NAME]
    stack = SAE.create(SAEConfig(stand_ins.D_MODEL, 20, "topk", 3), range(n_given))
    with torch.no_grad():
        stack.encoder[1], stack.W_dec[1] = stack.encoder[0], stack.W_dec[0]
    folders = [tmp_path / f"sae {i}" for i in range(n_given)]
    for i, folder in enumerate(folders):
        write_saelens(stack.dictionary(i), folder)
    small |= {"methods": methods, "saes": list(map(str, folders))}
    run_cells(NOTEBOOKS / f"{NAME}.ipynb", small | {"results_dir": str(tmp_path / "r"), "preset": "quick"})
    record = json.loads((tmp_path / "r" / "quick" / f"{NAME}.json").read_text())
    table, verdicts = record["metrics"]["table"], {one["id"]: one for one in record["verdicts"]}
    assert list(table) == [*methods, "given"]
    assert table["given"]["strict alone"] == pytest.approx(1 if n_given == 2 else 1 / 3, abs=0.01)
    assert (table["given"]["strict"]["estimate"] is None) == (n_given == 2)
    assert verdicts["E-1"]["verdict"] == "not judged here" and len(verdicts) == 13
