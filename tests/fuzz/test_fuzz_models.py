"""A damaged folder of a language model gives the whole model's logits, or is refused in one line.

Weights are under no checksum: bytes that change there, and stay numbers, are another model. So headers change, tensors
go, change their names or shapes or are no numbers, files are cut, and the configuration says something else.
"""

import json
import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import torch
from helpers.fuzzing import CHANGES, examples, or_refused, other_tensors, spoiled
from helpers.tiny_language_model import make_family
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from sae_utils.data.models.language_model import load_language_model

TOKENS = torch.tensor([[5, 17, 33, 42, 7, 250]])
HOOK = "blocks.1.hook_mlp_out"
# Settings that change nothing of what is computed; with others it is another model, computed as transformers does.
KEPT = {"architectures", "dtype", "transformers_version", "use_cache", "initializer_range", "_name_or_path"}
# Of the files: how each is changed otherwise than byte by byte.
FILES = {"model.safetensors": "safetensors", "config.json": "json", "tokenizer.json": "bytes"}


@cache
def whole():
    """A random Llama in a folder that is left as it is, and what it computes."""
    folder = make_family(Path(mkdtemp()) / "llama", "llama")
    return folder, computed(folder)


def computed(folder):
    """Logits, one hook point, and the fingerprint."""
    model = load_language_model(folder)
    return model.logits(TOKENS), model.activations(TOKENS, [HOOK])[HOOK], model.fingerprint


def close(one, other):
    return torch.allclose(one, other, rtol=1e-3, atol=1e-4)


def kept(before, after):
    """Whether two files of settings differ in nothing that matters."""
    before, after = json.loads(before), json.loads(after)
    return {key for key in before | after if before.get(key) != after.get(key)} <= KEPT


@examples(15)
@given(st.data(), st.sampled_from(["tensors", *FILES]))
def test_a_damaged_model_computes_the_same_or_is_refused(tmp_path_factory, data, what):
    folder = tmp_path_factory.getbasetemp() / "model"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole()[0], folder)
    if what == "tensors":
        tensors, how = load_file(folder / "model.safetensors"), data.draw(st.sampled_from(sorted(CHANGES)))
        before = dict(tensors)
        name = other_tensors(data, tensors, how)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        square = before[name].ndim == 2 and len(before[name]) == before[name].shape[1]  # when turned, nothing tells
        same = how not in ("whole numbers", "float16") and not (how == "turned round" and square)
    else:
        before = (folder / what).read_bytes()
        (folder / what).write_bytes(spoiled(data, before, FILES[what], checked=False))
    found = or_refused(computed, folder)
    if not found:
        return
    if what != "tensors":
        same = what != "config.json" or kept(before, (folder / what).read_bytes())
    assert torch.isfinite(found[0]).all() and torch.isfinite(found[1]).all()
    if same:
        assert close(found[0], whole()[1][0]) and close(found[1], whole()[1][1])
    elif not close(found[0], whole()[1][0]):
        assert found[2] != whole()[1][2]  # what computes something else has another fingerprint
