"""A model's name is a bundled model, a folder, or a repository at a revision; a config.json says what cannot be had."""

import json
from pathlib import Path

import pytest

from sae_utils.data.models import BUNDLED, names
from sae_utils.data.models.names import Place
from sae_utils.errors import InputError


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_names_and_their_places(here):
    (here / "mine@home").mkdir()
    pythia = "EleutherAI/pythia-160m"
    for name, place in {
        "pycode-2m": Place(BUNDLED["pycode-2m"]),
        "mine@home": Place(Path("mine@home")),
        "~/mine@home": Place(here / "mine@home"),
        "gpt2": Place(None, "gpt2"),
        pythia: Place(None, pythia),
        f"{pythia}@step1000": Place(None, pythia, "step1000"),
        "owner/model@refs/pr/1": Place(None, "owner/model", "refs/pr/1"),
        "gelu-1l": names.find("NeelNanda/GELU_1L512W_C4_Code"),
    }.items():
        assert names.find(name) == place
        assert place.is_hooked == (name == "gelu-1l")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("pycode-2m@main", "model 'pycode-2m@main': pycode-2m has no revisions"),
        ("folder@main", "model 'folder@main': folder has no revisions"),
        ("gelu-1l@main", "gelu-1l has no revisions"),
        ("NeelNanda/GELU_1L512W_C4_Code@main", "has no revisions"),
        ("gpt2@", "after the @ must be a branch, a tag or a commit"),
        ("gpt2@a b", "after the @ must be a branch"),
        ("gpt2@a@b", "after the @ must be a branch"),
        ("gpt2@../x/", "after the @ must be a branch"),
        ("@main", "model '@main' is unknown"),
        ("./missing", "model './missing' is unknown: it is not bundled, not an existing folder"),
        ("a/b/c", "model 'a/b/c' is unknown"),
        ("", "model '' is unknown"),
        (300 * "a" + "/b/c", "is unknown"),  # longer than a file's name may be
        (300 * "a" + ".gguf", "there is no such file"),
    ],
)
def test_names_that_can_be_nothing(here, name, said):
    (here / "folder").mkdir()
    with pytest.raises(InputError, match=said):
        names.find(name)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", ": its config.json is not JSON"),
        ("[1]", ": its config.json holds no settings"),
        ("{}", " is no causal language model: the architectures of its config.json are none"),
        ('{"architectures": []}', " is no causal language model"),
        ('{"architectures": ["BertForMaskedLM"]}', " is no causal .* are BertForMaskedLM, and none ends"),
        ('{"architectures": ["T5ForConditionalGeneration"]}', " is no causal language model"),
        ('{"architectures": [3]}', " is no causal language model"),
    ],
)
def test_config_of_something_else(tmp_path, text, said):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match=f"model 'mine'{said}"):
        names.read_config("mine", tmp_path / "config.json")


@pytest.mark.parametrize("key", ["num_hidden_layers", "n_layer", "num_layers"])
def test_layers_and_context_of_a_config(tmp_path, key):
    config = {"architectures": ["GPT2LMHeadModel"], key: 3, "n_positions": 32}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert names.read_config("mine", tmp_path / "config.json") == config
    names.check_context("mine", config, 32)
    for layer in (0, 2):
        names.check_layer("mine", config, layer)
    for layer in (-1, 3):
        with pytest.raises(InputError, match=f"layer = {layer} must be 0 to 2 for the model mine"):
            names.check_layer("mine", config, layer)
    with pytest.raises(InputError, match=r"context = 33 must be 0 \(the model's\) to 32 for the model mine"):
        names.check_context("mine", config, 33)


def test_rows_of_a_model_that_reads_131072_tokens_are_short_unless_asked_for(caplog):
    names.row_context.cache_clear()
    asked = [(0, 256), (0, 2048), (0, 131_072), (0, 131_072), (4096, 131_072), (128, 256)]
    assert [names.row_context(*one) for one in asked] == [256, 2048, 2048, 2048, 4096, 128]
    assert caplog.messages == ["context = 0: rows of 2048 tokens; the model reads up to 131072, if asked for"]
