"""Every kind of bad parameter is refused in one line, before anything heavy is imported."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pydantic
import pytest

from sae_utils.data.labelled.datasets import READERS
from sae_utils.data.models import SITES
from sae_utils.data.text import SUFFIXES, check_corpus
from sae_utils.errors import InputError
from sae_utils.paths import NOTEBOOKS as FOLDER_OF_NOTEBOOKS
from sae_utils.results import results_folder
from sae_utils.run.notebooks import default_parameters
from sae_utils.run.parameters import rules
from sae_utils.run.parameters.checks import check
from sae_utils.run.parameters.presets import values_of
from sae_utils.run.parameters.schemas import NOTEBOOKS
from sae_utils.saes import ARCHITECTURES

NAME = {notebook[:2]: notebook for notebook in NOTEBOOKS}
FOLDER = str(Path(__file__).parent)


def good(number, **change):
    """The notebook's tiny values under a name of their own, with a change."""
    return NOTEBOOKS[NAME[number]](preset="mine").model_dump() | change


GOOD = good("01")


BAD = {
    "01": [
        ({"k": True}, "k = True must be int, not bool"),
        ({"k": "8"}, "k = '8' must be int, not str"),
        ({"base_lr": "1e-4"}, "base_lr = '1e-4' must be float, not str (YAML reads 1e-4 as text: write 1.0e-4)"),
        ({"base_lr": float("nan")}, "base_lr = nan must be a finite number"),
        ({"base_lr": 2}, "base_lr = 2 must be 1e-09 to 1.0"),
        ({"results_dir": None}, "results_dir = None must be str, not NoneType"),
        ({"results_dir": "~no-one/out"}, "results_dir = '~no-one/out' is in the home folder of a user who is not"),
        ({"layer": -1}, "layer = -1 must be 0 or more"),
        ({"layer": 6}, "layer = 6 must be 0 to 5 for the model pycode-2m"),
        ({"context": 257}, "context = 257 must be 0 (the model's) to 256 for the model pycode-2m"),
        ({"context": 1}, "context = 1 must be 0 (the model's own), or 2 or more"),
        ({"batch_size": 1}, "batch_size = 1 must be 2 or more"),
        ({"n_seeds": 4}, "n_seeds = 4 must be 5 or more"),
        ({"n_seeds": 2**31}, "n_seeds = 2147483648 must be at most 256"),
        ({"data_seed": 2**32}, "data_seed = 4294967296 must be 0 to 4294967295"),
        ({"k": 129}, "k = 129 must be at most n_latents = 128"),
        ({"n_tokens": 127}, "batch_size = 128 must be at most n_tokens = 127"),
        ({"n_eval_tokens": 255}, "n_eval_tokens = 255 must be 2 * batch_size = 256 or more"),
        ({"site": "mlp"}, "site = 'mlp' must be 'mlp_out', 'resid_pre' or 'resid_post'"),
        ({"architecture": "TopK"}, "architecture = 'TopK' must be 'topk', 'batch_topk', 'relu', 'gated' or"),
        ({"architecture": "relu"}, "architecture = 'relu' needs a sparsity coefficient"),
        ({"model": ""}, "model = '' must be a bundled model's name, a folder, or a Hugging Face name"),
        ({"model": "./missing"}, "model './missing' is unknown: it is not bundled, not an existing folder"),
        ({"model": "pycode-2m@main"}, "model 'pycode-2m@main': pycode-2m has no revisions"),
        ({"model": "gpt2@"}, "model 'gpt2@': after the @ must be a branch, a tag or a commit"),
        ({"corpus": "no such text"}, f"corpus = 'no such text' must be {rules.CORPORA}"),
        ({"corpus": "some/name:"}, f"corpus = 'some/name:' must be {rules.CORPORA}"),
        ({"corpus": "https://a.org/b.txt"}, f"corpus = 'https://a.org/b.txt' must be {rules.CORPORA}"),
        ({"corpus": "missing.jsonl"}, "corpus = 'missing.jsonl' is a file that is not there"),
        ({"corpus": "~nobody/text.jsonl"}, "corpus = '~nobody/text.jsonl' is a file that is not there"),
        ({"preset": "../up"}, "preset = '../up' must be letters"),
        ({"device": "gpu"}, "device = 'gpu' must be cpu, cuda or cuda:<number>"),
        ({"device": "cuda:99"}, "device = 'cuda:99': this machine has"),
        ({"saes": "folder"}, "saes = 'folder' must be a list of str"),
        ({"saes": ["folder", ""]}, "saes[1] = '' must be a folder, a file, or owner/repository/folder on the hub"),
        ({"saes": ["folder", "folder"]}, "saes = ['folder', 'folder'] holds 'folder' twice"),
    ],
    "02": [
        ({"widths": 64}, "widths = 64 must be a list of at least one int"),
        ({"widths": [64]}, "widths = [64] must be 2 or more, from small to large"),
        ({"widths": [64, "128"]}, "widths[1] = '128' must be int, not str"),
        ({"widths": [64, 128, 64]}, "widths = [64, 128, 64] holds 64 twice"),
        ({"ks": [8, 4]}, "ks = [8, 4] must be 2 or more, from small to large"),
        ({"ks": [4, 65]}, "ks = [4, 65] must be at most n_latents = 64"),
        ({"k": 40}, "k = 40 must be at most widths = [32, 64]"),
        ({"layers": [0, 5]}, "layers = [0, 5] must be 3 or more"),
        ({"layers": [0, 3, 6]}, "layer = 6 must be 0 to 5 for the model pycode-2m"),
        ({"sites": ["mlp_out"]}, "sites = ['mlp_out'] must be a list with ['resid_post'] in it: a claim is about it"),
        ({"token_counts": [200, 100]}, "token_counts = [200, 100] must be from small to large"),
        ({"token_counts": [49_873]}, "token_counts = [49873] must be from small to large, and at most n_tokens -"),
        ({"architecture_width": 8}, "architecture_width = 8 must be above architecture_k = 8"),
        ({"batch_size": 12_501, "n_eval_tokens": 40_000}, "batch_size = 12501 must be at most 12500, a quarter of the"),
        ({"n_seeds": 2}, "n_seeds = 2 must be 3 or more"),
    ],
    "03": [
        ({"widths": [64]}, "widths = [64] must be 2 or more, from small to large"),
        ({"k": 32}, "k = 32 must be below the narrowest of widths = 32: an L0 of ReLU"),
        ({"n_seeds": 2}, "n_seeds = 2 must be 3 or more"),
    ],
    "04": [
        ({"n_meta": 65}, "n_meta = 65 must be at most 64, the widest but one of widths"),
        ({"meta_widths": [16, 128]}, "meta_widths = [16, 128] must be below 128, the widest of widths"),
        ({"meta_k": 17}, "meta_k = 17 must be at most 16, the fewest meta-latents"),
        ({"meta_ks": [2, 17]}, "meta_ks = [2, 17] must be at most 16, the fewest meta-latents"),
    ],
    "05": [
        ({"n_members": 9}, "member_latents = 64 must be k * n_members = 72 or more"),
        ({"other_tokens": 100}, "other_tokens = 100 must be member_batch_size = 128 or more"),
        ({"member_batch_size": 60_000}, "member_batch_size = 60000 must be at most member_tokens = 50000"),
        ({"other_latents": 8}, "other_latents = 8 must be above k = 8"),
        ({"n_ensembles": 2}, "n_ensembles = 2 must be 3 or more"),
    ],
    "06": [
        ({"dataset": "~nobody/TABLE.JSONL"}, "dataset = '~nobody/TABLE.JSONL' is a file that is not there"),
        ({"dataset": __file__}, f"dataset = {__file__!r} must be a Hugging Face dataset, or a .csv or .jsonl file"),
        ({"dataset": FOLDER}, f"dataset = {FOLDER!r} must be a Hugging Face dataset, or a .csv or .jsonl file"),
        ({"context": 64, "window": 65}, "window = 65 must be 2 to context = 64"),
        ({"n_ensembles": 1}, "n_ensembles = 1 must be 2 or more"),
        ({"probe_ks": [1]}, "probe_ks = [1] must be a list of 1 and at least one more"),
    ],
    "07": [
        ({"member_tokens": 100}, "member_batch_size = 128 must be at most member_tokens = 100"),
        ({"attribute_pairs": ["test"]}, "attribute_pairs[0] = 'test' must be two concepts with ' & ' between them"),
        ({"n_ablated": [0]}, "n_ablated[0] = 0 must be 1 or more"),
    ],
    "09": [
        ({"n_smaller": 128}, "n_smaller = 128 must be below n_latents = 128"),
        ({"meta_k": 33}, "meta_k = 33 must be at most n_meta = 32"),
    ],
    "10": [
        ({"world_k": 33}, "world_ks = [2, 6] must be at most n_atoms / 2 = 32"),
        ({"many_atoms": 32}, "many_atoms = 32 must be 0, or a multiple of 4 from 64 on"),
        ({"n_atoms": 30}, "n_atoms = 30 must be a multiple of 4"),
        ({"atom_l0": 8.0}, "atom_l0 = 8.0 must be below n_atoms / 8 = 8"),
    ],
    "11": [
        ({"at_l0": 8.0}, "at_l0 = 8.0 must be between the ends of ks"),
        ({"methods": ["all", "best"]}, "methods[1] = 'best' must be 'all', 'topk', "),
        ({"methods": []}, "methods = [] must be a list with 'topk' or 'all' in it"),
        ({"methods": ["ortsae"], "saes": ["a"]}, "methods = ['ortsae'] must be a list with 'topk' or 'all' in it"),
        ({"n_atoms": 30}, "n_atoms = 30 must be a multiple of 4"),
        ({"atom_l0": 4.0}, "atom_l0 = 4.0 must be below n_atoms / 8 = 4"),
        ({"n_world_tokens": 50}, "n_world_tokens = 50 must be batch_size = 128 or more"),
        ({"n_latents": 9000}, "n_latents = 9000 must be at most the 6000 tokens"),
        ({"n_seeds": 2}, "n_seeds = 2 must be 3 or more"),
    ],
}


@pytest.mark.parametrize(("number", "change", "said"), [(n, *row) for n, rows in BAD.items() for row in rows])
def test_bad_parameter_is_refused_in_one_line(number, change, said):
    with pytest.raises(InputError, match=f"^parameter {re.escape(said)}[^\n]*$"):
        check(NAME[number], good(number, **change))


@pytest.mark.parametrize("number", NAME)
def test_what_is_just_allowed_is_taken_frozen_and_unchanged(number):
    p = check(NAME[number], {**good(number), "unrelated": object()})
    assert p.model_dump() == good(number)
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        p.context = 3


@pytest.mark.parametrize(
    "change",
    [
        {"n_tokens": 128, "n_eval_tokens": 256, "base_lr": 1},
        {"corpus": "HuggingFaceFW/fineweb-edu:sample-10BT"},
        {"corpus": "openwebtext"},
    ],
)
def test_other_values_are_taken(change):
    p = check(NAME["01"], GOOD | change)
    assert {name: getattr(p, name) for name in change} == change
    assert check_corpus(p.corpus) == p.corpus


@pytest.mark.parametrize(
    ("notebook", "namespace", "said"),
    [
        (NAME["01"], GOOD | {"In": ["# Parameters\nlayr = 3\n"]}, "no parameter 'layr' (did you mean layer?); it has "),
        (NAME["01"], {}, "01_seed_divergence has no value for its parameter model"),
        ("99_none", GOOD, "no notebook '99_none'; there are 00_language_model"),
    ],
)
def test_names_that_are_not_there(notebook, namespace, said):
    with pytest.raises(InputError, match=re.escape(said)):
        check(notebook, namespace)


GPT2 = {"architectures": ["GPT2LMHeadModel"], "n_layer": 3}


def refused(said, **change):
    with pytest.raises(InputError, match=f"^parameter {said}[^\n]*$"):
        check(NAME["01"], GOOD | change)


def test_local_model_folder_is_checked_by_its_config(tmp_path):
    local = {"model": str(tmp_path), "layer": 2}
    refused("model = .*: the folder has no config.json", **local)
    (tmp_path / "config.json").write_text(json.dumps(GPT2 | {"n_positions": 32}))
    check(NAME["01"], GOOD | local | {"context": 32})
    refused("layer = 3 must be 0 to 2", **local | {"layer": 3})
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["BertForMaskedLM"]}))
    refused("model .* is no causal language model: .* BertForMaskedLM", **local)


def test_hub_model_is_checked_by_the_config_that_an_earlier_run_left(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    hub_name = {"model": "owner/gpt@step3", "layer": 3}
    check(NAME["01"], GOOD | hub_name)
    repository = tmp_path / "models--owner--gpt"
    (repository / "snapshots" / "abc").mkdir(parents=True)
    (repository / "snapshots" / "abc" / "config.json").write_text(json.dumps(GPT2))
    (repository / "refs").mkdir()
    (repository / "refs" / "step3").write_text("abc")
    refused("layer = 3 must be 0 to 2 for the model owner/gpt@step3", **hub_name)
    check(NAME["01"], GOOD | hub_name | {"model": "owner/gpt@step4"})


def test_home_folder_is_known_as_the_loaders_know_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(GPT2))
    (tmp_path / "text.jsonl").touch()
    local = {"model": "~/model", "corpus": "~/text.jsonl"}
    assert check(NAME["01"], GOOD | local | {"layer": 2}).corpus == check_corpus(local["corpus"])
    refused("layer = 3 must be 0 to 2", **local)


def test_results_folder_is_one_that_can_be_made_and_written_in(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert check(NAME["01"], GOOD | {"results_dir": "~/new/out"}).results_dir == f"{tmp_path}/new/out"
    assert results_folder("tiny", "~/new/out") == tmp_path / "new" / "out" / "tiny"
    (tmp_path / "file").touch()
    for name in ("~/file", "~/file/out"):
        refused(f"results_dir = '{name}' must be a folder, and {tmp_path}/file is a file", results_dir=name)
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != tmp_path)  # root may write anywhere
    said = f"must be a folder that can be written in, and {tmp_path} cannot"
    refused(f"results_dir = '~/new/out' {said}", results_dir="~/new/out")
    monkeypatch.setattr("sae_utils.run.parameters.rules.RESULTS", tmp_path / "results")
    refused(f"results_dir = '' {said}", results_dir="")


def test_several_sources_may_be_a_corpus_and_each_is_checked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").touch()
    (tmp_path / "a.md").touch()
    (tmp_path / "folder").mkdir()
    corpus = "0.7 installed-python + 0.3 a.txt"
    assert check(NAME["01"], GOOD | {"corpus": corpus}).corpus == corpus == check_corpus(corpus)
    other = f"must be {rules.CORPORA}"
    for source, said in (("b.txt", "is a file that is not there"), ("a.md", other), ("folder", other)):
        corpus = f"0.7 installed-python + 0.3 {source}"
        refused(re.escape(f"corpus = {corpus!r} has the source {source!r}, which {said}"), corpus=corpus)
        for name in (source, corpus):
            with pytest.raises(InputError, match="corpus"):
                check_corpus(name)
    refused("corpus = '0.7 a.txt' has a weight for one source alone", corpus="0.7 a.txt")


def test_choices_are_those_of_the_code_that_takes_them():
    assert rules.SITES == SITES
    assert sorted(rules.ARCHITECTURES) == sorted(ARCHITECTURES)
    assert set(rules.TEXT_FILES) == set(SUFFIXES)
    assert set(rules.TABLES) == set(READERS)


def in_cell(number, **change):
    """What the notebook's cell has, with a change."""
    return default_parameters(FOLDER_OF_NOTEBOOKS / f"{NAME[number]}.ipynb") | change


@pytest.mark.parametrize("number", NAME)
@pytest.mark.parametrize("name", ["laptop", "tiny", "smollm2", "mine"])
def test_a_preset_that_is_named_in_the_cell_and_nothing_else_gives_its_values(number, name, capsys):
    p = check(NAME[number], in_cell(number, preset=name))
    named = values_of(name if name != "mine" else "laptop", NAME[number]) | {"preset": name}
    assert p.model_dump() == NOTEBOOKS[NAME[number]](**named).model_dump()
    printed = capsys.readouterr().out
    assert printed.startswith(f"preset {name}: ") if name in ("tiny", "smollm2") else not printed


def test_a_changed_value_stays_beside_a_preset_that_is_not_published():
    p = check(NAME["01"], in_cell("01", preset="tiny", k=4))
    assert (p.k, p.n_latents, p.preset) == (4, 128, "tiny")
    p = check(NAME["01"], in_cell("01", preset="mine", k=4))
    assert (p.k, p.n_latents, p.preset) == (4, 512, "mine")
    handed = {"In": ["# Parameters\nk = 16\npreset = 'tiny'\n"]}  # by papermill, the same as in the cell
    assert check(NAME["01"], in_cell("01", preset="tiny", k=16) | handed).k == 16


@pytest.mark.parametrize("name", ["laptop", "smollm2", "replication-1", "replication-2"])
def test_other_values_under_a_published_name_are_refused_in_the_repositorys_own_results(name, tmp_path):
    theirs = values_of(name, NAME["01"])["k"]
    said = f"parameter k = 5 is {theirs} in the published preset '{name}'; for results of other values name another "
    with pytest.raises(InputError, match=f"^{re.escape(said)}preset, such as mine$"):
        check(NAME["01"], in_cell("01", preset=name, k=5))
    assert check(NAME["01"], in_cell("01", preset=name, k=5, results_dir=str(tmp_path))).k == 5


def test_a_preset_without_the_notebook_is_refused():
    with pytest.raises(InputError, match="^preset 'a-gpt2' leaves out 05_bagging_and_boosting; it has 01_"):
        check(NAME["05"], in_cell("05", preset="a-gpt2"))


def test_check_imports_nothing_heavy():
    heavy = "{'torch', 'transformers', 'transformer_lens', 'datasets', 'papermill'}"
    code = f"from sae_utils.run.parameters import check; check('01_seed_divergence', {GOOD!r})"
    subprocess.run([sys.executable, "-c", f"{code}\nimport sys; assert not {heavy} & set(sys.modules)"], check=True)
