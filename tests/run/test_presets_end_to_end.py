"""Every preset of a paper runs: each of its notebooks, with each of its parameters, on a small model of its family.

Notebooks run in this process, without a kernel and without drawing their figures into files, which nbval does.
"""

import contextlib
import json
from collections import Counter
from functools import cache

import pytest
import yaml
from helpers import preset_stand_ins as stand_ins
from helpers.notebook_cells import run_cells

from sae_utils.data.models import language_model
from sae_utils.paths import NOTEBOOKS, PRESETS
from sae_utils.report.figures import style as plots
from sae_utils.run.notebooks import default_parameters
from sae_utils.run.presets import load_preset
from sae_utils.run.workload import work
from sae_utils.saes.training import store as trained

PATHS = {path.stem: path for path in sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))}
PAPERS = [path.stem for path in sorted(PRESETS.glob("[a-c]-*.yaml")) if not path.stem.endswith("-small")]
CASES = [(preset, notebook) for preset in PAPERS for notebook in load_preset(preset).overrides]
# Trained as often as the data want it: pilots of a coefficient's search, and dictionaries as wide as what is found.
UNKNOWN = ("pilot", "control", "consensus")
# A kernel goes on after a warning; dictionaries this small give some fits too few different points.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """Folders of small models by family, a corpus, and a function that gives labelled texts; all made once."""
    folder = tmp_path_factory.mktemp("stand_ins")
    models = cache(lambda family: str(stand_ins.make_model(family, folder / family)))
    corpus = stand_ins.write_corpus(folder / "text.jsonl")

    def labelled(parameters: dict) -> str:
        entries = [name for pair in parameters.get("attribute_pairs", []) for name in pair.split(" & ")]
        columns: dict[str, list[str]] = {}
        for entry in entries or parameters["label_columns"]:
            name, _, values = entry.partition("=")
            known = values.split("/") if values else ["0", "1", "2"]
            columns[name] = sorted({*columns.get(name, []), *known, *(["0"] if len(known) == 1 else [])})
        path = folder / f"{json.dumps(columns)[:40].encode().hex()}.csv"
        return str(stand_ins.write_labelled(path, parameters["text_column"], columns))

    return models, str(corpus), labelled


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """A model is loaded once; figures are made, and no file of them."""
    monkeypatch.setattr(language_model, "load_language_model", loaded)
    monkeypatch.setattr(plots, "save_figure", lambda fig, *_, **__: None)


load = language_model.load_language_model


@cache
def loaded(*arguments):
    """``load_language_model``, once for each of its arguments."""
    return load(*arguments)


@pytest.fixture
def dictionaries(monkeypatch):
    """Counts what is trained, by (latents, architecture, tokens)."""
    counts, train = Counter(), trained.train

    def counting(stacks, source, config, *arguments, **more):
        for sae in stacks:
            counts[sae.config.n_latents, sae.config.architecture, config.n_tokens] += sae.n_dictionaries
        return train(stacks, source, config, *arguments, **more)

    monkeypatch.setattr(trained, "train", counting)
    return counts


@pytest.mark.parametrize(("preset", "notebook"), CASES, ids=lambda value: value[:15])
def test_preset_runs_end_to_end(preset, notebook, local, dictionaries, tmp_path):
    models, corpus, labelled = local
    own = load_preset(preset).overrides[notebook]
    family = stand_ins.FAMILIES[own["model"]]
    parameters = stand_ins.shrunk(notebook, default_parameters(PATHS[notebook]) | own, stand_ins.layers_of(family))
    parameters |= {"model": models(family), "corpus": corpus, "results_dir": str(tmp_path)}
    if parameters.get("dataset"):
        parameters["dataset"] = labelled(parameters)
    assert set(own) <= set(parameters)
    # Its last check, that planted parts are found, needs more training than there is time for.
    with contextlib.suppress(AssertionError) if notebook == "04_meta_saes" else contextlib.nullcontext():
        run_cells(PATHS[notebook], parameters)
    assert (tmp_path / preset / f"{notebook}.json").is_file()
    expected = work(notebook, parameters, stand_ins.layers_of(family), stand_ins.CONTEXT, stand_ins.D_MODEL)
    planned = Counter()
    for _, stack in dict.fromkeys((one.reads, stack) for one in expected.passes for stack in one.stacks):
        if not stack.label.startswith(UNKNOWN):
            planned[stack.n_latents, stack.architecture, stack.n_tokens] += stack.n_dictionaries
    assert planned <= dictionaries, f"a plan has what was not trained: {planned - dictionaries}"


def test_every_paper_preset_has_a_small_one():
    small = {path.stem for path in PRESETS.glob("[a-c]-*-small.yaml")}
    assert small == {f"{preset}-small" for preset in PAPERS}
    for name in small:
        assert yaml.safe_load((PRESETS / f"{name}.yaml").read_text())["base"] == name.removesuffix("-small")
