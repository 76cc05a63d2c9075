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
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {"main": make_tiny(root / "main"), "step3": make_tiny(root / "step3", seed=1)}


@pytest.fixture
def asked(folders, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    models = {"owner/tiny": folders, "owner/gated": folders}
    with fake_hub(models, tmp_path / "cache", monkeypatch, gated="owner/gated") as asked:
        yield asked


def weights(model):
    return torch.cat([weight.flatten() for weight in model.weights.parameters()])


@pytest.mark.parametrize(("name", "revision"), [("owner/tiny", "main"), ("owner/tiny@step3", "step3")])
def test_model_of_the_hub_is_that_of_its_revision(asked, folders, name, revision):
    model = load_language_model(name, layer=2)
    assert model.name == name
    assert torch.equal(weights(model), weights(load_language_model(folders[revision])))
    assert (
        model.tokenizer("def f(x)")["input_ids"]
        == load_language_model(folders[revision]).tokenizer("def f(x)")["input_ids"]
    )


def test_model_that_was_kept_loads_without_the_hub(asked, monkeypatch):
    kept = weights(load_language_model("owner/tiny@step3"))
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: 1 / 0)
    asked.clear()
    assert torch.equal(weights(load_language_model("owner/tiny@step3")), kept)
    assert not asked
    with pytest.raises(InputError, match="'owner/tiny' is unknown: .* not reached"):
        load_language_model("owner/tiny")


def test_gated_model_wants_a_token_that_may_read_it(asked, monkeypatch):
    refusal = "model 'owner/gated': it is gated, and {}: accept its terms at https://huggingface.co/owner/gated"
    with pytest.raises(InputError, match=refusal.format("there is no token here")) as error:
        load_language_model("owner/gated")
    assert "set HF_TOKEN" in str(error.value) and "\n" not in str(error.value)
    monkeypatch.setenv("HF_TOKEN", "other")
    with pytest.raises(InputError, match=refusal.format("the token here has no access to it")):
        load_language_model("owner/gated")
    assert not any("safetensors" in path for path in asked)
    monkeypatch.setenv("HF_TOKEN", "good")
    assert load_language_model("owner/gated").n_layers == 3


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("owner/none", "not on the Hugging Face hub"),
        ("owner/tiny@step4", "the Hugging Face hub has no revision 'step4' of it"),
        ("owner/no..name", "not on the Hugging Face hub"),
    ],
)
def test_model_that_the_hub_has_not(asked, name, said):
    with pytest.raises(InputError, match=f"model '{name}' is unknown: .*{said}") as error:
        load_language_model(name)
    assert "\n" not in str(error.value)


def test_layer_is_refused_before_the_weights_are_fetched(asked):
    with pytest.raises(InputError, match="layer = 3 must be 0 to 2 for the model owner/tiny"):
        load_language_model("owner/tiny", layer=3)
    assert not any("safetensors" in path for path in asked)


def test_repository_without_a_config(asked, folders, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    refused = pytest.raises(InputError, match="model 'owner/empty': owner/empty has no config.json")
    with fake_hub({"owner/empty": {"main": tmp_path / "empty"}}, tmp_path / "cache", monkeypatch), refused:
        load_language_model("owner/empty")


def test_reasons_of_the_hub(asked, monkeypatch):
    assert hub.why_not("model", "owner/tiny") is None
    assert hub.why_not("model", "owner/tiny", "step3") is None

    class Refused(Exception):
        response = type("Response", (), {"status_code": 401})

    def refuse(self, name, timeout):
        raise Refused

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", refuse)
    assert hub.why_not("dataset", "owner/data").startswith("the Hugging Face hub refuses the token here")
