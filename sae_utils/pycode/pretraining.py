"""How the bundled language model is trained: tokenizer, batches, loss, schedule, checkpoints.

``build`` has the command that makes it from nothing.
"""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from tqdm import tqdm
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

from sae_utils.data.text import tokenise
from sae_utils.errors import InputError
from sae_utils.files import sha256_of
from sae_utils.saes.training.checkpoints import read_tensors, write_tensors

END_OF_TEXT = "<|endoftext|>"
STATE = "state.safetensors"  # the last checkpoint
ADAM = ("step", "exp_avg", "exp_avg_sq")  # what the optimiser keeps of each parameter


@dataclass(frozen=True)
class PretrainingConfig:
    """Size, data order and schedule of the bundled model; the defaults are those of ``pycode-2m``."""

    vocab_size: int = 4096
    n_layers: int = 6
    d_model: int = 128
    n_heads: int = 4
    context: int = 256  # tokens in a row
    batch: int = 16  # rows in a step: 16 * 256 = 4,096 tokens
    n_tokens: int = 64_000_000  # seen in training, about 2.2 passes over 29.0M
    lr: float = 2e-3
    warmup_steps: int = 400
    weight_decay: float = 0.1  # of matrices only
    clip: float = 1.0  # largest norm of the gradient
    seed: int = 0
    checkpoint_every: int = 500  # steps

    def __post_init__(self):
        if self.d_model % self.n_heads:
            raise InputError(f"d_model={self.d_model} must be a multiple of n_heads={self.n_heads}")
        if self.n_tokens < self.batch * self.context:
            raise InputError(f"n_tokens={self.n_tokens} is less than one step of {self.batch * self.context}")

    @property
    def n_steps(self) -> int:
        """Optimiser steps of the whole run."""
        return self.n_tokens // (self.batch * self.context)


def train_tokenizer(texts: Sequence[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE trained on ``texts``; it encodes any string and has one special token, the end of a text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END_OF_TEXT, bos_token=END_OF_TEXT, unk_token=END_OF_TEXT
    )


def token_stream(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> np.ndarray:
    """All texts as one uint16 stream, each followed by the end-of-text token."""
    encoded = tokenise(tokenizer, list(texts), return_attention_mask=False)["input_ids"]
    return np.concatenate([np.array([*ids, tokenizer.eos_token_id], dtype=np.uint16) for ids in encoded])


def build_model(config: PretrainingConfig) -> GPTNeoXForCausalLM:
    """A freshly initialised GPT-NeoX (Pythia's architecture), drawn on the CPU from ``config.seed``."""
    torch.manual_seed(config.seed)
    neox = GPTNeoXConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.d_model,
        num_hidden_layers=config.n_layers,
        num_attention_heads=config.n_heads,
        intermediate_size=4 * config.d_model,
        max_position_embeddings=config.context,
        bos_token_id=0,
        eos_token_id=0,
        # With 256 positions and heads of 32, plain matrix products beat PyTorch's CPU flash kernel 1.2 times.
        attn_implementation="eager",
    )
    return GPTNeoXForCausalLM(neox)


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Cross-entropy with its gradient, 1,024 rows at a time, so that the logits [rows, vocab] stay in cache."""

    @staticmethod
    def forward(ctx, hidden, unembedding, targets, chunk):
        n = len(hidden)
        low = torch.bfloat16
        weight = unembedding.to(low)
        grad_hidden = torch.empty_like(hidden)
        grad_weight = torch.zeros_like(unembedding)
        total = hidden.new_zeros(())
        for rows in torch.arange(n, device=hidden.device).split(chunk):
            x, y = hidden[rows].to(low), targets[rows, None]
            logits = (x @ weight.T).float()
            log_z = logits.logsumexp(-1, keepdim=True)
            total += (log_z - logits.gather(1, y)).sum()
            p = logits.sub_(log_z).exp_()
            p.scatter_add_(1, y, -torch.ones_like(p[:, :1]))
            p = (p / n).to(low)
            grad_hidden[rows] = (p @ weight).to(hidden.dtype)
            grad_weight += p.T @ x
        ctx.save_for_backward(grad_hidden, grad_weight)
        return total / n

    @staticmethod
    def backward(ctx, grad):
        grad_hidden, grad_weight = ctx.saved_tensors
        return grad * grad_hidden, grad * grad_weight, None, None


def next_token_loss(
    hidden: Float[Tensor, "rows d_model"], unembedding: Float[Tensor, "vocab d_model"], targets: Int[Tensor, " rows"]
) -> Float[Tensor, ""]:
    """Mean cross-entropy in nats of ``targets`` under ``hidden @ unembedding.T``, products in bfloat16."""
    return _ChunkedCrossEntropy.apply(hidden, unembedding, targets, 1024)


def training_batches(stream: np.ndarray, config: PretrainingConfig, first_step: int) -> Iterator[Int[Tensor, "b t"]]:
    """Batches [batch, context + 1] from ``first_step`` on; each pass has a new offset and a new order of the rows."""
    step, passes = 0, 0
    while True:
        rng = np.random.default_rng((config.seed, passes))
        starts = np.arange(rng.integers(config.context), len(stream) - config.context - 1, config.context)
        rng.shuffle(starts)
        for chosen in starts[: len(starts) // config.batch * config.batch].reshape(-1, config.batch):
            if step >= first_step:
                rows = stream[chosen[:, None] + np.arange(config.context + 1)]
                yield torch.from_numpy(rows.astype(np.int64))
            step += 1
        passes += 1


def _optimizer(model: GPTNeoXForCausalLM, config: PretrainingConfig) -> torch.optim.AdamW:
    matrices = [p for p in model.parameters() if p.ndim == 2]
    vectors = [p for p in model.parameters() if p.ndim != 2]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.95), fused=True)


def _learning_rate(step: int, config: PretrainingConfig) -> float:
    """Linear warm-up, then linear decay to zero."""
    up = (step + 1) / config.warmup_steps
    down = (config.n_steps - step) / max(1, config.n_steps - config.warmup_steps)
    return config.lr * min(1.0, up, down)


def _save(folder: Path, model: GPTNeoXForCausalLM, optimizer: torch.optim.AdamW, identity: dict) -> None:
    state = {}
    for name, p in model.named_parameters():
        state[f"model.{name}"] = p
        for key in ADAM:
            state[f"{key}.{name}"] = optimizer.state[p][key]
    write_tensors(folder / STATE, "pretraining", state, identity)


def _restore(folder: Path, model: GPTNeoXForCausalLM, optimizer: torch.optim.AdamW, identity: dict) -> int:
    """Load the last checkpoint into ``model`` and ``optimizer``; its step, or 0 where there is none."""
    path = folder / STATE
    if not path.exists():
        return 0
    state, about = read_tensors(path, "pretraining")
    if about != identity:
        raise InputError(f"checkpoint {path} is of other settings or other text: give another --work, or delete it")
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(state[f"model.{name}"])
            optimizer.state[p] = {key: state[f"{key}.{name}"].to(p.device) for key in ADAM}
    return int(state[f"step.{name}"].item())


@torch.no_grad()
def held_out_loss(model: GPTNeoXForCausalLM, stream: np.ndarray, context: int) -> float:
    """Mean cross-entropy in nats per token on 64 evenly spaced rows of the held-out stream."""
    starts = np.linspace(0, len(stream) - context - 1, 64).astype(int)
    tokens = torch.from_numpy(stream[starts[:, None] + np.arange(context + 1)].astype(np.int64)).to(model.device)
    logits = model(tokens[:, :-1]).logits.float()
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).item()


def pretrain(streams: dict[str, np.ndarray], config: PretrainingConfig, work: Path, device: str):
    """Train on ``streams["train"]`` for ``config.n_tokens``; returns the model.

    Checkpoints in ``work`` every ``config.checkpoint_every`` steps and goes on from one found there. A line per
    checkpoint goes to ``work/log.jsonl``. Raises InputError for a checkpoint that is cut short or of another run.
    """
    model = build_model(config).to(device)
    optimizer = _optimizer(model, config)
    identity = {"config": asdict(config), "stream": sha256_of([np.ascontiguousarray(streams["train"])])}
    first = _restore(work, model, optimizer, identity)
    bar = tqdm(total=config.n_steps, initial=first, unit="step", desc="pycode-2m", mininterval=5)
    batches = training_batches(streams["train"], config, first)
    started, running = time.time(), None
    for step in range(first, config.n_steps):
        tokens = next(batches).to(device)
        for group in optimizer.param_groups:
            group["lr"] = _learning_rate(step, config)
        with torch.autocast(device.split(":")[0], torch.bfloat16):
            hidden = model.gpt_neox(tokens[:, :-1]).last_hidden_state
        weight = model.get_output_embeddings().weight
        loss = next_token_loss(hidden.flatten(0, 1).float(), weight, tokens[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        optimizer.step()
        optimizer.zero_grad()

        running = loss.item() if running is None else 0.98 * running + 0.02 * loss.item()
        done = step + 1
        bar.update()
        if done % config.checkpoint_every == 0 or done == config.n_steps:
            _save(work, model, optimizer, identity)
            held_out = held_out_loss(model, streams["held_out"], config.context)
            seen = done * config.batch * config.context
            rate = (done - first) * config.batch * config.context / (time.time() - started)
            bar.set_postfix(train=f"{running:.3f}", held_out=f"{held_out:.3f}", tokens_per_s=f"{rate:.0f}")
            with open(work / "log.jsonl", "a") as log:
                log.write(json.dumps({"tokens": seen, "train": running, "held_out": held_out}) + "\n")
    bar.close()
    return model
