"""Every kind of bad parameter is refused in one line, before anything heavy is imported."""

import dataclasses
import json
import subprocess
import sys
import types

import pytest

from sae_utils.data.models.language_model import SITES
from sae_utils.data.text.corpus import SUFFIXES, check_corpus
from sae_utils.errors import InputError
from sae_utils.run import rules
from sae_utils.run.parameters import NOTEBOOKS, check, parameter_names
from sae_utils.run.rules import RULES, check_dictionary, check_value
from sae_utils.saes.sae import ARCHITECTURES

GOOD = {
    "model": "pycode-2m",
    "corpus": "installed-python",
    "layer": 2,
    "site": "mlp_out",
    "saes": [],
    "architecture": "topk",
    "n_latents": 64,
    "k": 8,
    "n_seeds": 5,
    "n_tokens": 1000,
    "n_eval_tokens": 100,
    "batch_size": 10,
    "data_seed": 0,
    "context": 0,
    "base_lr": 1.6e-3,
    "device": "cpu",
    "dtype": "float32",
    "results_dir": "",
    "preset": "tiny",
}


def test_good_parameters_come_back_frozen_and_unchanged():
    p = check("01_seed_divergence", {**GOOD, "unrelated": object()})
    assert dataclasses.asdict(p) == GOOD
    with pytest.raises(dataclasses.FrozenInstanceError):
        p.k = 3


BAD = [
    ({"k": True}, "k = True must be int, not bool"),
    ({"k": "8"}, "k = '8' must be int, not str"),
    ({"k": 8.0}, "k = 8.0 must be int, not float"),
    ({"layer": -1}, "layer = -1 must be 0 or more"),
    ({"layer": 6}, "layer = 6 must be 0 to 5 for the model pycode-2m"),
    ({"context": 257}, "context = 257 must be 0 (the model's) to 256"),
    ({"n_seeds": 1}, "n_seeds = 1 must be 2 or more"),
    ({"n_seeds": 4}, "n_seeds = 4 must be 5 or more"),
    ({"data_seed": 2**32}, "data_seed = 4294967296 must be 0 to 4294967295"),
    ({"k": 65}, "k = 65 must be 1 to n_latents = 64"),
    ({"n_tokens": 9}, "n_tokens = 9 must be batch_size = 10 or more"),
    ({"n_eval_tokens": 19}, "n_eval_tokens = 19 must be 2 * batch_size = 20 or more"),
    ({"model": "~nobody/model"}, "model '~nobody/model' is unknown: it is not bundled, not an existing folder"),
    ({"corpus": "~nobody/text.jsonl"}, "corpus = '~nobody/text.jsonl': there is no such file"),
    ({"site": "mlp"}, "site = 'mlp' must be one of mlp_out, resid_pre, resid_post"),
    ({"architecture": "TopK"}, "architecture = 'TopK' must be one of topk,"),
    ({"architecture": "relu"}, "allowed here: topk, batch_topk"),
    ({"model": "./missing"}, "model './missing' is unknown: it is not bundled, not an existing folder"),
    ({"model": "pycode-2m@main"}, "model 'pycode-2m@main': pycode-2m has no revisions"),
    ({"model": "gpt2@"}, "model 'gpt2@': after the @ must be a branch, a tag or a commit"),
    ({"model": ""}, "model = '' must be a bundled model's name, a folder, or a Hugging Face name"),
    ({"corpus": "no such text"}, "corpus = 'no such text' must be installed-python"),
    ({"corpus": "missing.jsonl"}, "corpus = 'missing.jsonl': there is no such file"),
    ({"corpus": "https://a.org/b.csv?c=d.txt"}, "or a .txt, .jsonl or .parquet file or URL"),
    ({"corpus": "some/name:"}, "a Hugging Face dataset (name or name:configuration)"),
    ({"preset": "../up"}, "preset = '../up' must be letters"),
    ({"device": "gpu"}, "device = 'gpu' must be cpu, cuda or cuda:<number>"),
    ({"device": "cuda:99"}, "device = 'cuda:99': this machine has"),
    ({"saes": "folder"}, "saes = 'folder' must be a list of str"),
    ({"saes": ["folder", ""]}, "saes = '' must be a folder, a file, or owner/repository/folder on the hub"),
    ({"saes": ["folder", "folder"]}, "holds 'folder' twice"),
    ({"results_dir": None}, "results_dir = None must be str, not NoneType"),
    ({"In": ["", "# Parameters\nlayer = 1\nlayr = 3\n"]}, "no parameter 'layr' (did you mean layer?)"),
]


@pytest.mark.parametrize(("change", "said"), BAD, ids=[said for _, said in BAD])
def test_bad_parameter_is_refused_in_one_line(change, said):
    with pytest.raises(InputError) as refusal:
        check("01_seed_divergence", GOOD | change)
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_missing_parameter_and_unknown_notebook():
    with pytest.raises(InputError, match="01_seed_divergence has no value for its parameter k"):
        check("01_seed_divergence", {name: value for name, value in GOOD.items() if name != "k"})
    with pytest.raises(InputError, match="no notebook '99_none'; there are 00_language_model"):
        check("99_none", GOOD)


def test_float_takes_an_int_and_refuses_text_and_infinity():
    check_value("lr", float, 1)
    with pytest.raises(InputError, match=r"lr = '1e-4' must be float, not str \(YAML reads 1e-4 as text"):
        check_value("lr", float, "1e-4")
    with pytest.raises(InputError, match="lr = nan must be a finite number"):
        check_value("lr", float, float("nan"))
    with pytest.raises(InputError, match="must be float, not bool"):
        check_value("lr", float, True)


def test_a_list_is_checked_item_by_item():
    check_value("widths", list[int], [64, 128])
    for value, said in [
        (64, "widths = 64 must be a list of at least one int"),
        ([], r"widths = \[\] must be a list of at least one int"),
        ([64, "128"], "widths = '128' must be int, not str"),
        ([64, 0], "widths = 0 must be 1 or more"),
        ([64, 128, 64], r"widths = \[64, 128, 64\] holds 64 twice"),
    ]:
        with pytest.raises(InputError, match=said):
            check_value("widths", list[int], value)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"k": 9, "widths": [16, 8]}, r"k = 9 must be 1 to widths = \[16, 8\]"),
        ({"ks": [4, 9], "n_latents": 8}, r"ks = \[4, 9\] must be 1 to n_latents = 8"),
    ],
)
def test_no_k_exceeds_any_width(values, said):
    with pytest.raises(InputError, match=said):
        check_dictionary(types.SimpleNamespace(**values))


GPT2 = {"architectures": ["GPT2LMHeadModel"], "n_layer": 3}


def test_local_model_folder_is_checked_by_its_config(tmp_path):
    with pytest.raises(InputError, match="the folder has no config.json"):
        check("01_seed_divergence", GOOD | {"model": str(tmp_path)})
    (tmp_path / "config.json").write_text(json.dumps(GPT2 | {"n_positions": 32}))
    check("01_seed_divergence", GOOD | {"model": str(tmp_path), "context": 32})
    with pytest.raises(InputError, match="layer = 3 must be 0 to 2"):
        check("01_seed_divergence", GOOD | {"model": str(tmp_path), "layer": 3})
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["BertForMaskedLM"]}))
    with pytest.raises(InputError, match="parameter model .* is no causal language model: .* BertForMaskedLM"):
        check("01_seed_divergence", GOOD | {"model": str(tmp_path)})


def test_hub_model_is_checked_by_the_config_that_an_earlier_run_left(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    hub_name = {"model": "owner/gpt@step3", "layer": 3}
    check("01_seed_divergence", GOOD | hub_name)
    repository = tmp_path / "models--owner--gpt"
    (repository / "snapshots" / "abc").mkdir(parents=True)
    (repository / "snapshots" / "abc" / "config.json").write_text(json.dumps(GPT2))
    (repository / "refs").mkdir()
    (repository / "refs" / "step3").write_text("abc")
    with pytest.raises(InputError, match="layer = 3 must be 0 to 2 for the model owner/gpt@step3"):
        check("01_seed_divergence", GOOD | hub_name)
    check("01_seed_divergence", GOOD | hub_name | {"model": "owner/gpt@step4"})


def test_home_folder_is_known_as_the_loaders_know_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(GPT2))
    (tmp_path / "text.jsonl").touch()
    local = {"model": "~/model", "corpus": "~/text.jsonl"}
    assert check("01_seed_divergence", GOOD | local).corpus == check_corpus(local["corpus"])
    with pytest.raises(InputError, match="layer = 3 must be 0 to 2"):
        check("01_seed_divergence", GOOD | local | {"layer": 3})


@pytest.mark.parametrize("corpus", ["HuggingFaceFW/fineweb-edu:sample-10BT", "openwebtext", "https://a.org/b.txt?c=d"])
def test_datasets_and_urls_may_be_a_corpus(corpus):
    assert check("01_seed_divergence", GOOD | {"corpus": corpus}).corpus == check_corpus(corpus)


def test_folder_or_other_file_is_no_corpus(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check("01_seed_divergence", GOOD | {"corpus": "text"})
    (tmp_path / "text").mkdir()
    (tmp_path / "text.md").touch()
    for name in ("text", "text.md"):
        for refusing in (lambda name: check("01_seed_divergence", GOOD | {"corpus": name}), check_corpus):
            with pytest.raises(InputError, match="corpus"):
                refusing(name)


def test_smallest_numbers_of_tokens_are_taken():
    check("01_seed_divergence", GOOD | {"n_tokens": 10, "n_eval_tokens": 20})


def test_choices_are_those_of_the_code_that_takes_them():
    assert rules.SITES == SITES
    assert sorted(rules.ARCHITECTURES) == sorted(ARCHITECTURES)
    assert set(rules.TEXT_FILES) == set(SUFFIXES)


def test_every_rule_belongs_to_a_parameter():
    assert set(RULES) <= {name for notebook in NOTEBOOKS for name in parameter_names(notebook)}


def test_check_imports_nothing_heavy():
    heavy = "{'torch', 'transformers', 'transformer_lens', 'datasets', 'papermill'}"
    code = f"from sae_utils.run.parameters import check; check('01_seed_divergence', {GOOD!r})"
    subprocess.run([sys.executable, "-c", f"{code}\nimport sys; assert not {heavy} & set(sys.modules)"], check=True)
