"""Notebook 00's measurements against plain loops over the same model."""

import json

import numpy as np
import pytest
import torch
from helpers.tiny_language_model import TEXTS, make_family, make_tiny

from sae_utils.data.models import BUNDLED, SITES
from sae_utils.data.models.language_model import load_language_model
from sae_utils.data.text import TokenTexts, documents
from sae_utils.errors import InputError
from sae_utils.pycode import evaluation


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_language_model(make_tiny(tmp_path_factory.mktemp("tiny")))


@pytest.fixture
def rows(model):
    return np.random.default_rng(0).integers(0, model.n_vocab, (7, 24)).astype(np.uint16)


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "texts.jsonl"
    path.write_text("\n".join(json.dumps({"text": f"# {i}\n" + text}) for i in range(5) for text in TEXTS))
    return str(path)


def test_losses_do_not_depend_on_how_rows_are_batched(model, rows):
    tokens = torch.from_numpy(rows.astype(np.int64))
    expected = model.loss(tokens)
    for size in (1, 3, 7, 100):
        by_position = evaluation.loss_by_position(model, rows, size)
        np.testing.assert_allclose(by_position, expected.mean(0).numpy(), rtol=1e-4)
        ablated = evaluation.ablated_losses(model, rows, size)
        zeroed = [model.loss(tokens, {f"blocks.{i}.hook_mlp_out": torch.zeros_like}).mean().item() for i in range(3)]
        np.testing.assert_allclose(ablated, zeroed, rtol=1e-4)


def test_norms_are_of_the_kept_positions(model, rows):
    norms = evaluation.activation_norms(model, rows, 3)
    assert norms.shape == (len(SITES), 3, 3)
    x = model.activations(torch.from_numpy(rows.astype(np.int64)), ["blocks.1.hook_resid_pre"])[
        "blocks.1.hook_resid_pre"
    ]
    keep = [(i, j) for i in range(7) for j in range(1, 24) if rows[i, j] != model.tokenizer.eos_token_id]
    expected = np.quantile([x[i, j].norm().item() for i, j in keep], evaluation.QUANTILES)
    np.testing.assert_allclose(norms[SITES.index("resid_pre"), 1], expected, rtol=1e-4)


@pytest.mark.parametrize("family", ["gpt_neox", "llama"])
def test_completion_is_the_likeliest_token_each_time(family, rows, tmp_path):
    model = load_language_model(make_family(tmp_path, family))
    tokens = rows[0].astype(np.int64)
    completion = evaluation.complete(model, tokens, n_prompt=10, n_new=4)
    first = [model.tokenizer.bos_token_id] if family == "llama" else []
    ids = first + tokens[:10].tolist()
    for p in completion.model_p:
        probabilities = model.logits(torch.tensor([ids]))[0, -1].softmax(-1)
        ids.append(int(probabilities.argmax()))
        assert p == pytest.approx(probabilities.max().item(), rel=1e-4)
    assert list(completion.model_tokens) == TokenTexts(model.tokenizer).in_row(ids)[-4:]
    whole = torch.tensor([first + tokens[:14].tolist()])
    true_p = model.logits(whole)[0, -5:-1].softmax(-1)[range(4), tokens[10:14]]
    np.testing.assert_allclose(completion.file_p, true_p.numpy(), rtol=1e-4)
    assert str(completion).splitlines()[-1].endswith(f"{completion.file_p[-1]:.2f}")
    with pytest.raises(InputError, match="needs more than 24 tokens"):
        evaluation.complete(model, tokens, n_prompt=20, n_new=5)


@pytest.mark.parametrize("characters", [20, None])
def test_sample_has_whole_beginnings_of_held_out_files_or_all_of_them(model, corpus, characters):
    sample = evaluation.held_out_sample(corpus, model.tokenizer, 100, characters)
    assert sample.n_tokens >= 100 and sample.n_tokens - len(sample.tokens[-1]) < 100
    whole = list(documents(corpus, "held_out"))[: len(sample.texts)]
    assert list(sample.texts) == [text[:characters] for text in whole] and sample.n_bytes == sum(map(len, sample.texts))
    assert [model.tokenizer.decode(ids.tolist()) for ids in sample.tokens] == list(sample.texts)
    with pytest.raises(InputError, match=r"held-out tokens; asked for 1,000,000"):
        evaluation.held_out_sample(corpus, model.tokenizer, 1_000_000)


def test_sample_of_several_sources_has_the_share_of_each(model, corpus, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("<|endoftext|>".join(f"{text}# {text}" for text in TEXTS))
    sample = evaluation.held_out_sample(f"3 {corpus} + 1 {other}", model.tokenizer, 101)
    parts = [evaluation.held_out_sample(str(one), model.tokenizer, n) for one, n in ((corpus, 76), (other, 26))]
    assert sample.texts == parts[0].texts + parts[1].texts and sample.n_tokens == sum(part.n_tokens for part in parts)


def test_an_untrained_model_needs_more_bits_than_a_trigram(model, corpus):
    sample = evaluation.held_out_sample(corpus, model.tokenizer, 300)
    training = np.concatenate([[*model.tokenizer(text)["input_ids"], 0] for text in TEXTS])
    bits = evaluation.bits_per_byte(model, sample, training, context=32, batch_size=8)
    assert list(bits) == ["model", "trigram", "unigram", "xz"]
    assert bits["trigram"] < bits["unigram"] < bits["model"]


def test_training_log_is_read_where_there_is_one(tmp_path, monkeypatch):
    monkeypatch.setitem(BUNDLED, "logged", tmp_path)
    assert all(len(values) == 0 for values in evaluation.training_log("logged").values())
    (tmp_path / "training_log.jsonl").write_text('{"tokens": 5, "train": 2.5, "held_out": 3}\n' * 2)
    assert evaluation.training_log("logged")["held_out"].tolist() == [3, 3]
    assert all(len(values) == 0 for values in evaluation.training_log("EleutherAI/pythia-160m").values())
