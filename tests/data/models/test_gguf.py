"""A GGUF file becomes a folder with its weights; what is none, or cut, or unknown ends in one line."""

import json

import gguf as library
import numpy as np
import pytest
import torch

from sae_utils.data.models import gguf, names
from sae_utils.data.models.language_model import load_language_model
from sae_utils.errors import InputError

WIDTH, HEADS, MLP = 32, 4, 64
TOKENS = ["<unk>", "<s>", "</s>", *"abcdefgh", "ab", "cd"]


def write_llama(path, architecture="llama", wanted=library.GGMLQuantizationType.F32):
    """One layer with random weights, named as llama.cpp names them; the weights, as given."""
    rng = np.random.default_rng(0)
    writer = library.GGUFWriter(path, architecture)
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(MLP)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(TOKENS)
    writer.add_token_types([3, 3, 3] + [1] * (len(TOKENS) - 3))
    writer.add_token_merges(["a b", "c d"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    shapes = {
        "token_embd.weight": (len(TOKENS), WIDTH),
        "output.weight": (len(TOKENS), WIDTH),
        "output_norm.weight": (WIDTH,),
        "blk.0.attn_norm.weight": (WIDTH,),
        "blk.0.ffn_norm.weight": (WIDTH,),
        **{f"blk.0.attn_{part}.weight": (WIDTH, WIDTH) for part in ("q", "k", "v", "output")},
        "blk.0.ffn_gate.weight": (MLP, WIDTH),
        "blk.0.ffn_up.weight": (MLP, WIDTH),
        "blk.0.ffn_down.weight": (WIDTH, MLP),
    }
    weights = {}
    for name, shape in shapes.items():
        value = rng.standard_normal(shape).astype(np.float32)
        kind = wanted if len(shape) == 2 else library.GGMLQuantizationType.F32
        stored = library.quantize(value, kind)
        weights[name] = library.dequantize(stored, kind)
        writer.add_tensor(name, stored, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return weights


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(gguf, "CONVERTED", tmp_path / "cache")
    return tmp_path / "cache"


@pytest.mark.parametrize("kind", ["F32", "Q4_1"])
def test_its_weights_dequantised_are_the_folders(tmp_path, cache, kind):
    file = tmp_path / "tiny.gguf"
    weights = write_llama(file, wanted=library.GGMLQuantizationType[kind])
    model = load_language_model(str(file))
    assert (model.n_layers, model.d_model, model.n_vocab) == (1, WIDTH, len(TOKENS))
    tensors = model.tensors
    for theirs, ours in {
        "token_embd.weight": "model.embed_tokens.weight",
        "output.weight": "lm_head.weight",
        "blk.0.ffn_down.weight": "model.layers.0.mlp.down_proj.weight",
        "blk.0.attn_v.weight": "model.layers.0.self_attn.v_proj.weight",
    }.items():
        np.testing.assert_array_equal(tensors[ours].numpy(), weights[theirs])
    # llama.cpp keeps the two halves of a rotated pair beside each other, transformers half a head apart.
    query = weights["blk.0.attn_q.weight"].reshape(HEADS, -1, 2, WIDTH).swapaxes(1, 2).reshape(WIDTH, WIDTH)
    np.testing.assert_array_equal(tensors["model.layers.0.self_attn.q_proj.weight"].numpy(), query)


def test_it_is_converted_once_and_again_only_if_damaged(tmp_path, cache, monkeypatch):
    file = tmp_path / "tiny.gguf"
    write_llama(file)
    folder = names.find(str(file)).folder
    gguf.convert(file, folder)
    assert folder == gguf.folder_of(file) and names.config_file(names.find(str(file))).is_file()
    torch.testing.assert_close(
        load_language_model(str(folder)).logits(torch.tensor([[3, 4, 5]])),
        load_language_model(str(file)).logits(torch.tensor([[3, 4, 5]])),
        rtol=0,
        atol=0,
    )
    monkeypatch.setattr(gguf, "_write", lambda *_: pytest.fail("converted twice"))
    gguf.convert(file, folder)
    monkeypatch.undo()
    monkeypatch.setattr(gguf, "CONVERTED", cache)
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    gguf.convert(file, folder)
    assert weights.read_bytes() == whole
    assert json.loads((folder / "config.json").read_text())["architectures"] == ["LlamaForCausalLM"]


def cut(path):
    write_llama(path)
    path.write_bytes(path.read_bytes()[:-200])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.write_bytes(b"PK\x03\x04 other"), "is no GGUF file: it does not begin with GGUF"),
        (lambda path: None, "there is no such file"),
        (cut, "cannot be read as GGUF"),
        (lambda path: path.write_bytes(b"GGUF\x03\x00"), "cannot be read as GGUF"),
        (lambda path: write_llama(path, "mamba9"), "cannot be read as GGUF: .*mamba9"),
    ],
)
def test_what_cannot_be_read_ends_in_one_line(tmp_path, cache, make, said):
    file = tmp_path / "bad.gguf"
    make(file)
    with pytest.raises(InputError, match=said):
        load_language_model(str(file))
    assert not [path for path in cache.glob("*") if path.is_dir()]  # nothing half-made


def test_a_model_from_a_wheel_that_is_not_here_or_is_another(tmp_path, monkeypatch):
    monkeypatch.setattr(gguf, "FETCHED", tmp_path)
    monkeypatch.setattr(gguf.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="not on this machine; ./run_all.sh test fetches it"):
        names.find("smollm2-135m")
    module, file, _ = gguf.WHEELS["smollm2-135m"]
    (tmp_path / module).mkdir()
    (tmp_path / module / file).write_bytes(b"GGUF another")
    with pytest.raises(InputError, match="is not the file that was published"):
        names.find("smollm2-135m")
