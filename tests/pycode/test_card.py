"""The model card: fields from a folder, the verdict from the numbers, and no card for an unfinished model."""

import json

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from sae_utils.data.text.installed_python import PACKAGES
from sae_utils.errors import InputError
from sae_utils.pycode import card as model_card
from sae_utils.pycode.card import LICENCES, Measured, card, measure, read_folder, verdict

BITS = {"model": 1.25, "trigram": 1.75, "unigram": 3.5, "xz": 1.5}


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "pycode-2m"
    folder.mkdir()
    config = {"num_hidden_layers": 6, "hidden_size": 128, "num_attention_heads": 4, "intermediate_size": 512}
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 256, "vocab_size": 4096}))
    versions = {name: f"1.{i}.0" for i, name in enumerate(PACKAGES)}
    manifest = {"packages": versions, "files": 1234, "bytes": 5_678_901, "held_out": ["a.py", "b.py"]}
    (folder / "corpus.json").write_text(json.dumps(manifest))
    save_file({"a": np.zeros((30, 40), np.float16), "b": np.zeros(7, np.float16)}, folder / "model.safetensors")
    lines = [{"tokens": 32, "train": 3.0, "held_out": 3.1}, {"tokens": 64_000_000, "train": 1.9, "held_out": 2.3}]
    (folder / "training_log.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    return folder


def measured(**changes):
    return Measured(BITS | changes, 12, sample_bytes=345_678, sample_tokens=98_765, ngram_tokens=28_000_000)


def test_the_card_says_what_the_folder_and_the_measurement_hold(folder):
    text = card(read_folder(folder), measured())
    size = (folder / "model.safetensors").stat().st_size
    for said in ("1,207 parameters", "64,000,000 tokens", f"{size:,} bytes", "1,234 files", "2.300 held out"):
        assert said in text
    for said in ("12 whole held-out files (345,678 bytes, 98,765 tokens)", "28,000,000 training tokens"):
        assert said in " ".join(text.split())
    for i, name in enumerate(PACKAGES):
        assert f"| {name} | 1.{i}.0 | {LICENCES[name]} |" in text
    rows = [line for line in text.splitlines() if line.startswith("| ") and line.count("|") == 3]
    assert [row.split("|")[2].strip() for row in rows if row[-3].isdigit()] == ["1.250", "1.500", "1.750", "3.500"]
    assert "{" not in text and "pycode-2m beats all three." in text
    assert "python -m sae_utils.pycode.build" in text
    fields = yaml.safe_load(text.split("---\n", 2)[1])  # the front matter, as the hub knows it
    assert fields["license"] == "mit" and fields["library_name"] == "transformers"
    assert fields["pipeline_tag"] == "text-generation" and "gpt_neox" in fields["tags"]


@pytest.mark.parametrize("bits", [{"model": 1.0}, BITS | {"xz": float("nan")}, BITS | {"gzip": 2.0}])
def test_missing_or_infinite_numbers_are_refused(bits):
    with pytest.raises(InputError, match="bits per byte"):
        Measured(bits, 1, 1, 1, 1)


def test_the_verdict_follows_the_numbers():
    assert verdict("m", BITS) == "m beats all three."
    assert verdict("m", BITS | {"trigram": 1.25}) == "m does not beat trigram with back-off."
    assert verdict("m", BITS | {"xz": 1.0, "trigram": 1.0}) == "m does not beat trigram with back-off and `xz -9e`."


def test_an_unfinished_model_gets_no_card(folder):
    (folder / "training_log.jsonl").unlink()
    with pytest.raises(InputError, match=r"training_log.jsonl: finish"):
        read_folder(folder)


def test_another_text_than_the_manifests_is_refused(monkeypatch):
    monkeypatch.setattr(model_card, "installed_sha256", lambda: "other")
    with pytest.raises(InputError, match="not that of pycode-2m"):
        measure(3, 3)


def test_main_writes_the_card_whole_and_its_exit_code_is_the_verdict(folder, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(model_card, "BUNDLED", {"pycode-2m": folder})
    out = tmp_path / "README.md"
    for found, code in ((measured(), 0), (measured(xz=1.0), 1)):
        monkeypatch.setattr(model_card, "measure", lambda *_, found=found: found)
        assert model_card.main(["--out", str(out)]) == code
        assert out.read_text() == card(read_folder(folder), found)
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []
    assert "does not beat `xz -9e`" in capsys.readouterr().out
