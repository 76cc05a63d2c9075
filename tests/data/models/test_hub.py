"""Models come from the hub at a revision and with a token, and from what was kept; what cannot be had is one line."""

import huggingface_hub
import pytest
import torch
from helpers.fake_hub import fake_hub
from helpers.tiny_language_model import make_tiny

from sae_utils.data.models import hub
from sae_utils.data.models.language_model import load_language_model
from sae_utils.errors import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    owner = tmp_path_factory.mktemp("hub") / "owner"
    for seed, revision in enumerate(["main", "step3"]):
        make_tiny(owner / "tiny" / revision, seed)
    (owner / "gated").symlink_to(owner / "tiny")
    (owner / "empty" / "main").mkdir(parents=True)
    return owner.parent


@pytest.fixture
def server(folder, tmp_path, monkeypatch):
    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    with fake_hub(folder, tmp_path / "cache", monkeypatch) as server:
        server.gated = "owner/gated"
        yield server


def weights(model):
    return torch.cat([weight.flatten() for weight in model.weights.parameters()])


@pytest.mark.parametrize(("name", "revision"), [("owner/tiny", "main"), ("owner/tiny@step3", "step3")])
def test_model_of_the_hub_is_that_of_its_revision(server, name, revision):
    model, expected = load_language_model(name, layer=2), load_language_model(server.folder / "owner/tiny" / revision)
    assert model.name == name and torch.equal(weights(model), weights(expected))
    assert model.tokenizer("def f(x)")["input_ids"] == expected.tokenizer("def f(x)")["input_ids"]


def test_model_that_was_kept_loads_without_the_hub(server, monkeypatch):
    kept = weights(load_language_model("owner/tiny@step3"))
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: 1 / 0)
    server.asked.clear()
    assert torch.equal(weights(load_language_model("owner/tiny@step3")), kept)
    assert not server.asked
    with pytest.raises(InputError, match="'owner/tiny' is unknown: .* not reached"):
        load_language_model("owner/tiny")


def test_gated_model_wants_a_token_that_may_read_it(server, monkeypatch):
    said = "model 'owner/gated': it is gated, and {}: accept its terms at https://huggingface.co/owner/gated and set HF"
    with pytest.raises(InputError, match=said.format("there is no token here")):
        load_language_model("owner/gated")
    monkeypatch.setenv("HF_TOKEN", "other")
    with pytest.raises(InputError, match=said.format("the token here has no access to it")):
        load_language_model("owner/gated")
    assert not any("safetensors" in path for path in server.asked)
    monkeypatch.setenv("HF_TOKEN", "good")
    assert load_language_model("owner/gated").n_layers == 3


@pytest.mark.parametrize(
    ("name", "layer", "said"),
    [
        ("owner/none", None, "model 'owner/none' is unknown: .*not on the Hugging Face hub"),
        ("owner/no..name", None, "model 'owner/no..name' is unknown: .*not on the Hugging Face hub"),
        ("owner/tiny@step4", None, "model 'owner/tiny@step4' is unknown: .*has no revision 'step4' of it"),
        ("owner/empty", None, "model 'owner/empty': owner/empty has no config.json"),
        ("owner/tiny", 3, "layer = 3 must be 0 to 2 for the model owner/tiny"),
    ],
)
def test_what_cannot_be_had_is_one_line_before_the_weights_are_fetched(server, name, layer, said):
    with pytest.raises(InputError, match=said):
        load_language_model(name, layer=layer)
    assert not any("safetensors" in path for path in server.asked)


def test_refused_token_is_told_from_a_missing_repository(monkeypatch):
    class Refused(Exception):
        response = type("Response", (), {"status_code": 401})

    def refuse(self, name, **_):
        raise Refused

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", refuse)
    assert hub.why_not("dataset", "owner/data").startswith("the Hugging Face hub refuses the token here")
