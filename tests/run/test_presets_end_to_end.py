"""Every preset of a paper runs: each of its notebooks, with each of its parameters, on a small model of its family.

Notebooks run in this process, without a kernel and without drawing their figures into files, which nbval does.
"""

import contextlib
import json
from collections import Counter
from functools import cache
from types import SimpleNamespace

import pytest
import yaml
from helpers import preset_stand_ins as stand_ins
from helpers.notebook_cells import run_cells

from sae_utils.data.models import language_model
from sae_utils.paths import NOTEBOOKS, PRESETS
from sae_utils.report import figures as plots
from sae_utils.run.parameters.presets import load_preset
from sae_utils.run.plans import plan_of
from sae_utils.run.plans.model_facts import model_facts
from sae_utils.saes.training import sparsity
from sae_utils.saes.training import store as trained

PATHS = {path.stem: path for path in sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))}
# Those of SmolLM2-135M have no small form, and no stand-in: the model is there (test_smollm2.py).
OTHERS = ("-small", "-smollm2-135m")
PAPERS = [path.stem for path in sorted(PRESETS.glob("[a-c]-*.yaml")) if not path.stem.endswith(OTHERS)]
CASES = [(preset, notebook) for preset in PAPERS for notebook in load_preset(preset).overrides]
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
    """Counts what is trained, by (latents, architecture, tokens), without pilots: as many as the search wants."""
    counts, train, pilots = Counter(), trained.train, sparsity.train_or_load

    def counting(stacks, source, config, *arguments, **more):
        for sae in stacks:
            counts[sae.config.n_latents, sae.config.architecture, config.n_tokens] += sae.n_dictionaries
        return train(stacks, source, config, *arguments, **more)

    def uncounted(*arguments):
        before = Counter(counts)
        found = pilots(*arguments)
        counts.clear()
        counts.update(before)
        return found

    monkeypatch.setattr(trained, "train", counting)
    monkeypatch.setattr(sparsity, "train_or_load", uncounted)
    return counts


@pytest.mark.parametrize(("preset", "notebook"), CASES, ids=lambda value: value[:15])
def test_preset_runs_end_to_end(preset, notebook, local, dictionaries, tmp_path):
    models, corpus, labelled = local
    own = load_preset(preset).overrides[notebook]
    family = stand_ins.FAMILIES[own["model"]]
    parameters = stand_ins.shrunk(notebook, own, stand_ins.layers_of(family))
    parameters |= {"model": models(family), "corpus": corpus, "results_dir": str(tmp_path)}
    if parameters.get("dataset"):
        parameters["dataset"] = labelled(parameters)
    # Its last check, that planted parts are found, needs more training than there is time for.
    with contextlib.suppress(AssertionError) if notebook == "04_meta_saes" else contextlib.nullcontext():
        run_cells(PATHS[notebook], parameters)
    assert (tmp_path / preset / f"{notebook}.json").is_file()
    plan = plan_of(notebook, SimpleNamespace(**parameters), model_facts(parameters["model"]))
    known, waiting = Counter(), Counter()
    for cell in {cell.identity: cell for cell in plan.cells}.values():
        kinds = waiting if "n_latents" in cell.open else known
        kinds[cell.config.n_latents, cell.config.architecture, cell.training.n_tokens] += len(cell.seeds)
    metas = {(meta.config.n_latents, meta.config.architecture) for meta in plan.meta_cells}
    for kind in [kind for kind in dictionaries if kind[:2] in metas]:
        del dictionaries[kind]  # how many rows their steps have depends on the latents that are alive
    assert not known - dictionaries, "a plan has what was not trained"
    # What waits for results has a width of its own; two that turn out equal are trained once.
    rest = dictionaries - known
    assert by_kind(rest) <= by_kind(waiting), "what is not in the plan was trained"
    assert bool(rest) == bool(waiting)


def by_kind(counts: Counter) -> Counter:
    """The counts by (architecture, tokens)."""
    kinds = Counter()
    for (_, *kind), n in counts.items():
        kinds[tuple(kind)] += n
    return kinds


def test_every_paper_preset_has_a_small_one():
    small = {path.stem for path in PRESETS.glob("[a-c]-*-small.yaml")}
    assert small == {f"{preset}-small" for preset in PAPERS}
    for name in small:
        assert yaml.safe_load((PRESETS / f"{name}.yaml").read_text())["base"] == name.removesuffix("-small")
