"""The script that makes the bundled model, at a size of seconds."""

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.places import importing

from sae_utils.data.text import installed_python
from sae_utils.data.text.installed_python import SourceFile
from sae_utils.errors import InputError
from sae_utils.pycode import build as bundled_model
from sae_utils.pycode import pretraining
from sae_utils.pycode.build import export
from sae_utils.pycode.pretraining import (
    PretrainingConfig,
    next_token_loss,
    token_stream,
    train_tokenizer,
    training_batches,
)

SMALL = PretrainingConfig(
    vocab_size=300, n_layers=1, d_model=16, n_heads=2, context=16, batch=4, n_tokens=12 * 64, warmup_steps=2,
    checkpoint_every=4,
)  # fmt: skip


def streams() -> dict[str, np.ndarray]:
    tokens = np.random.default_rng(0).integers(0, 300, 2000).astype(np.uint16)
    return {"train": tokens[:1500], "held_out": tokens[1500:]}


def weights(model) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_loss_and_gradients_equal_cross_entropy_of_the_same_bfloat16_product():
    torch.manual_seed(0)
    hidden, weight = torch.randn(2500, 16, requires_grad=True), torch.randn(300, 16, requires_grad=True)
    targets = torch.randint(0, 300, (2500,))
    loss = next_token_loss(hidden, weight, targets)
    mine = torch.autograd.grad(loss, [hidden, weight])
    logits = (hidden.bfloat16() @ weight.bfloat16().T).float()
    expected = F.cross_entropy(logits, targets)
    theirs = torch.autograd.grad(expected, [hidden, weight])
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    for a, b in zip(mine, theirs, strict=True):
        assert torch.allclose(a, b, atol=2e-2 * b.abs().max().item())  # bfloat16 keeps 8 bits


def test_a_pass_reads_every_row_once_and_resuming_gives_the_same_batches():
    stream = np.arange(1000, dtype=np.uint16)
    batches = training_batches(stream, SMALL, 0)
    first = [next(batches) for _ in range(30)]
    starts = torch.cat(first[: len(stream) // 64 - 1])[:, 0]
    assert len(set(starts.tolist())) == len(starts)
    assert all((b[:, 1:] - b[:, :-1] == 1).all() for b in first)
    assert torch.equal(next(training_batches(stream, SMALL, 17)), first[17])


def test_killed_training_goes_on_to_the_same_weights(tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir(), cut.mkdir()
    expected = weights(pretraining.pretrain(streams(), SMALL, whole, "cpu"))
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "import test_pretraining as t\n"
        "save, calls = t.pretraining._save, []\n"
        "def save_and_die(*args):\n"
        "    save(*args); calls.append(1)\n"
        "    if len(calls) == 2: os.kill(os.getpid(), signal.SIGKILL)\n"
        "t.pretraining._save = save_and_die\n"
        "t.pretraining.pretrain(t.streams(), t.SMALL, Path(sys.argv[1]), 'cpu')\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, str(cut)], env=importing(Path(__file__).parent), capture_output=True
    )
    assert ended.returncode == -signal.SIGKILL
    assert torch.equal(weights(pretraining.pretrain(streams(), SMALL, cut, "cpu")), expected)


def test_the_exported_folder_is_float16_and_loads_with_the_same_weights(tmp_path):
    from transformers import GPTNeoXForCausalLM, PreTrainedTokenizerFast

    corpus = tmp_path / "corpus"
    train_tokenizer(["def f(x):\n    return x + 1\n" * 20], 300).save_pretrained(corpus / "tokenizer")
    (corpus / "corpus.json").write_text("{}")
    (tmp_path / "log.jsonl").write_text("{}")
    model = pretraining.build_model(SMALL)
    export(model, corpus, tmp_path / "log.jsonl", tmp_path / "model")
    assert {"corpus.json", "training_log.jsonl"} < {path.name for path in (tmp_path / "model").iterdir()}
    loaded = GPTNeoXForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    assert torch.equal(weights(loaded), weights(model).half().float())
    again = PreTrainedTokenizerFast.from_pretrained(tmp_path / "model")
    text = "def g(y):\n\treturn 'é' * y\n"
    assert again.decode(again.encode(text)) == text


def test_every_text_ends_with_the_end_of_text_token():
    tokenizer = train_tokenizer(["alpha beta", "gamma"], 300)
    stream = token_stream(tokenizer, ["alpha", "", "gamma <|endoftext|> shown"])
    assert (stream == tokenizer.eos_token_id).sum() == 3
    assert stream[-1] == tokenizer.eos_token_id


def test_impossible_configs_are_refused():
    with pytest.raises(InputError, match="n_heads=3"):
        PretrainingConfig(n_heads=3)
    with pytest.raises(InputError, match="n_tokens=5"):
        PretrainingConfig(n_tokens=5)


def test_a_checkpoint_of_other_settings_or_text_or_a_torn_one_is_refused(tmp_path):
    pretraining.pretrain(streams(), SMALL, tmp_path, "cpu")
    other = {name: stream[::-1] for name, stream in streams().items()}
    for text, config in (
        (streams(), replace(SMALL, n_tokens=20 * 64)),
        (streams(), replace(SMALL, lr=1e-4)),
        (other, SMALL),
    ):
        with pytest.raises(InputError, match="other settings or other text"):
            pretraining.pretrain(text, config, tmp_path, "cpu")
    state = tmp_path / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-10])
    with pytest.raises(InputError, match="truncated"):
        pretraining.pretrain(streams(), SMALL, tmp_path, "cpu")


def test_the_command_makes_the_whole_folder(tmp_path, monkeypatch):
    files = [SourceFile(f"p/{i}.py", f"name_{i} = {i} * {i + 1}\n" * (20 + i)) for i in range(40)]
    monkeypatch.setattr(installed_python, "read_installed", lambda: files)
    monkeypatch.setattr(bundled_model, "PretrainingConfig", lambda n_tokens: replace(SMALL, n_tokens=n_tokens))
    monkeypatch.setattr(bundled_model.PretrainingConfig, "n_tokens", 0, raising=False)
    out = tmp_path / "out"
    bundled_model.main(["--work", str(tmp_path / "work"), "--out", str(out), "--device", "cpu", "--n-tokens", "256"])
    manifest = json.loads((out / "corpus.json").read_text())
    assert manifest["files"] == 40 and manifest["sha256"] == installed_python.digest(files)
    assert 0 < len(manifest["held_out"]) < 40
    assert (out / "model.safetensors").exists() and (out / "training_log.jsonl").read_text().count("tokens") == 1
