"""dictionary_learning files, written from their key lists, against that library's formulas written out."""

import pickle

import pytest
import torch
from helpers.foreign_files import (
    N_LATENTS,
    STATES,
    K,
    above,
    activations,
    by_hand,
    check_against,
    drawn,
    gated_by_hand,
    gated_weights,
    jump_weights,
    refused,
    top_k,
    weights,
    write_pickled,
)

from sae_utils.saes.formats.read import read_sae

W, G, J, X = weights(), gated_weights(), jump_weights(), activations()
EXPECTED = {
    "AutoEncoder": ("relu", by_hand(W, X)),
    "AutoEncoderNew": ("relu", by_hand(W, X, subtract=False)),  # the update of April
    "GatedAutoEncoder": ("gated", gated_by_hand(G, X)),
    "AutoEncoderTopK": ("topk", by_hand(W, X, top_k)),
    "BatchTopKSAE": ("batch_topk", by_hand(W, X, above(0.8))),
    "JumpReluAutoEncoder": ("jump_relu", by_hand(J, X, above(J["threshold"]), subtract=False)),
    "MatryoshkaBatchTopKSAE": ("batch_topk", by_hand(W, X, above(0.8))),
}
TOPK = STATES["AutoEncoderTopK"]
WITHOUT_THRESHOLD = {name: tensor for name, tensor in TOPK.items() if name != "threshold"}  # when there was TopK alone


@pytest.mark.parametrize("kind", STATES)
def test_each_class(tmp_path, kind):
    architecture, expected = EXPECTED[kind]
    write_pickled(tmp_path, STATES[kind], dict_class=kind, seed=5, submodule_name="resid_post_layer_8")
    sae = read_sae(tmp_path)
    check_against(sae, *expected)
    assert (sae.config.architecture, sae.seeds, sae.hook_point) == (architecture, (5,), "blocks.8.hook_resid_post")
    assert sae.config.k == (K if "topk" in architecture else None)


@pytest.mark.parametrize(("kind", "state"), [("AutoEncoder", STATES["AutoEncoder"]), ("TopK", WITHOUT_THRESHOLD)])
def test_a_file_without_settings(tmp_path, kind, state):
    write_pickled(tmp_path, state)
    sae = read_sae(tmp_path / "ae.pt")
    check_against(sae, *EXPECTED["AutoEncoderTopK" if kind == "TopK" else kind][1])
    assert (sae.seeds, sae.hook_point) == ((0,), "")


def test_a_checkpoint_finds_the_settings_of_its_run(tmp_path):
    state = TOPK | {"threshold": torch.tensor(-1.0)}  # it was never set
    write_pickled(tmp_path, state, dict_class="BatchTopKSAE", submodule_name="gpt_neox.layers.3.mlp")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "ae.pt").rename(tmp_path / "checkpoints" / "ae_100.pt")
    sae = read_sae(tmp_path / "checkpoints" / "ae_100.pt")
    check_against(sae, *by_hand(W, X))
    assert (sae.config.architecture, sae.hook_point) == ("batch_topk", "blocks.3.mlp.hook_out")


class Explosive:
    """Unpickling it would leave a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path, zipped):
    trace = tmp_path / "trace"
    torch.save({"bias": Explosive(trace)}, tmp_path / "ae.pt", _use_new_zipfile_serialization=zipped)
    assert "which could run code: it is refused" in refused(tmp_path)
    (tmp_path / "ae.pt").write_bytes(pickle.dumps(Explosive(trace), protocol=2))
    refused(tmp_path)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("state", "trainer", "line"),
    [
        (TOPK, {}, "TopK or BatchTopK?"),
        (TOPK, {"dict_class": "AutoEncoder"}, "found 'AutoEncoder'"),
        (WITHOUT_THRESHOLD, {"dict_class": "BatchTopKSAE"}, "lacks the threshold of a BatchTopKSAE"),
        ([drawn(2)], {}, "holds a list; expected a state dict"),
        ({}, {}, "expected a state dict of tensors"),
        (TOPK | {"b_dec": W["b_dec"].to_sparse()}, {}, "expected a state dict of tensors"),
        (TOPK | {"b_dec": W["b_dec"].to("meta")}, {}, "expected a state dict of tensors"),
        (TOPK | {"b_dec": "text"}, {}, "expected a state dict of tensors"),
        (TOPK | {3: torch.ones(2)}, {}, "expected a state dict of tensors"),
        (TOPK | {"b_dec": torch.nn.Linear(1, 1)}, {}, "which could run code: it is refused"),
        ({"encoder.weight": drawn(2, 2), "W_skip": drawn(2, 2)}, {}, "no known class of dictionary_learning: W_skip,"),
        (J, {"dict_size": 7}, "dict_size=7"),
        (J | {"threshold": J["threshold"][:-1]}, {}, f"ae.pt has shape [{N_LATENTS - 1}]"),
    ],
)
def test_what_is_no_dictionary_is_refused(tmp_path, state, trainer, line):
    assert line in refused(write_pickled(tmp_path, state, **trainer))


def test_a_changed_weight_is_refused(tmp_path):
    """The archive has a checksum of each tensor, which torch does not look at."""
    file = write_pickled(tmp_path, STATES["AutoEncoder"]) / "ae.pt"
    content = bytearray(file.read_bytes())
    content[content.find(W["b_dec"].numpy().tobytes()) + 3] ^= 1
    file.write_bytes(content)
    assert "does not match its checksum" in refused(tmp_path)
