"""What a language model does with held-out text: losses, activations, ablations and completions, as plain arrays."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_utils.data.activations import kept_positions
from sae_utils.data.mixture import sources
from sae_utils.data.models import BUNDLED, SITES
from sae_utils.data.models.language_model import LanguageModel
from sae_utils.data.text import RowMaker, TokenTexts, documents, tokenise
from sae_utils.errors import InputError
from sae_utils.pycode.ngrams import fit_ngram, model_nats, ngram_bits, xz_bits

FILE_CHARACTERS = 8_192  # of each held-out file at most, so that a sample has several files
QUANTILES = (0.1, 0.5, 0.9)


@dataclass(frozen=True)
class Sample:
    """Held-out texts and their tokens."""

    texts: tuple[str, ...]
    tokens: tuple[Int[np.ndarray, " n"], ...]

    @property
    def n_tokens(self) -> int:
        """Tokens of all texts."""
        return sum(map(len, self.tokens))

    @property
    def n_bytes(self) -> int:
        """Bytes of all texts in UTF-8."""
        return sum(len(text.encode("utf-8")) for text in self.texts)


def held_out_sample(corpus: str, tokenizer, n_tokens: int, characters: int | None = FILE_CHARACTERS) -> Sample:
    """Held-out files, in the corpus's order, until there are ``n_tokens``; the first ``characters`` of each, or all.

    Of several sources each has its share of ``n_tokens``. Raises InputError where the corpus has fewer.
    """
    if len(shares := sources(corpus)) > 1:
        parts = [held_out_sample(one, tokenizer, ceil(share * n_tokens), characters) for one, share in shares.items()]
        return Sample(sum((part.texts for part in parts), ()), sum((part.tokens for part in parts), ()))
    texts, tokens, found = [], [], 0
    for text in documents(corpus, "held_out"):
        ids = tokenise(tokenizer, text[:characters])["input_ids"]
        texts.append(text[:characters])
        tokens.append(np.array(ids, dtype=np.int64))
        found += len(ids)
        if found >= n_tokens:
            return Sample(tuple(texts), tuple(tokens))
    raise InputError(f"corpus {corpus!r} has {found:,} held-out tokens; asked for {n_tokens:,}")


def bits_per_byte(
    model: LanguageModel, sample: Sample, training: Int[np.ndarray, " n"], context: int, batch_size: int
) -> dict[str, float]:
    """Of the sample under the language model, n-gram models counted on the tokens ``training``, and xz."""
    end = model.tokenizer.eos_token_id
    bits = {"model": model_nats(model, sample.tokens, context, batch_size).sum() / np.log(2)}
    for name, order in (("trigram", 3), ("unigram", 1)):
        bits[name] = ngram_bits(fit_ngram(training, model.n_vocab, order), sample.tokens, end)
    bits["xz"] = xz_bits(sample.texts)
    return {name: float(total / sample.n_bytes) for name, total in bits.items()}


def loss_by_position(
    model: LanguageModel, rows: Int[np.ndarray, "n context"], batch_size: int
) -> Float[np.ndarray, " context-1"]:
    """Mean cross-entropy in nats of the token at each position but the first."""
    return torch.cat([model.loss(tokens) for tokens in _batches(rows, batch_size)]).mean(0).cpu().numpy()


def ablated_losses(
    model: LanguageModel, rows: Int[np.ndarray, "n context"], batch_size: int
) -> Float[np.ndarray, " n_layers"]:
    """Mean cross-entropy in nats per token with the MLP output of one layer at a time set to zero."""
    hooks = [model.hook_point("mlp_out", layer) for layer in range(model.n_layers)]
    batches = list(_batches(rows, batch_size))
    losses = [[model.loss(tokens, {hook: torch.zeros_like}).mean().item() for tokens in batches] for hook in hooks]
    return np.average(losses, axis=1, weights=[len(tokens) for tokens in batches])


def activation_norms(
    model: LanguageModel, rows: Int[np.ndarray, "n context"], batch_size: int
) -> Float[np.ndarray, "site n_layers quantile"]:
    """Quantiles (QUANTILES) of the Euclidean norms at each of SITES and each layer, where SAEs are trained.

    That is at all positions but the first of a row and end-of-text tokens.
    """
    hooks = [model.hook_point(site, layer) for site in SITES for layer in range(model.n_layers)]
    norms: dict[str, list[Tensor]] = {hook: [] for hook in hooks}
    for tokens in _batches(rows, batch_size):
        keep = torch.from_numpy(kept_positions(tokens.numpy(), model.tokenizer.eos_token_id))
        for hook, x in model.activations(tokens, hooks).items():
            norms[hook].append(x.float().norm(dim=-1).cpu()[keep])
    quantiles = [np.quantile(torch.cat(norms[hook]).numpy(), QUANTILES) for hook in hooks]
    return np.array(quantiles).reshape(len(SITES), model.n_layers, len(QUANTILES))


@dataclass(frozen=True)
class Completion:
    """How the model goes on after ``prompt``, and how the file does, with the model's probability of each token."""

    prompt: str
    model_tokens: tuple[str, ...]
    model_p: Float[np.ndarray, " n"]
    file_tokens: tuple[str, ...]
    file_p: Float[np.ndarray, " n"]

    def __str__(self) -> str:
        """The end of the prompt, then the two continuations side by side."""
        lines = ["..." + "\n".join(self.prompt.splitlines()[-4:]), "", f"{'model':<20}{'p':>5}    {'file':<20}{'p':>5}"]
        columns = zip(self.model_tokens, self.model_p, self.file_tokens, self.file_p, strict=True)
        lines += [f"{mine!r:<20}{p:5.2f}    {theirs!r:<20}{q:5.2f}" for mine, p, theirs, q in columns]
        return "\n".join(lines)


def complete(model: LanguageModel, tokens: Int[np.ndarray, " n"], n_prompt: int, n_new: int) -> Completion:
    """Go on for ``n_new`` tokens after the first ``n_prompt``, taking the likeliest token each time.

    Raises InputError where ``tokens`` are fewer than both together.
    """
    if len(tokens) < n_prompt + n_new:
        raise InputError(f"a completion of {n_new} tokens after {n_prompt} needs more than {len(tokens)} tokens")
    maker = RowMaker.of(model.tokenizer, n_prompt + n_new)
    begun = maker.body.start + n_prompt
    whole = torch.from_numpy(maker.rows(tokens[None, : n_prompt + n_new]))
    row = whole[:, :begun].to(model.device)
    chosen = []
    for _ in range(n_new):
        p, best = model.logits(row)[0, -1].softmax(-1).max(-1)
        row = torch.cat([row, best[None, None]], dim=1)
        chosen.append(p.item())
    file_p = (-model.loss(whole)[0, begun - 1 :]).exp().cpu().numpy()
    texts = TokenTexts(model.tokenizer)
    pieces = [tuple(texts.in_row(ids[0].tolist())[begun:]) for ids in (row, whole)]
    prompt = model.tokenizer.decode(tokens[:n_prompt].tolist())
    return Completion(prompt, pieces[0], np.array(chosen), pieces[1], file_p)


def training_log(name: str) -> dict[str, Float[np.ndarray, " n"]]:
    """Tokens seen, training and held-out loss (nats per token) of a bundled model's training; empty without a log."""
    path = BUNDLED[name] / "training_log.jsonl" if name in BUNDLED else None
    entries = [json.loads(line) for line in path.read_text().splitlines()] if path and path.exists() else []
    return {key: np.array([entry[key] for entry in entries], dtype=float) for key in ("tokens", "train", "held_out")}


def _batches(rows: Int[np.ndarray, "n context"], batch_size: int) -> Iterator[Int[Tensor, "batch context"]]:
    for start in range(0, len(rows), batch_size):
        yield torch.from_numpy(rows[start : start + batch_size].astype(np.int64))
