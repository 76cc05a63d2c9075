"""Parameters and presets are what was given, and can be planned, or are refused in one line."""

from functools import cache

import pydantic
import pytest
import yaml
from helpers.fuzzing import JSON, altered, damaged, damages, examples, near, or_refused
from helpers.fuzzing import ODD as ODD_VALUES
from hypothesis import assume, given
from hypothesis import strategies as st

from sae_utils.paths import NOTEBOOKS as FOLDER
from sae_utils.run.parameters.checks import check_elsewhere, parameter_names
from sae_utils.run.parameters.presets import load_preset
from sae_utils.run.parameters.schemas import NOTEBOOKS
from sae_utils.run.plans.model_facts import model_facts
from sae_utils.run.plans.of_notebooks import plan_of

ODD = st.one_of(
    ODD_VALUES,
    st.lists(st.integers(-1, 130), max_size=3),
    st.lists(st.sampled_from(["topk", "relu", "gated", "mlp_out", "resid_post", "", "a", 1, None]), max_size=3),
    st.sampled_from(["cpu", "cuda", "cuda:99", "float32", "int8", "pycode-2m", "./missing", "~nobody/x", "/", "a\nb"]),
    st.sampled_from(["\x00", "a" * 300, "text.txt", "text.TXT", "/dev/null", "../x", "gelu-1l", "gpt2@", "owner/name"]),
)
FACTS = model_facts("pycode-2m")


@cache
def defaults(notebook):
    return NOTEBOOKS[notebook]().model_dump()


def given_to(notebook):
    """Up to three of a notebook's parameters with values of any kind, or near those of its own cell."""
    names = st.lists(st.sampled_from(parameter_names(notebook)), min_size=1, max_size=3, unique=True)
    own = {name: ODD | near(value) for name, value in defaults(notebook).items()}
    return names.flatmap(lambda chosen: st.fixed_dictionaries({name: own[name] for name in chosen}))


def planned(notebook, p):
    return plan_of(notebook, p, FACTS)


@examples(300)
@given(st.data(), st.sampled_from(sorted(NOTEBOOKS)))
def test_parameters_are_what_was_given_and_can_be_planned_or_are_refused(data, notebook):
    changed = data.draw(given_to(notebook))
    p = or_refused(check_elsewhere, notebook, defaults(notebook) | changed)
    if p is None:
        return
    for name, value in changed.items():
        kept = getattr(p, name)
        assert kept == value and type(kept) in (type(value), float)  # never converted, but for an int to a float
        with pytest.raises(pydantic.ValidationError):
            setattr(p, name, value)
    if p.model == "pycode-2m":
        plan = or_refused(planned, notebook, p)
        for cell in plan.cells if plan else ():
            assert cell.config.k is None or cell.open or cell.config.k <= cell.config.n_latents
            assert cell.training.n_steps >= 1 and cell.seeds


PRESETS = sorted(path.stem for path in (FOLDER / "presets").glob("*.yaml"))


@cache
def notebooks(parent):
    """A folder with the notebooks and the presets of the repository, to which a preset can be added."""
    (parent / "presets").mkdir(parents=True)
    for path in [*FOLDER.glob("[0-9]*.ipynb"), *(FOLDER / "presets").glob("*.yaml")]:
        (parent / path.relative_to(FOLDER)).symlink_to(path)
    return parent


@examples(25)
@given(st.data(), st.sampled_from(PRESETS))
def test_a_preset_gives_what_it_says_or_is_refused(tmp_path_factory, data, name):
    folder = notebooks(tmp_path_factory.getbasetemp() / "notebooks")
    text = (FOLDER / "presets" / f"{name}.yaml").read_bytes()
    how = data.draw(st.sampled_from(["bytes", "values", "anything"]))
    if how == "bytes":
        text = damaged(text, data.draw(damages()))
    elif how == "values":
        text = yaml.safe_dump(data.draw(altered(yaml.safe_load(text)))).encode()
    else:
        keys = st.sampled_from(["common", "base", "notebooks", "expected_seconds", "01_seed_divergence", 1, "x"])
        odd = ["notebooks: [[1]]", "common: {layer: 0b_}", "common: {layer: 2020-99-99}", "- 1", "a: b: c", "[" * 5000]
        maps = st.dictionaries(keys, JSON | st.dictionaries(st.just("layer"), JSON)).map(yaml.safe_dump)
        text = data.draw(st.sampled_from(odd) | maps).encode("utf-8", "replace")
    (folder / "presets" / "new.yaml").write_bytes(text)
    preset = or_refused(load_preset, "new", folder)
    if preset:
        maps = yaml.safe_load(text) or {}
        assume(isinstance(maps, dict))
        for notebook, own in preset.overrides.items():
            for key, value in (maps.get(notebook) or {}).items():
                assert own[key] == value or key == "preset"
        assert all(0 < seconds < float("inf") for seconds in preset.expected_seconds.values())
