"""Presets: base, notebooks, refusals in one line; every preset's dry run; the page of presets is what is printed."""

import subprocess
import sys

import pytest
import yaml
from helpers.throw_away_notebooks import WRITE, make

from sae_utils.errors import InputError
from sae_utils.paths import NOTEBOOKS, PRESETS, REPLICATIONS
from sae_utils.run.batch import main
from sae_utils.run.costs.cost import Throughput, together
from sae_utils.run.costs.dry_run import costs_of, planned_with
from sae_utils.run.parameters.presets import load_preset, values_of
from sae_utils.run.parameters.rules import ARCHITECTURES
from sae_utils.run.presets_page import PAGE, page

EVERY = sorted(path.stem for path in PRESETS.glob("*.yaml"))


@pytest.fixture
def folder(tmp_path):
    """Two notebooks."""
    make(tmp_path, WRITE)
    notebooks = make(tmp_path, name="01_seed_divergence")
    real = (NOTEBOOKS / "01_seed_divergence.ipynb").read_text(encoding="utf-8")
    (notebooks / "01_seed_divergence.ipynb").write_text(real, encoding="utf-8")
    return notebooks


@pytest.fixture
def speed(tmp_path):
    """A file with the throughput of a GPU at half of its vendor's rates."""
    rates = dict.fromkeys(ARCHITECTURES, 33e12)
    gpu = Throughput("H100", 80e9, 7e5, 1.5e-3, {"float32": 33e12, "bfloat16": 495e12}, rates)
    (tmp_path / "speed.yaml").write_text(str(gpu))
    return tmp_path / "speed.yaml"


def write(folder, **presets):
    for name, text in presets.items():
        (folder / "presets" / f"{name}.yaml").write_text(text)


def test_a_preset_goes_before_its_base_wherever_either_says_it(folder):
    base = "notebooks: [01]\ncommon: {k: 4, n_latents: 64, layer: 1}\n01_seed_divergence: {n_latents: 32}\n"
    base += "expected_seconds: {01_seed_divergence: 9}\n"
    write(folder, big=base, small="base: big\ncommon: {n_latents: 16}\n01_seed_divergence: {layer: 2}\n")
    big, small = load_preset("big", folder), load_preset("small", folder)
    tiny = values_of("tiny", "01_seed_divergence")
    assert big.overrides == {"01_seed_divergence": tiny | {"k": 4, "n_latents": 32, "layer": 1, "preset": "big"}}
    assert small.overrides == {"01_seed_divergence": tiny | {"k": 4, "n_latents": 16, "layer": 2, "preset": "small"}}
    assert (big.expected_seconds, small.expected_seconds) == ({"01_seed_divergence": 9}, {})


@pytest.mark.parametrize("name", REPLICATIONS)
def test_replications_are_the_published_preset_elsewhere(name):
    published, elsewhere = (load_preset(preset).overrides for preset in (REPLICATIONS[name], name))
    assert {"00_language_model", "09_explorer", "10_known_truth"} == set(published) - set(elsewhere)
    for notebook, values in elsewhere.items():
        there = published[notebook] | {"preset": name}
        changed = {key for key, value in values.items() if value != there.get(key)} - {"layers"}
        moved = {"layer"} if name == "replication-1" else {"layer", "site"}
        assert changed - {"data_seed"} == ({"layer", "world_seed"} if notebook.startswith("11") else moved)


@pytest.mark.parametrize("listed", ["[00]", "['00']", "[0]", "[00_language_model]"])
def test_notebooks_by_number_or_name(folder, listed):
    write(folder, one=f"notebooks: {listed}\n")
    assert list(load_preset("one", folder).overrides) == ["00_language_model"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("notebooks: [07]", "notebooks must be a list of some of 00_language_model, 01_seed_divergence"),
        ("notebooks: 01", "notebooks must be a list"),
        ("notebooks: [00]\n01_seed_divergence: {k: 3}", "01_seed_divergence is not among its notebooks 00_language"),
        ("base: none", "no preset 'none'; there are one, quick"),
        ("base: [quick]", "base must be the name of a preset"),
        ("base: one", "its base 'one' has a base itself"),
        ("common: {n_eval_row: 3}", "no notebook has the parameter 'n_eval_row'"),
        ("00_language_model: {n_eval_row: 3}", "no parameter 'n_eval_row' (did you mean n_eval_rows?)"),
        ("00_language_model: {n_eval_rows: 1e3}", "n_eval_rows = '1e3' must be int, not str"),
        ("02_nothing: {}", "no key '02_nothing'; allowed are base, notebooks"),
        ("common: 3", "common must be a map"),
        ("- 3", "must be a map of base, notebooks, common"),
        ("a: [", "is not YAML"),
        ("expected_seconds: {00_language_model: soon}", "expected_seconds 00_language_model: 'soon'"),
        ("common: {layer: 2020-99-99}", "is not YAML: month must be in 1..12"),
        ("notebooks: [[1]]", "notebooks must be a list of some of"),
        ("common: {device: tpu}", "device = 'tpu' must be cpu, cuda"),
    ],
)
def test_refusals_are_one_line(folder, text, said):
    write(folder, one=text)
    with pytest.raises(InputError) as refusal:
        load_preset("one", folder)
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_dry_run_leaves_notebooks_out_and_asks_for_no_device(folder, tmp_path, speed, capsys):
    write(folder, one="notebooks: [00]\ncommon: {device: 'cuda:99'}\n")
    assert main(["--preset", "one", "--dry-run", f"--throughput={speed}"], folder, tmp_path / "r") == 0
    assert "[1/1] 00_language_model" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("device", "arguments", "said"),
    [
        ("cuda:99", [], "device = 'cuda:99': this machine has"),
        ("cpu", ["--throughput=speed.yaml"], "--throughput is what --dry-run estimates with; give both"),
        ("cpu", ["--dry-run", "--only=01"], "preset 'one' leaves out 01_seed_divergence; it has 00_language_model"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_is_made(folder, tmp_path, capsys, device, arguments, said):
    write(folder, one=f"notebooks: [00]\ncommon: {{device: '{device}'}}\n")
    assert main(["--preset", "one", *arguments], folder, tmp_path / "r") == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("name", EVERY)
def test_every_preset_is_dry_run(name, tmp_path, speed, capsys):
    assert main(["--preset", name, "--dry-run", "--throughput", str(speed)], results=tmp_path / "r") == 0
    printed = capsys.readouterr().out
    assert all(notebook in printed for notebook in load_preset(name).overrides)
    assert not (tmp_path / "r").exists()
    own = yaml.safe_load((PRESETS / f"{name}.yaml").read_text())
    assert "results_dir" not in own.get("common", {}), "it would hold for every checkout of the presets"


@pytest.mark.parametrize("name", [name for name in EVERY if name.endswith("-small")])
def test_small_variants_end_within_an_hour_on_one_gpu(name, speed):
    cost = together(costs_of(planned_with(load_preset(name).overrides)).values())
    assert 30 < sum(cost.seconds(Throughput.read(speed)).values()) < 3600
    assert cost.memory.total < 72e9


def test_a_dry_run_measures_this_machine_and_says_that_it_is_no_gpu(folder, tmp_path, capsys):
    sizes = "n_latents: 64, n_tokens: 1000, batch_size: 100, n_eval_tokens: 200"
    write(folder, one=f"notebooks: [01]\ncommon: {{device: 'cuda:99', {sizes}}}\n")
    assert main(["--preset", "one", "--dry-run"], folder, tmp_path / "r") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "seeds: 5 x 64 latents, 1,000 tokens" in printed and "speed {device: 'CPU" in printed
    assert "There is no cuda:99 here: the hours are those of this machine's CPU" in printed


def test_a_dry_run_loads_no_model_and_asks_no_network(speed):
    code = f"""
import socket, sys
def refuse(*_): raise OSError("no network")
socket.socket.connect = refuse
from sae_utils.run.batch import main
assert main(["--preset", "b-gpt2", "--dry-run", "--throughput={speed}"]) == 0
assert not {{"papermill", "transformer_lens", "transformers", "datasets", "matplotlib"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_the_page_of_presets_is_what_the_code_prints():
    text = PAGE.read_text(encoding="utf-8")
    assert text == page(text), "python -m sae_utils.run.presets_page writes it anew"
    assert all(f"[{name}]({name}.yaml)" in text for name in EVERY if not name.endswith("-small"))
