"""The script that makes the bundled model, at a size of seconds."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sae_utils.data import pretraining
from sae_utils.data.errors import InputError
from sae_utils.data.pretraining import (
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
        "import os, signal, sys; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path\n"
        "import test_pretraining as t\n"
        "die = lambda model, step: os.kill(os.getpid(), signal.SIGKILL) if step == 8 else None\n"
        "t.pretraining.pretrain(t.streams(), t.SMALL, Path(sys.argv[1]), 'cpu', die)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(cut), os.path.dirname(__file__)], capture_output=True)
    assert ended.returncode == -signal.SIGKILL
    (cut / "state.safetensors.part").write_bytes(b"half a checkpoint")
    assert torch.equal(weights(pretraining.pretrain(streams(), SMALL, cut, "cpu")), expected)


def test_the_exported_folder_is_float16_and_loads_with_the_same_weights(tmp_path):
    from transformers import GPTNeoXForCausalLM, PreTrainedTokenizerFast

    tokenizer = train_tokenizer(["def f(x):\n    return x + 1\n" * 20], 300)
    model = pretraining.build_model(SMALL)
    pretraining.export(model, tokenizer, tmp_path / "model")
    loaded = GPTNeoXForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    assert torch.equal(weights(loaded), weights(model).half().float())
    again = PreTrainedTokenizerFast.from_pretrained(tmp_path / "model")
    text = "def g(y):\n\treturn 'é' * y\n"
    assert again.decode(again.encode(text)) == text


def test_every_text_ends_with_the_end_of_text_token():
    tokenizer = train_tokenizer(["alpha beta", "gamma"], 300)
    stream = token_stream(tokenizer, ["alpha", "", "gamma"])
    assert (stream == tokenizer.eos_token_id).sum() == 3
    assert stream[-1] == tokenizer.eos_token_id


def test_impossible_configs_are_refused():
    with pytest.raises(InputError, match="n_heads=3"):
        PretrainingConfig(n_heads=3)
    with pytest.raises(InputError, match="n_tokens=5"):
        PretrainingConfig(n_tokens=5)
