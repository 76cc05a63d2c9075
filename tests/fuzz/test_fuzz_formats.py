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
from helpers.foreign_files import K, activations, gated_weights, ours, thresholds, weights
from helpers.fuzzing import altered, damaged, damages, examples, or_refused, with_header
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from sae_utils.saes.formats import read_published, read_sae, write_saelens, write_sparsify

SIZES = {"activation_dim": 6, "dict_size": 16}


def saelens(architecture):
    return lambda folder: write_saelens(ours(architecture), folder)


def pickled(state, trainer):
    def write(folder):
        torch.save(state, folder / "ae.pt")
        (folder / "config.json").write_text(json.dumps({"trainer": SIZES | trainer, "buffer": {"ctx_len": 128}}))

    return write


def linear(w):
    return {"encoder.weight": w["W_enc"].T.contiguous(), "decoder.weight": w["W_dec"].T.contiguous()}


def gemma_scope(folder):
    np.savez(
        folder / "params.npz", **{name: t.numpy() for name, t in (weights() | {"threshold": thresholds()}).items()}
    )


def gemma_scope_2(folder):
    w = weights() | {"threshold": thresholds()}
    save_file({name.replace("W_", "w_"): t for name, t in w.items()}, folder / "params.safetensors")
    about = {"hf_hook_point_in": "model.layers.2.output", "hf_hook_point_out": "model.layers.2.output", "width": 16}
    about |= {"model_name": "google/gemma-3-270m", "architecture": "jump_relu", "l0": 150, "affine_connection": False}
    (folder / "config.json").write_text(json.dumps(about | {"type": "sae"}))


W, G = weights(), gated_weights()
BATCH = {"k": torch.tensor(K, dtype=torch.int), "threshold": torch.tensor(0.4)}
PLACE = {"seed": 5, "layer": 2, "submodule_name": "resid_post_layer_2"}
WRITERS = {
    **{f"saelens {name}": saelens(name) for name in ("relu", "gated", "topk", "jump_relu", "batch_topk")},
    "sparsify": lambda folder: write_sparsify(ours("topk"), folder),
    "sparsify seeds": lambda folder: write_sparsify(ours("topk", (3, 4)), folder),
    "standard": pickled(linear(W) | {"encoder.bias": W["b_enc"], "bias": W["b_dec"]}, PLACE),
    "gated": pickled(
        linear(G) | {"decoder_bias": G["b_dec"], "r_mag": G["r_mag"], "gate_bias": G["b_gate"], "mag_bias": G["b_mag"]},
        PLACE,
    ),
    "batch": pickled(
        linear(W) | {"encoder.bias": W["b_enc"], "b_dec": W["b_dec"], **BATCH}, PLACE | {"dict_class": "BatchTopKSAE"}
    ),
    "matryoshka": pickled(W | BATCH | {"group_sizes": torch.tensor([4, 12])}, PLACE),
    "gemma scope": gemma_scope,
    "gemma scope 2": gemma_scope_2,
}
# Settings that say what the weights mean, or where they belong: another value may make another dictionary of them.
MEANS = {
    "k",
    "architecture",
    "apply_b_dec_to_input",
    "rescale_acts_by_decoder_norm",
    "metadata",
    "dict_class",
    "trainer",
}
MEANS |= {"training_architecture", "training_architecture_details"}


@cache
def whole(name):
    """The files of a format, in a folder that is left as it is, and what is read from them."""
    folder = Path(mkdtemp()) / "sae"
    folder.mkdir()
    WRITERS[name](folder)
    return folder, read_sae(folder)


def copied(name, parent):
    folder = parent / name.replace(" ", "-")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole(name)[0], folder)
    return folder


def assert_same(name, found, exact=True):
    expected, x = whole(name)[1], activations()
    assert found.config == expected.config and found.seeds == expected.seeds
    assert torch.allclose(found(x), expected(x), rtol=1e-5 if exact else 1e-1, atol=1e-5 if exact else 1e-1)


def assert_finite(found):
    assert torch.isfinite(found(activations())).all()


def file_of(data, folder, suffixes):
    return data.draw(st.sampled_from(sorted(p for p in folder.rglob("*") if p.suffix in suffixes)).map(Path), "file")


NAMES = st.sampled_from(sorted(WRITERS))


@examples(150)
@given(st.data(), NAMES)
def test_damaged_bytes(tmp_path_factory, data, name):
    folder = copied(name, tmp_path_factory.getbasetemp())
    file = file_of(data, folder, (".safetensors", ".pt", ".npz", ".json"))
    content, damage = file.read_bytes(), data.draw(damages())
    if file.suffix == ".safetensors":
        header = 8 + int.from_bytes(content[:8], "little")
        if damage[0] == "flip":
            file.write_bytes(damaged(content[:header], damage)[:header] + content[header:])
        else:
            file.write_bytes(damaged(content, damage))
    else:
        file.write_bytes(damaged(content, damage))
    found = or_refused(read_sae, folder)
    if found:
        assert_finite(found)
        if file.suffix != ".json":
            assert_same(name, found)


@examples(150)
@given(st.data(), NAMES)
def test_settings_that_say_something_else(tmp_path_factory, data, name):
    folder = copied(name, tmp_path_factory.getbasetemp())
    settings = [path for path in folder.rglob("*.json")]
    if not settings:
        return
    file = data.draw(st.sampled_from(sorted(settings)), "file")
    before = json.loads(file.read_text())
    after = data.draw(altered(before))
    file.write_text(json.dumps(after))
    found = or_refused(read_sae, folder)
    if found:
        assert_finite(found)
        k = after.get("k")
        assert found.config.k == k or k is None or found.config.k is None
        if all(before.get(key) == after.get(key) for key in MEANS):
            found.seeds = whole(name)[1].seeds  # which a file says, and which changes nothing
            assert_same(name, found)


@examples(60)
@given(st.data(), NAMES)
def test_headers_that_say_something_else(tmp_path_factory, data, name):
    folder = copied(name, tmp_path_factory.getbasetemp())
    files = sorted(folder.rglob("*.safetensors"))
    if not files:
        return
    file = data.draw(st.sampled_from(files), "file")
    file.write_bytes(with_header(file.read_bytes(), lambda header: data.draw(altered(header))))
    found = or_refused(read_sae, folder)
    if found:
        assert_same(name, found)


CHANGES = {
    "gone": None,
    "another name": None,
    "an axis more": lambda t: t[None],
    "turned round": lambda t: t.T.contiguous() if t.ndim == 2 else t.repeat(2),
    "cut": lambda t: t[:1].clone() if t.ndim else t,
    "empty": lambda t: t[:0].clone() if t.ndim else t[None][:0],
    "nan": lambda t: torch.full_like(t, torch.nan) if t.is_floating_point() else t - 100,
    "one infinite": lambda t: t.float() * torch.inf if t.ndim < 2 else t.index_fill(1, torch.tensor([0]), torch.inf),
    "whole numbers": lambda t: t.to(torch.int32) if t.is_floating_point() else t.float() + 0.5,
    "complex": lambda t: t.to(torch.complex64),
    "beyond float32": lambda t: t.double() * 1e300,
    "float64": lambda t: t.double() if t.is_floating_point() else t.long(),
    "float16": lambda t: t.half() if t.is_floating_point() else t.short(),
}


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
    folder = copied(name, tmp_path_factory.getbasetemp())
    file = file_of(data, folder, (".safetensors", ".pt", ".npz"))
    chosen = []

    def change(tensors):
        chosen.append(data.draw(st.sampled_from(sorted(tensors)), "tensor"))
        tensor = tensors.pop(chosen[0])
        if how == "another name":
            tensors[chosen[0] + "2"] = tensor
        elif how != "gone":
            tensors[chosen[0]] = CHANGES[how](tensor)
        return tensors

    rewritten(file, change)
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
@given(st.sampled_from(["standard", "gated", "batch", "matryoshka"]), st.sampled_from(sorted(OBJECTS)))
def test_pickles_of_something_else(tmp_path_factory, name, what):
    folder = copied(name, tmp_path_factory.getbasetemp())
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
