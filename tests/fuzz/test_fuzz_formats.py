"""Damaged dictionaries of other libraries are the dictionaries that they were, what their files now say, or refused.

Weights of a plain safetensors file are under no checksum: bytes that change there, and stay numbers, change the weights
and nothing can tell. So bytes are changed in headers alone, but cut, added and taken away anywhere.
"""

import json
import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import torch
from helpers.foreign_files import WRITERS, activations
from helpers.fuzzing import CHANGES, examples, or_refused, other_tensors, spoiled
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from sae_utils.saes.formats import read_published, read_sae

# Settings that say what the weights mean, or where they belong: another value may make another dictionary of them.
MEANS = {
    "k",
    "architecture",
    "apply_b_dec_to_input",
    "rescale_acts_by_decoder_norm",
    "metadata",
    "trainer",
}
NAMES = st.sampled_from(sorted(WRITERS))


@cache
def whole(name):
    """The files of a format, in a folder that is left as it is, and what is read from them."""
    folder = Path(mkdtemp()) / "sae"
    WRITERS[name](folder)
    return folder, read_sae(folder)


def copied(name, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp() / name.replace(" ", "-")
    shutil.rmtree(folder, ignore_errors=True)
    return shutil.copytree(whole(name)[0], folder)


def assert_same(name, found, exact=True):
    expected, x = whole(name)[1], activations()
    assert found.config == expected.config and found.seeds == expected.seeds
    assert torch.allclose(found(x), expected(x), rtol=1e-5 if exact else 1e-1, atol=1e-5 if exact else 1e-1)


def assert_finite(found):
    assert torch.isfinite(found(activations())).all()


def one_of(data, folder, *suffixes):
    """A file in the folder; those in inner folders count, too."""
    return data.draw(st.sampled_from(sorted(p for p in folder.rglob("*") if p.suffix in suffixes)).map(Path), "file")


@examples(350)
@given(st.data(), NAMES)
def test_damaged_files(tmp_path_factory, data, name):
    folder = copied(name, tmp_path_factory)
    file = one_of(data, folder, ".safetensors", ".pt", ".npz", ".json")
    content = file.read_bytes()
    file.write_bytes(spoiled(data, content, file.suffix[1:], checked=False))
    found = or_refused(read_sae, folder)
    if found:
        assert_finite(found)
        if file.suffix == ".json":
            before, after = json.loads(content), json.loads(file.read_bytes())
            k = after.get("k")
            assert found.config.k == k or k is None or found.config.k is None
            if any(before.get(key) != after.get(key) for key in MEANS):
                return
            found.seeds = whole(name)[1].seeds  # which a file says, and which changes nothing
        assert_same(name, found)


def rewritten(file, change):
    """A file of weights of which ``change`` has gone over the tensors."""
    if file.suffix == ".npz":
        with np.load(file) as found:
            tensors = {name: torch.from_numpy(found[name]) for name in found.files}
        np.savez(file, **{name: t.numpy() for name, t in change(tensors).items()})
    elif file.suffix == ".pt":
        torch.save(change(torch.load(file, weights_only=True)), file)
    else:
        save_file(change(load_file(file)), file)


@examples(150)
@given(st.data(), NAMES, st.sampled_from(sorted(CHANGES)))
def test_tensors_that_are_not_what_they_were(tmp_path_factory, data, name, how):
    folder = copied(name, tmp_path_factory)
    chosen = []

    def change(tensors):
        chosen.append(other_tensors(data, tensors, how))
        return tensors

    rewritten(one_of(data, folder, ".safetensors", ".pt", ".npz"), change)
    found = or_refused(read_sae, folder)
    # Square tensors and single numbers survive some of these changes; all others are refused.
    if how in ("float64", "float16"):
        assert found
    if found:
        assert chosen[0] in ("k", "threshold", "group_sizes") or how in ("float64", "float16")
        assert_finite(found)
        if chosen[0] != "k":
            assert_same(name, found, exact=how != "float16")


OBJECTS = {
    "a list": lambda state: list(state.values()),
    "nested": lambda state: {"state": state},
    "beside others": lambda state: state | {"step": 3},
    "numbers as names": lambda state: dict(enumerate(state.values())),
    "parameters": lambda state: {name: torch.nn.Parameter(t, False) for name, t in state.items()},
    "sparse": lambda state: {name: t.to_sparse() if t.ndim else t for name, t in state.items()},
    "on no device": lambda state: {name: t.to("meta") for name, t in state.items()},
    "quantised": lambda state: {n: torch.quantize_per_tensor(t.float(), 0.1, 0, torch.qint8) for n, t in state.items()},
    "nothing": lambda state: {},
    "None": lambda state: None,
}


@examples(30)
@given(NAMES.filter(lambda name: "dictionary_learning" in name), st.sampled_from(sorted(OBJECTS)))
def test_pickles_of_something_else(tmp_path_factory, name, what):
    folder = copied(name, tmp_path_factory)
    rewritten(folder / "ae.pt", OBJECTS[what])
    found = or_refused(read_sae, folder)
    if what == "parameters":
        assert found
    if found:
        assert_same(name, found)


@examples(40)
@given(st.lists(NAMES, max_size=3), st.sampled_from(["mlp_out", "resid_post"]), st.integers(0, 3))
def test_several_are_one_kind_on_one_hook_point_or_refused(names, site, layer):
    found = or_refused(read_published, [str(whole(name)[0]) for name in names], site, layer)
    if found:
        hook_point = f"blocks.{layer}.hook_{site}"
        expected = [whole(name)[1] for name in names]
        assert len(found.saes) == sum(sae.n_dictionaries for sae in expected)
        assert {sae.hook_point for sae in found.saes} == {hook_point}
        assert all(sae.hook_point in ("", hook_point) or "mlp.hook_out" in sae.hook_point for sae in expected)
        assert torch.allclose(found.saes[0](activations())[:, 0], expected[0](activations())[:, 0], atol=1e-4)
