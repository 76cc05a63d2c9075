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
from helpers.fuzzing import altered, damaged, damages, examples, or_refused, with_header
from helpers.tiny_language_model import make_family
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from sae_utils.data.models.language_model import load_language_model

TOKENS = torch.tensor([[5, 17, 33, 42, 7, 250]])
WEIGHTS = "model.safetensors"
HOOK = "blocks.1.hook_mlp_out"
# Settings that change nothing of what is computed; with others it is another model, computed as transformers does.
KEPT = {"architectures", "dtype", "transformers_version", "use_cache", "initializer_range", "_name_or_path"}


@cache
def whole():
    """A random Llama in a folder that is left as it is, and what it computes."""
    folder = make_family(Path(mkdtemp()) / "llama", "llama")
    return folder, computed(folder)


def computed(folder):
    """Logits, one hook point, and the fingerprint."""
    model = load_language_model(folder)
    return model.logits(TOKENS), model.activations(TOKENS, [HOOK])[HOOK], model.fingerprint


def assert_same(found):
    for one, other in zip(found[:2], whole()[1][:2], strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-4)


CHANGES = {
    "gone": None,
    "another name": None,
    "turned round": lambda t: t.T.contiguous() if t.ndim == 2 else t[:-1].clone(),
    "an axis more": lambda t: t[None],
    "nan": lambda t: torch.full_like(t, torch.nan),
    "one infinite": lambda t: t.clone().index_fill_(0, torch.tensor([1]), torch.inf),
    "float64": lambda t: t.double(),
    "whole numbers": lambda t: t.long(),
}


@examples(15)
@given(st.data(), st.sampled_from(["bytes", "header", "tensors", "settings"]))
def test_a_damaged_model_computes_the_same_or_is_refused(tmp_path_factory, data, what):
    folder = tmp_path_factory.getbasetemp() / "model"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole()[0], folder)
    weights, settings = folder / WEIGHTS, folder / "config.json"
    same = True
    if what == "bytes":
        file = data.draw(st.sampled_from([weights, settings, folder / "tokenizer.json"]), "file")
        content, damage = file.read_bytes(), data.draw(damages())
        if file == weights and damage[0] == "flip":
            header = 8 + int.from_bytes(content[:8], "little")
            file.write_bytes(damaged(content[:header], damage)[:header] + content[header:])
        else:
            file.write_bytes(damaged(content, damage))
        same = file != settings
    elif what == "header":
        weights.write_bytes(with_header(weights.read_bytes(), lambda header: data.draw(altered(header))))
    elif what == "tensors":
        tensors = load_file(weights)
        name, how = data.draw(st.sampled_from(sorted(tensors))), data.draw(st.sampled_from(sorted(CHANGES)))
        tensor = tensors.pop(name)
        if how != "gone":
            tensors[name + "2" * (how == "another name")] = tensor if how == "another name" else CHANGES[how](tensor)
        save_file(tensors, weights, metadata={"format": "pt"})
        turned = how == "turned round" and tensor.ndim == 2 and len(tensor) == tensor.shape[1]  # and nothing tells
        same = how != "whole numbers" and not turned
    else:
        before = json.loads(settings.read_text())
        after = data.draw(altered(before))
        settings.write_text(json.dumps(after))
        same = {key for key in before | after if before.get(key) != after.get(key)} <= KEPT
    found = or_refused(computed, folder)
    if found:
        assert torch.isfinite(found[0]).all() and torch.isfinite(found[1]).all()
        if same:
            assert_same(found)
        elif not torch.allclose(found[0], whole()[1][0], rtol=1e-3, atol=1e-4):
            assert found[2] != whole()[1][2]  # what computes something else has another fingerprint
